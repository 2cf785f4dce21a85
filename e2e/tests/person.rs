//! The cluster for a person, by its commands: up, a shell in it, down. Needs root, and runs when it is asked to (`--ignored`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use onceward::child;

const NAME: &str = "person";

/// What the command says, all of it.
fn told(words: &[&str], shell: Option<&Path>) -> Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceward-e2e"));
    command.args(words).env("ONCEWARD_BIN", e2e::site::binary()?);
    if let Some(shell) = shell {
        command.env("SHELL", shell);
    }
    let ended = child::Child::start(&mut command)?.finish()?;
    ensure!(ended.code() == Some(0), "{words:?}: {}", ended.describe());
    Ok(ended.describe())
}

/// Of a program that a person's shell stands for here: asks everything that is there.
const SHELL: &str = "#!/bin/bash
set -eu
kubectl get nodes --no-headers | grep -c ' Ready '
helm version --short
kubectl get secret onceward --output jsonpath='{.data.id}' | grep -q .
reached() { timeout 5 bash -c \"</dev/tcp/${1%:*}/${1##*:}\"; }
reached $KAFKA && echo kafka is there
reached ${S3_ENDPOINT#http://} && echo s3 is there
exec 3<>/dev/tcp/${PROMETHEUS:7:9}/${PROMETHEUS##*:}
printf 'GET /api/v1/rules HTTP/1.0\\r\\n\\r\\n' >&3
grep -c OncewardCommitLost <&3
";

struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(error) = told(&["cluster", "down", "--name", NAME], None) {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error:#}\n"));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_person_gets_a_cluster_with_all_that_is_beside_it_and_nothing_stays() -> Result<()> {
    let up = Down;
    let said = told(&["cluster", "up", "--name", NAME], None)?;
    for word in
        ["KAFKA=10.99.0.1:", "S3_ENDPOINT=http://10.99.0.1:", "PROMETHEUS=http://127.0.0.1:", "shell --name person"]
    {
        ensure!(said.contains(word), "`{word}` is not in {said}");
    }
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("shell");
    std::fs::write(&script, SHELL)?;
    run(Command::new("chmod").arg("755").arg(&script))?;
    let said = told(&["shell", "--name", NAME], Some(&script))?;
    for word in ["helm install onceward", "out: 2", "v4.", "kafka is there", "s3 is there", "out: 1"] {
        ensure!(said.contains(word), "`{word}` is not in {said}");
    }
    let state = Path::new("/var/lib/onceward-stage").join(NAME);
    ensure!(state.join("company.json").exists(), "the test looks in the wrong place");
    drop(up);
    ensure!(!state.exists(), "{} is left", state.display());
    let left = Command::new("ip").args(["netns", "list"]).output().context("ip")?;
    ensure!(!String::from_utf8_lossy(&left.stdout).contains("onceward-person"), "its network is left");
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    ensure!(command.status()?.success(), "{command:?}");
    Ok(())
}
