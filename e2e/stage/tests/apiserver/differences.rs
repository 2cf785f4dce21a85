//! Where the server and the reader behind `onceward lint` differ: a table, and a search at random for what is not in it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use kube::Client;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::site::{faults, judged, site};
use crate::spots::{bases, spots};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refuses {
    Reader,
    Server,
}

/// One thing of which they judge differently.
struct Difference {
    what: &'static str,
    /// And why that is as it should be.
    why: &'static str,
    who: Refuses,
    /// Shows it: a base, a pointer, a value.
    sample: (&'static str, &'static str, Value),
    /// Part of the path that the one that refuses names.
    at: &'static str,
    /// Part of what it says.
    says: &'static str,
}

fn differences() -> Vec<Difference> {
    let row = |what, why, sample, at, says| Difference { what, why, who: Refuses::Reader, sample, at, says };
    vec![
        row(
            "a field set to null",
            "the server takes it for absent; a reader of files asks what was meant",
            ("kafka", "/spec/parallelism", Value::Null),
            "",
            "has no value",
        ),
        row(
            "a whole number written as 2.0",
            "JSON has one kind of number; in a file it was probably meant as a fraction",
            ("kafka", "/spec/checkpoint/retain", json!(7.0)),
            "",
            "is not a whole number",
        ),
        row(
            "a name with a dot",
            "the server takes what DNS takes; names of files and transactions are built from it, and one could be another's beginning",
            ("files", "/metadata/name", json!("a.b")),
            "",
            "cannot be a resource's name",
        ),
        row(
            "a query that reads itself",
            "no rule of a schema reads SQL",
            ("files", "/spec/transforms/0/sql", json!("SELECT id FROM dear")),
            "",
            "reads itself",
        ),
        row(
            "a query that reads a later one",
            "no rule of a schema reads SQL",
            ("kafka", "/spec/transforms/0/sql", json!("SELECT * FROM large")),
            "",
            "which stands after it",
        ),
        row(
            "a value that its column cannot hold",
            "no rule of a schema reads a text as a column's type does",
            ("generator", "/spec/sources/0/columns/0/generate/sequence/start", json!("x")),
            ".generate.",
            "",
        ),
    ]
}

/// Which rows explain this; none, if something that was said is in no row. What is said of a part of something that is
/// refused as a whole counts as said of the whole.
fn explained(who: Refuses, said: &[(String, String)]) -> Vec<&'static str> {
    let rows = differences();
    let is_part = |path: &str| said.iter().any(|(whole, _)| path.starts_with(&format!("{whole}.")));
    let of = |(path, words): &(String, String)| {
        let fits = |row: &&Difference| row.who == who && path.contains(row.at) && words.contains(row.says);
        rows.iter().find(fits).map(|row| row.what)
    };
    let wholes = said.iter().filter(|(path, _)| !is_part(path));
    wholes.map(of).collect::<Option<_>>().unwrap_or_default()
}

/// What both said: (the server's causes, the reader's faults), `None` for yes.
type Verdicts = (Option<Vec<(String, String)>>, Option<Vec<(String, String)>>);

async fn verdicts(client: &Client, manifest: &Value) -> Result<Verdicts> {
    let answer = judged(client, manifest).await?;
    ensure!(answer.status < 500, "{}", answer.message());
    let causes = || match answer.causes() {
        causes if causes.is_empty() => vec![(String::new(), answer.message().to_owned())],
        causes => causes,
    };
    Ok(((!answer.is_success()).then(causes), faults(manifest)))
}

#[tokio::test]
async fn every_difference_is_there() -> Result<()> {
    let (_site, client) = site().await?;
    for row in differences() {
        let (base, pointer, value) = &row.sample;
        let mut manifest = bases().into_iter().find(|(name, _)| name == base).expect("a base").1;
        *manifest.pointer_mut(pointer).expect("it is there") = value.clone();
        let (server, reader) = verdicts(&client, &manifest).await?;
        let (refuses, accepts) = if row.who == Refuses::Reader { (reader, server) } else { (server, reader) };
        assert!(accepts.is_none(), "{}: both refuse: {accepts:?}", row.what);
        let said = refuses.unwrap_or_default();
        assert!(explained(row.who, &said).contains(&row.what), "{} ({}): {said:?}", row.what, row.why);
    }
    Ok(())
}

/// Words that mean something somewhere.
const TEXTS: [&str; 40] = [
    "",
    "a",
    "main",
    "second",
    "orders",
    "per_customer",
    "large",
    "at",
    "ts",
    "A",
    "a.b",
    "a-b",
    "_",
    "0",
    "7",
    "1.5",
    "999.999",
    "0.0",
    "1.0",
    "0s",
    "9ms",
    "10us",
    "100ms",
    "1h1h",
    "596h",
    "597h",
    "99999h99999h99999h99999h",
    "5ms3h",
    "Earliest",
    "Latest",
    "1969-12-31T23:59:59Z",
    "1970-01-01T01:00:00+02:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00.123456789+02:00",
    "DECIMAL(3,4)",
    "DECIMAL(38, 38)",
    "VARBINARY",
    "TIMESTAMP",
    "ExactlyOnce",
    "SELECT 1",
];

const NUMBERS: [i64; 12] = [0, 1, -1, 2, 63, 64, 65, 128, 1000, 9_007_199_254_740_991, i64::MAX, i64::MIN];

/// One to three changes, of which nobody knows what they do.
fn shaken(dice: &mut Dice) -> Value {
    let bases = bases();
    let mut manifest = dice.one(&bases).1.clone();
    for _ in 0..=dice.below(3) {
        let all = spots(&manifest);
        let spot = dice.one(&all);
        let value = match dice.below(8) {
            0 => Value::Null,
            1 => json!(dice.one(&NUMBERS)),
            // What stands at another place of the same kind.
            2..=4 => {
                let others = spots(&dice.one(&bases).1);
                let others: Vec<_> = others.into_iter().filter(|other| other.kind() == spot.kind()).collect();
                if others.is_empty() {
                    continue;
                }
                dice.one(&others).value.clone()
            }
            _ => rearranged(&spot.value, dice),
        };
        manifest = spot.replaced(&manifest, value);
    }
    manifest
}

fn rearranged(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let mut fields = fields.clone();
            let names: Vec<_> = fields.keys().cloned().collect();
            fields.remove(dice.one(&names));
            Value::Object(fields)
        }
        Value::Array(items) if !items.is_empty() => {
            let (mut items, from, to) = (items.clone(), dice.below(items.len()), dice.below(items.len()));
            match dice.below(3) {
                0 => drop(items.remove(from)),
                1 => items.swap(from, to),
                _ => items.insert(to, items[from].clone()),
            }
            Value::Array(items)
        }
        Value::Bool(set) => json!(!set),
        Value::Number(_) => json!(dice.one(&NUMBERS)),
        Value::String(_) => json!(dice.one(&TEXTS)),
        Value::Null | Value::Object(_) | Value::Array(_) => value.clone(),
    }
}

#[tokio::test]
async fn no_other_difference_is_found_at_random() -> Result<()> {
    const CASES: usize = 1_500;
    let (_site, client) = site().await?;
    let mut dice = Dice::of("differences", 1);
    let (mut accepted, mut refused, mut known, mut new) = (0, 0, BTreeMap::<&str, usize>::new(), Vec::new());
    for _ in 0..CASES {
        let manifest = shaken(&mut dice);
        let (who, said) = match verdicts(&client, &manifest).await? {
            (None, None) => {
                accepted += 1;
                continue;
            }
            (Some(_), Some(_)) => {
                refused += 1;
                continue;
            }
            (None, Some(said)) => (Refuses::Reader, said),
            (Some(said), None) => (Refuses::Server, said),
        };
        match explained(who, &said).as_slice() {
            [] => new.push(format!("{who:?} alone refuses: {said:?}")),
            rows => rows.iter().for_each(|row| *known.entry(row).or_default() += 1),
        }
    }
    let told = format!("{CASES} manifests: both accept {accepted}, both refuse {refused}, differences {known:?}\n");
    let _ = std::io::Write::write_all(&mut std::io::stdout(), told.as_bytes());
    assert!(new.is_empty(), "{} differences that no row explains:\n{}", new.len(), new.join("\n"));
    assert!(accepted > CASES / 20 && refused > CASES / 5, "{told}: nothing is compared");
    Ok(())
}
