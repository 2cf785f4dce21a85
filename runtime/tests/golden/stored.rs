//! State as format version 1 first wrote it, `tests/fixtures/v1/<case>`: it must be restored for ever, at any
//! parallelism, with the same result. `index.txt` holds a line for each subtask's snapshot, operator and part files;
//! `fingerprints.txt` what must not change either, as state of another fingerprint is refused; `rows.txt` the result.
//! `UPDATE=1` writes missing cases and never changes one that exists.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::ids::OperatorId;
use runtime::dataflow::{Definition, plan};
use runtime::state::{OperatorRuns, Run, ipc};

use crate::cases::inputs;
use crate::engine::{Restart, run, run_through};
use crate::rows::{definition, lines};

const AGGREGATES: &str = "SUM(cents) AS total, SUM(cents * CAST(1.00 AS DECIMAL(3, 2))) AS exact, SUM(price) AS rough, \
    AVG(cents) AS mean, AVG(price) AS middle, AVG(cents * CAST(1.00 AS DECIMAL(3, 2))) AS fine, COUNT(*) AS n, \
    COUNT(cents) AS known, MIN(country) AS first, MAX(price) AS top, MAX(ts) AS latest, COUNT(DISTINCT country) AS countries, \
    SUM(DISTINCT cents) AS different, AVG(DISTINCT cents) AS level, median(cents) AS half, bit_xor(cents) AS bits, \
    bool_or(cents > 50) AS big, round(stddev(cents), 6) AS spread, approx_distinct(country) AS about, \
    COUNT(*) FILTER (WHERE country = 'DE') AS german";

/// Taken after this many batches, two rows each, at parallelism 2.
const AFTER: usize = 5;

fn cases() -> Vec<(&'static str, Definition)> {
    let query = |from: &str, keys: &str| {
        let listed = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        format!(
            "SELECT window_start, window_end{listed}, {AGGREGATES} FROM {from} GROUP BY window_start, window_end{listed}"
        )
    };
    let tumble = query("TUMBLE(orders, ts, INTERVAL '1 minute')", "customer");
    let hop = query("HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '90 seconds')", "country, price");
    let session = query("SESSION(orders, ts, INTERVAL '40 seconds')", "customer");
    let all = query("TUMBLE(orders, ts, INTERVAL '1 minute')", "");
    vec![
        ("tumble", definition(&[("t", &tumble)])),
        ("hop", definition(&[("t", &hop)])),
        ("session", definition(&[("t", &session)])),
        ("without_key", definition(&[("t", &all)])),
    ]
}

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(case)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes new cases", path.display()))
}

fn write(folder: &Path, snapshots: &[OperatorRuns]) {
    fs::create_dir_all(folder).unwrap();
    let (mut index, mut part) = (String::new(), 0);
    for snapshot in snapshots {
        index += &snapshot.operator.0;
        for run in &snapshot.runs {
            let name = format!("{part}.part");
            fs::write(folder.join(&name), ipc::encode(&run.rows).unwrap()).unwrap();
            write!(index, " {name}").unwrap();
            part += 1;
        }
        index.push('\n');
    }
    fs::write(folder.join("index.txt"), index).unwrap();
}

fn stored(folder: &Path) -> Vec<OperatorRuns> {
    let part = |name: &str| {
        let rows = ipc::decode(&fs::read(folder.join(name)).unwrap()).unwrap();
        Run { rows: Arc::new(rows), part: Arc::default() }
    };
    let snapshot = |line: &str| {
        let mut words = line.split(' ');
        let operator = OperatorId(words.next().unwrap().to_owned());
        OperatorRuns { operator, runs: words.map(part).collect() }
    };
    read(&folder.join("index.txt")).lines().map(snapshot).collect()
}

fn fingerprints(definition: &Definition) -> String {
    let graph = plan(definition).unwrap();
    let operators = graph.stages.iter().flat_map(|stage| stage.chain.stateful_operators());
    operators.fold(String::new(), |text, operator| format!("{text}{}: {}\n", operator.id, operator.fingerprint))
}

fn text(sinks: &crate::engine::Results) -> String {
    lines(&sinks["out"]).iter().fold(String::new(), |text, row| text + row + "\n")
}

#[test]
fn state_of_format_version_1_is_restored_for_ever() {
    for (case, definition) in cases() {
        let folder = folder(case);
        let inputs = inputs(2);
        let undisturbed = text(&run(&definition, &inputs, 1, &[]).unwrap().0);
        if !folder.exists() && std::env::var_os("UPDATE").is_some() {
            let restart = Restart { after: AFTER, parallelism: 2 };
            let mut keep = |snapshots: Vec<OperatorRuns>| {
                write(&folder, &snapshots);
                snapshots
            };
            run_through(&definition, &inputs, 2, &[restart], &mut keep).unwrap();
            fs::write(folder.join("fingerprints.txt"), fingerprints(&definition)).unwrap();
            fs::write(folder.join("rows.txt"), &undisturbed).unwrap();
        }
        assert_eq!(fingerprints(&definition), read(&folder.join("fingerprints.txt")), "{case}");
        assert_eq!(undisturbed, read(&folder.join("rows.txt")), "{case} gives other rows");
        for parallelism in 1..=3 {
            let restart = Restart { after: AFTER, parallelism };
            let mut restored = 0;
            let mut replace = |_: Vec<OperatorRuns>| {
                let snapshots = stored(&folder);
                restored = snapshots.iter().flat_map(|snapshot| &snapshot.runs).flat_map(|run| run.rows.iter()).count();
                snapshots
            };
            let (sinks, _) = run_through(&definition, &inputs, 2, &[restart], &mut replace).unwrap();
            assert_eq!(text(&sinks), undisturbed, "{case} restored at parallelism {parallelism}");
            assert!(restored > 2, "{case} holds more than watermarks");
        }
    }
}
