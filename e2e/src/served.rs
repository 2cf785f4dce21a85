//! What is served at `/metrics`, and what docs/metrics.md says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Type, labels and help by name.
type Families = BTreeMap<String, (String, BTreeSet<String>, String)>;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")
}

/// Names in the tables of docs/metrics.md.
///
/// # Errors
/// What the file system says.
pub fn documented() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(page())?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    Ok(rows.filter(|name| name.starts_with("onceward_")).map(str::to_owned).collect())
}

/// The table below this heading of docs/metrics.md is what was served, but for labels of `without` and those of buckets.
/// `UPDATE=1` writes it.
///
/// # Errors
/// It is another one, or there is none.
pub fn assert_documented(heading: &str, served_text: &str, without: &[&str]) -> Result<()> {
    let families = served(served_text, without)?;
    ensure!(families.len() > 5, "{} metrics are served", families.len());
    let rows = families.iter().map(|(name, (kind, labels, help))| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}` ")).collect();
        format!("| `{name}` | {kind} | {}| {help} |\n", labels.join("").replace("` `", "`, `"))
    });
    let table: String = rows.collect();
    let text = std::fs::read_to_string(page())?;
    let begin = text.find(&format!("\n## {heading}\n")).with_context(|| format!("no heading `{heading}`"))?;
    let begin = begin + text[begin..].find("\n|---").context("no table")? + 1;
    let begin = begin + text[begin..].find('\n').context("no rows")? + 1;
    let end = begin + text[begin..].find("\n\n").map_or(text.len() - begin, |end| end + 1);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page(), format!("{}{table}{}", &text[..begin], &text[end..]))?;
        return Ok(());
    }
    let stored = &text[begin..end];
    let differs = table.lines().zip(stored.lines()).find(|(now, before)| now != before);
    ensure!(table == stored, "docs/metrics.md, {heading}: UPDATE=1 writes it anew; the first difference: {differs:?}");
    Ok(())
}

fn served(text: &str, without: &[&str]) -> Result<Families> {
    let (mut served, mut helps) = (Families::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let help = helps.get(name).with_context(|| format!("{name} has no help"))?;
            served.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new(), (*help).to_owned()));
        } else if let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let names =
                rest.split('}').next().unwrap_or_default().split("\",").filter_map(|pair| pair.split('=').next());
            let names = names.filter(|label| *label != "le" && !without.contains(label)).map(str::to_owned);
            let name = if served.contains_key(name) { name } else { family(name) };
            served.get_mut(name).with_context(|| format!("{name} has no type"))?.1.extend(names);
        }
    }
    Ok(served)
}

/// A metric's name without what a histogram adds to it.
pub fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}
