//! The diagnosis of an alert's runbook page, typed as it stands there.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::say;
use crate::stand::Stand;

/// What the page says first where the alert is a Pipeline's.
const LABELS: &str = "NAMESPACE=shop PIPELINE=revenue ";
/// Of what a command prints.
const MOST_SHOWN: usize = 400;

struct Command {
    text: String,
    /// Where its remark says that it ends so: `(exit code 1)`.
    code: i32,
}

/// In which somebody sits who has `kubectl`, its plugin, `onceward` and the Pipeline's secrets.
pub(super) struct Desk<'a> {
    stand: &'a Stand,
    folder: TempDir,
}

impl<'a> Desk<'a> {
    pub(super) fn new(stand: &'a Stand) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("bin"))?;
        for name in ["onceward", "kubectl-onceward"] {
            symlink(std::fs::canonicalize(stage::shipped::binary()?)?, folder.path().join("bin").join(name))?;
        }
        Ok(Self { stand, folder })
    }

    /// A secret's key, as `onceward` reads it beside a manifest.
    pub(super) fn keep(&self, secret: &str, key: &str, value: &str) -> Result<()> {
        let folder = self.folder.path().join("secrets").join(secret);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(key), value)?)
    }

    /// Where commands are typed.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The exit code, and what is printed to either stream.
    pub(super) fn types(&self, command: &str, variables: &[(&str, &str)]) -> Result<(i32, String)> {
        let mut shell = self.stand.cluster.command("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.folder.path().join("bin");
        let path = format!("{}:{}:{path}", bin.display(), self.stand.cluster.tools()?.display());
        shell.args(["-o", "pipefail", "-c", command]).current_dir(self.folder.path());
        shell.env("PATH", path).env("HOME", self.folder.path()).env("KUBECONFIG", self.stand.cluster.layout().kubeconfig());
        shell.envs(variables.iter().copied());
        let output = shell.stdin(std::process::Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        Ok((output.status.code().context("it was killed")?, said))
    }

    /// Types the diagnosis of the alert's page. Every command must end as the page says and print something; `shows`: a part
    /// of a command, and words that are in what it prints. How many commands there are.
    pub(super) fn diagnoses(&self, labels: &Value, shows: &[(&str, &str)]) -> Result<usize> {
        let text = |name: &str| labels[name].as_str().unwrap_or_default();
        let (alert, variables) = (text("alertname"), [("NAMESPACE", text("namespace")), ("PIPELINE", text("pipeline"))]);
        let commands = commands(alert)?;
        let (mut faults, mut printed) = (vec![], vec![]);
        for Command { text, code } in &commands {
            let (ended, said) = self.types(text, &variables)?;
            let begin: String = said.chars().take(MOST_SHOWN).collect();
            say(&format!("{alert} $ {text}\n  exit code {ended}; {begin}"));
            if ended != *code || (said.trim().is_empty() && !text.contains('>')) {
                faults.push(format!("`{text}` ends with {ended} and prints `{begin}`"));
            }
            printed.push((text, said));
        }
        for (part, words) in shows {
            let mut those = printed.iter().filter(|(text, _)| text.contains(part)).peekable();
            if those.peek().is_none() {
                faults.push(format!("no command has `{part}`"));
            } else if !those.any(|(_, said)| said.contains(words)) {
                faults.push(format!("`{part}` does not show `{words}`"));
            }
        }
        ensure!(faults.is_empty(), "docs/runbooks/{alert}.md: {}", faults.join("; "));
        Ok(commands.len())
    }
}

pub(super) fn page(alert: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks").join(format!("{alert}.md"))
}

/// Of the section "Diagnosis"; the labels are those of the alert that fires.
fn commands(alert: &str) -> Result<Vec<Command>> {
    let path = page(alert);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let section = text.split("\n## Diagnosis\n").nth(1).with_context(|| format!("{alert} has no diagnosis"))?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut commands = vec![];
    for line in section.split("```console\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines) {
        if line.starts_with(LABELS) {
            continue;
        }
        let (text, remark) = line.split_once("  # ").unwrap_or((line, ""));
        let code = match remark.split_once("(exit code ").and_then(|(_, rest)| rest.split_once(')')) {
            Some((code, _)) => code.parse().with_context(|| line.to_owned())?,
            None => 0,
        };
        commands.push(Command { text: text.trim().to_owned(), code });
    }
    if commands.len() < 3 {
        bail!("{alert} has only {} commands", commands.len());
    }
    Ok(commands)
}
