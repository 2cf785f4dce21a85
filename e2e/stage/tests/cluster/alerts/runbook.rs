//! The diagnosis of an alert's runbook page, typed as it stands there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::desk::Desk;
use crate::say;

/// What the page says first where the alert is a Pipeline's.
const LABELS: &str = "NAMESPACE=shop PIPELINE=revenue ";
/// Of what a command prints.
const MOST_SHOWN: usize = 400;

struct Command {
    text: String,
    /// Where its remark says that it ends so: `(exit code 1)`.
    code: i32,
}

/// Types the diagnosis of the alert's page. Every command must end as the page says and print something; `shows`: a part
/// of a command, and words that are in what it prints. How many commands there are.
pub(super) fn diagnose(desk: &Desk<'_>, labels: &Value, shows: &[(&str, &str)]) -> Result<usize> {
    let text = |name: &str| labels[name].as_str().unwrap_or_default();
    let (alert, variables) = (text("alertname"), [("NAMESPACE", text("namespace")), ("PIPELINE", text("pipeline"))]);
    let commands = commands(alert)?;
    let (mut faults, mut printed) = (vec![], vec![]);
    for Command { text, code } in &commands {
        let (ended, said) = desk.types(text, &variables)?;
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
    for line in section.split("```console\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines)
    {
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
