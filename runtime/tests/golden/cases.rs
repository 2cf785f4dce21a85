//! Stored cases, `cases/*.sql`: transforms after `-- name` lines, then `-- rows` with one JSON object for each result
//! row, sorted. The input is the same for all of them. `UPDATE=1` writes the rows anew (read the difference).

use std::fmt::Write;
use std::path::PathBuf;

use runtime::dataflow::{explain, plan};

use crate::engine::{Restart, SplitInput, run};
use crate::rows::{BASE, Order, SECOND, definition, lines, split};

fn order(second: i64, customer: Option<i64>, cents: Option<i64>, country: Option<&'static str>) -> Order {
    Order { ts: BASE + second * SECOND, customer, cents, country }
}

/// Three minutes of orders in two splits, out of order within five seconds; one row is late for a minute's window.
pub(crate) fn inputs(batch: usize) -> Vec<SplitInput> {
    let first = [
        order(0, Some(1), Some(100), Some("DE")),
        order(12, Some(2), Some(250), Some("FR")),
        order(10, Some(1), Some(-50), Some("DE")),
        order(31, Some(3), None, Some("SE")),
        order(59, Some(2), Some(75), None),
        order(61, Some(1), Some(300), Some("DE")),
        order(58, Some(2), Some(20), Some("FR")),
        order(66, None, Some(40), Some("SE")),
        order(3, Some(1), Some(9_999), Some("DE")),
        order(119, Some(1), Some(1), Some("FR")),
        order(150, Some(3), Some(600), Some("SE")),
    ];
    let second = [
        order(5, Some(4), Some(10), Some("Ö")),
        order(65, Some(4), Some(20), Some("Ö")),
        order(64, Some(2), Some(100), Some("FR")),
        order(125, Some(4), Some(30), Some("Ö")),
        order(124, None, None, None),
        order(179, Some(2), Some(8), Some("FR")),
    ];
    let returns = [
        order(20, Some(1), Some(-100), Some("DE")),
        order(80, Some(2), Some(-75), Some("FR")),
        order(140, Some(4), Some(-5), Some("Ö")),
    ];
    vec![
        split("orders", &first, batch, 5 * SECOND),
        split("orders", &second, batch, 5 * SECOND),
        split("returns", &returns, batch, 5 * SECOND),
    ]
}

struct Case {
    path: PathBuf,
    transforms: Vec<(String, String)>,
    rows: String,
}

fn read(path: PathBuf) -> Case {
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rows) = text.split_once("-- rows\n").unwrap_or((&text, ""));
    let parts = head.split("-- ").filter_map(|part| part.split_once('\n'));
    let transforms = parts.map(|(name, sql)| (name.trim().to_owned(), sql.trim().to_owned())).collect();
    Case { path, transforms, rows: rows.to_owned() }
}

fn cases() -> Vec<Case> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cases")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    paths.into_iter().map(read).collect()
}

#[test]
fn every_case_gives_its_rows_whatever_the_parallelism_and_restarts() {
    let cases = cases();
    assert!(cases.len() >= 20, "cases were found");
    let mut wrong = String::new();
    for case in cases {
        let transforms: Vec<(&str, &str)> =
            case.transforms.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let definition = definition(&transforms);
        let result = |batch: usize, parallelism: u32, restarts: &[Restart]| {
            let (sinks, _) = run(&definition, &inputs(batch), parallelism, restarts)
                .unwrap_or_else(|error| panic!("{}: {error}", case.path.display()));
            let rows = lines(sinks.get("out").map(Vec::as_slice).unwrap_or_default());
            rows.iter().fold(String::new(), |text, row| text + row + "\n")
        };
        let found = result(100, 1, &[]);
        for parallelism in 1..=3 {
            assert_eq!(result(2, parallelism, &[]), found, "{} at {parallelism}", case.path.display());
            let restarts = [Restart { after: 3, parallelism: 4 - parallelism }, Restart { after: 6, parallelism }];
            assert_eq!(result(2, parallelism, &restarts), found, "{} restarted", case.path.display());
        }
        if found != case.rows {
            if std::env::var_os("UPDATE").is_some() {
                let mut text = String::new();
                for (name, sql) in &case.transforms {
                    writeln!(text, "-- {name}\n{sql}").unwrap();
                }
                std::fs::write(&case.path, format!("{text}-- rows\n{found}")).unwrap();
            } else {
                writeln!(wrong, "{}:\n{found}", case.path.display()).unwrap();
            }
        }
    }
    assert_eq!(wrong, "", "UPDATE=1 writes the rows anew");
}

#[test]
fn explain_is_stable() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cases/explain.txt");
    let mut text = String::new();
    for name in ["chain.sql", "union_all.sql", "nested_window.sql"] {
        let case = read(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cases")).join(name));
        let transforms: Vec<(&str, &str)> =
            case.transforms.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        writeln!(text, "{name}\n{}", explain(&plan(&definition(&transforms)).unwrap(), 2, 128)).unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "UPDATE=1 writes {path} anew");
}
