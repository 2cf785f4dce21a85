//! What is served at `/metrics`, and what docs/metrics.md says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Type and labels by name.
pub type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// Of the table below a heading of docs/metrics.md.
///
/// # Errors
/// There is no such table.
pub fn documented(heading: &str) -> Result<Families> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md"))?;
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).context("the heading is there")?;
    let mut found = Families::new();
    for row in section.lines().filter(|line| line.starts_with("| `onceward_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells.as_slice() else { continue };
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        found.insert(name.trim_matches('`').to_owned(), ((*kind).to_owned(), labels));
    }
    ensure!(found.len() > 5, "{heading} has {} metrics", found.len());
    Ok(found)
}

/// Of a text that was served; labels of `without`, and those of buckets, are left out.
///
/// # Errors
/// A series has no type.
pub fn served(text: &str, without: &[&str]) -> Result<Families> {
    let mut served = Families::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            served.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
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
