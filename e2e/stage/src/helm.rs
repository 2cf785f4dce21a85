//! Helm itself, built once by Go into the cache, and the project's chart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::{cache, go};

const VERSION: &str = "v4.3.1";

/// `charts/onceward`.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/onceward")
}

/// `group/resource verb`, of a role.
pub fn granted(role: &Value) -> BTreeSet<String> {
    let list = |value: &Value| {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let (groups, resources, verbs) = (list(&rule["apiGroups"]), list(&rule["resources"]), list(&rule["verbs"]));
        for group in &groups {
            for resource in &resources {
                all.extend(verbs.iter().map(|verb| format!("{group}/{resource} {verb}")));
            }
        }
    }
    all
}

/// Helm with a home of its own, and no cluster unless a call names one.
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// # Errors
    /// It is not in the cache and cannot be built.
    pub fn new() -> Result<Self> {
        let folder = cache::once("helm", VERSION, |folder| {
            let mut go = go::command();
            go.arg("install").arg(format!("helm.sh/helm/v4/cmd/helm@{VERSION}"));
            cache::run(go.env("GOBIN", folder), go::FIX).map(drop)
        })?;
        Ok(Self { program: folder.join("helm"), home: tempfile::tempdir()? })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", "/dev/null");
        self.set(command, arguments)
    }

    fn set(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).stdin(Stdio::null());
        for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.home.path().join(folder));
        }
        command
    }

    /// What a successful call prints.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        cache::run(&mut self.command(arguments), go::FIX)
    }

    /// What a successful call prints that speaks with a cluster, as its administrator.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn run_on(&self, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
        let mut command = cluster.command(&self.program);
        command.env("KUBECONFIG", cluster.layout().kubeconfig());
        cache::run(&mut self.set(command, arguments), go::FIX)
    }

    /// What a call that must fail says.
    ///
    /// # Errors
    /// It does not fail.
    pub fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("Helm runs")?;
        ensure!(!output.status.success(), "accepted: {}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The chart as release `onceward` in `onceward-system`; `arguments`: values.
    ///
    /// # Errors
    /// Helm refuses it.
    pub fn render(&self, arguments: &[&str]) -> Result<String> {
        let chart = chart().display().to_string();
        let begin = ["template", "onceward", chart.as_str(), "--namespace", "onceward-system"];
        self.run(&[begin.as_slice(), arguments].concat())
    }
}
