//! docs/metrics.md is what a worker serves, and what rules and dashboards may use.

use std::collections::{BTreeMap, BTreeSet};

use runtime::metrics::{Metrics, Names};

use crate::{family, read, root};

/// Type and labels by name, of the table below a heading of docs/metrics.md.
pub(crate) fn documented(heading: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = read(root().join("docs/metrics.md"));
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading is there");
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `onceward_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        found.insert(cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels));
    }
    assert!(found.len() > 5, "{heading} has {} metrics", found.len());
    found
}

pub(crate) fn all_documented() -> BTreeSet<String> {
    [WORKER, CONTROLLER].into_iter().flat_map(documented).map(|(name, _)| name).collect()
}

const WORKER: &str = "Of a worker";
const CONTROLLER: &str = "Of the controller";

#[test]
fn documented_metrics_are_those_that_a_worker_serves() {
    let one = |name: &str| vec![name.to_owned()];
    let names = Names {
        pipeline: "revenue".to_owned(),
        sources: one("orders"),
        operators: one("orders"),
        stages: vec![("orders".to_owned(), 1)],
        sinks: one("out"),
        guarantee: "ExactlyOnce".to_owned(),
    };
    let metrics = Metrics::new(&names).unwrap();
    // Its series come with the partitions.
    metrics.lag("orders", "orders", 0).set(0);
    let text = metrics.text().unwrap();
    let mut served: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            served.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let names =
                rest.split('}').next().unwrap_or_default().split("\",").filter_map(|pair| pair.split('=').next());
            let names = names.filter(|label| !["pipeline", "le"].contains(label)).map(str::to_owned);
            let name = if served.contains_key(name) { name } else { family(name) };
            served.get_mut(name).unwrap_or_else(|| panic!("{name} has no type")).1.extend(names);
        }
    }
    assert_eq!(documented(WORKER), served);
}
