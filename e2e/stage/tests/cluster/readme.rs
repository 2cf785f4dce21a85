//! The README's ten minutes with a cluster, typed as they stand there. What builds and brings the image needs an engine: nodes
//! have it already.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use stage::cache;
use stage::helm::Helm;

use crate::say;
use crate::stand::Stand;

const HEADING: &str = "\n## On Kubernetes in ten minutes\n";
const OF_AN_ENGINE: [&str; 2] = ["docker ", "kind "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Commands, and what the README says that each prints; nothing: anything.
fn commands() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join("README.md"))?;
    let section = text.split(HEADING).nth(1).context("the section is there")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut commands: Vec<(String, String)> = vec![];
    for block in section.split("```console\n").skip(1).filter_map(|block| block.split("```").next()) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((_, says))) => says.extend([line, "\n"]),
                (None, None) => {}
            }
        }
    }
    commands.retain(|(command, _)| !OF_AN_ENGINE.iter().any(|engine| command.starts_with(engine)));
    Ok(commands)
}

/// Types commands; each of them with what it has printed.
fn typed(stand: &Stand, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>> {
    let (helm, home) = (Helm::new()?, tempfile::tempdir()?);
    let programs = helm.program().parent().context("a folder")?.to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", stand.cluster.tools()?.display(), programs.display());
    let mut typed = vec![];
    for (command, says) in commands()?.into_iter().filter(|(command, _)| is_wanted(command)) {
        let mut shell = stand.cluster.command("bash");
        shell.args(["-c", &command]).current_dir(root());
        shell.env("PATH", &path).env("HOME", home.path()).env("KUBECONFIG", stand.cluster.layout().kubeconfig());
        let printed = cache::run(&mut shell, "see the README").with_context(|| command.clone())?;
        say(&format!("$ {command}\n{}", printed.trim_end()));
        ensure!(says.is_empty() || printed.trim() == says.trim(), "the README says `{says}`, and it is `{printed}`");
        typed.push((command, printed));
    }
    Ok(typed)
}

/// What a table of one row says in a column.
fn cell<'a>(table: &'a str, column: &str) -> Result<&'a str> {
    let mut lines = table.lines();
    let (head, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let begin = head.find(column).with_context(|| format!("no {column} in {table}"))?;
    Ok(row.get(begin..).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default())
}

/// The chart, as the README installs it.
pub(crate) fn install(stand: &Stand) -> Result<()> {
    let installed = typed(stand, |command| command.starts_with("helm install"))?.len();
    ensure!(installed == 1, "{installed} commands install");
    Ok(())
}

pub(crate) fn ten_minutes_with_a_cluster_end_as_the_readme_says(stand: &Stand) -> Result<()> {
    let typed = typed(stand, |command| !command.starts_with("helm install"))?;
    ensure!(typed.len() >= 11, "only {} commands were found", typed.len());
    let of = |begin: &str| -> Vec<&str> {
        typed.iter().filter(|(command, _)| command.starts_with(begin)).map(|(_, printed)| printed.as_str()).collect()
    };
    let [early, restored, late] = of("kubectl get pipelines.onceward.dev")[..] else { bail!("not as here: {typed:?}") };
    let epoch = |table| -> Result<u64> { Ok(cell(table, "EPOCH")?.parse()?) };
    ensure!(epoch(early)? < epoch(late)?, "epochs do not advance: {early}{late}");
    ensure!(cell(late, "PENDING-COMMITS")? == "0", "{late}");
    let restored: Value = serde_json::from_str(restored)?;
    ensure!(restored["epoch"].as_u64().is_some_and(|epoch| epoch > 0), "not restored: {restored}");
    let judged = commands()?.iter().any(|(_, says)| says.contains("missing 0, doubled 0"));
    ensure!(judged, "the README's reader judges nothing");
    for file in ["examples/data/10-reader.yaml", "examples/10-on-a-cluster.yaml"] {
        let file = root().join(file).display().to_string();
        stand.cluster.told(&["delete", "--filename", &file, "--timeout=2m"])?;
    }
    Ok(())
}
