//! Somebody in front of the cluster, with `kubectl`, its plugin and `onceward` on the path.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::stand::Stand;

/// A folder of their own, in the control plane's network.
pub(crate) struct Desk<'a> {
    stand: &'a Stand,
    folder: TempDir,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(stand: &'a Stand) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("bin"))?;
        for name in ["onceward", "kubectl-onceward"] {
            symlink(std::fs::canonicalize(stage::shipped::binary()?)?, folder.path().join("bin").join(name))?;
        }
        Ok(Self { stand, folder })
    }

    /// A secret's key, as `onceward` reads it beside a manifest.
    pub(crate) fn keep(&self, secret: &str, key: &str, value: &str) -> Result<()> {
        let folder = self.folder.path().join("secrets").join(secret);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(key), value)?)
    }

    /// Where commands are typed.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that is not typed yet.
    pub(crate) fn shell(&self, command: &str, variables: &[(&str, &str)]) -> Result<Command> {
        let mut shell = self.stand.cluster.command("bash");
        let (path, folder) = (std::env::var("PATH").unwrap_or_default(), self.folder.path());
        let path = format!("{}:{}:{path}", folder.join("bin").display(), self.stand.cluster.tools()?.display());
        shell.args(["-o", "pipefail", "-c", command]).current_dir(folder).env("PATH", path).env("HOME", folder);
        shell.env("KUBECONFIG", self.stand.cluster.layout().kubeconfig()).envs(variables.iter().copied());
        Ok(shell)
    }

    /// The exit code, and what is printed to either stream.
    pub(crate) fn types(&self, command: &str, variables: &[(&str, &str)]) -> Result<(i32, String)> {
        let output = self.shell(command, variables)?.stdin(Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        Ok((output.status.code().context("it was killed")?, said))
    }
}
