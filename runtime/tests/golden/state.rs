//! Stored state of format version 1: it must restore for ever. `state/*.json` holds the state parts of a case in its
//! middle and the rows that came after; `UPDATE=1` writes files that are missing, never one that is there.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use checkpoint::ids::OperatorId;
use runtime::dataflow::Definition;
use runtime::state::{OperatorRuns, Run, ipc};
use serde::{Deserialize, Serialize};

use crate::cases::{cases, inputs};
use crate::engine::{Middle, run, run_from, run_to};
use crate::rows::{definition, lines};

/// Batches before the snapshot: all windows of some cases are open then, some have fired in others.
const BATCHES: usize = 5;

#[derive(Serialize, Deserialize)]
struct Fixture {
    operators: Vec<Stored>,
    /// What the sink gets after the restore.
    rows: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    operator: String,
    /// Base64 of state parts, as they are uploaded.
    parts: Vec<String>,
}

impl Fixture {
    fn of(middle: &Middle, rows: Vec<String>) -> Self {
        let part = |run: &Run| STANDARD.encode(ipc::encode(&run.rows).unwrap());
        let stored = |runs: &OperatorRuns| Stored {
            operator: runs.operator.0.clone(),
            parts: runs.runs.iter().map(part).collect(),
        };
        Self { operators: middle.state.iter().map(stored).collect(), rows }
    }

    fn state(&self) -> Vec<OperatorRuns> {
        let run = |part: &String| {
            let rows = ipc::decode(&STANDARD.decode(part).unwrap()).unwrap();
            Run { rows: Arc::new(rows), part: Arc::new(OnceLock::new()) }
        };
        let runs = |stored: &Stored| OperatorRuns {
            operator: OperatorId(stored.operator.clone()),
            runs: stored.parts.iter().map(run).collect(),
        };
        self.operators.iter().map(runs).collect()
    }
}

fn write(path: &PathBuf, definition: &Definition) {
    let middle = run_to(definition, &inputs(2), 2, BATCHES).unwrap();
    assert!(middle.state.iter().any(|runs| !runs.runs.is_empty()), "{} holds state", path.display());
    let before = lines(middle.sinks.get("out").map(Vec::as_slice).unwrap_or_default());
    let rest = run_from(definition, &inputs(2), 2, BATCHES, &middle.state).unwrap();
    let after = lines(rest.get("out").map(Vec::as_slice).unwrap_or_default());
    let (whole, _) = run(definition, &inputs(2), 1, &[]).unwrap();
    let mut together = [before, after.clone()].concat();
    together.sort();
    assert_eq!(together, lines(&whole["out"]), "{}", path.display());
    let text = serde_json::to_string_pretty(&Fixture::of(&middle, after)).unwrap();
    std::fs::write(path, text + "\n").unwrap();
}

#[test]
fn state_of_format_version_1_restores_for_ever() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/state"));
    let names = ["aggregates", "hop", "session", "session_global", "statistics", "tumble", "window_of_window"];
    for name in names {
        let case = cases().into_iter().find(|case| case.path.file_stem().is_some_and(|stem| stem == name)).unwrap();
        let transforms: Vec<(&str, &str)> =
            case.transforms.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let definition = definition(&transforms);
        let path = folder.join(format!("{name}.json"));
        if std::env::var_os("UPDATE").is_some() && !path.exists() {
            write(&path, &definition);
        }
        let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for parallelism in 1..=3 {
            let rows = run_from(&definition, &inputs(2), parallelism, BATCHES, &fixture.state()).unwrap();
            let rows = lines(rows.get("out").map(Vec::as_slice).unwrap_or_default());
            assert_eq!(rows, fixture.rows, "{name} at {parallelism}");
        }
    }
}
