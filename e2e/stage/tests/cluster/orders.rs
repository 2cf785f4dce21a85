//! A Pipeline whose output is known: numbered orders, copied and summed by windows into files. Its judge reckons with
//! straight loops and shares no code with the engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// Orders are a hundredth of a second apart, windows are a second long.
const PER_WINDOW: u64 = 100;
const CUSTOMERS: u64 = 7;

/// What is different between Pipelines of this kind.
pub(crate) struct Orders {
    pub(crate) name: &'static str,
    pub(crate) rows: u64,
    pub(crate) rows_per_second: u64,
    /// The claim of the volume that output is written to, and checkpoints, unless `storage` says otherwise.
    pub(crate) claim: &'static str,
    /// As `spec.checkpoint.storage`.
    pub(crate) storage: Option<Value>,
}

impl Orders {
    pub(crate) fn manifest(&self) -> Value {
        let Self { name, rows, rows_per_second, claim, .. } = self;
        let column = |name: &str, kind: &str, sequence: Value| json!({ "name": name, "type": kind, "generate": { "sequence": sequence } });
        let source = json!({
            "name": "orders", "generator": { "rows": rows, "rowsPerSecond": rows_per_second },
            "columns": [
                column("n", "BIGINT", json!({ "start": 0 })),
                column("ts", "TIMESTAMP", json!({ "start": "2026-01-01T00:00:00Z", "step": "10ms" })),
            ],
            "eventTime": { "column": "ts" },
        });
        let sums = "SELECT window_start, customer, MIN(n) AS lowest, SUM(n) AS total, COUNT(*) AS orders \
                    FROM TUMBLE(keyed, ts, INTERVAL '1 second') GROUP BY window_start, window_end, customer";
        let sink = |sink: &str, input: &str| json!({ "name": sink, "input": input, "files": { "path": format!("/data/{name}/{sink}") } });
        let local = || json!({ "local": { "path": format!("/data/{name}/state") } });
        let volume = json!({ "name": "data", "persistentVolumeClaim": { "claimName": claim } });
        let container = json!({ "name": "worker", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
        json!({
            "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": name },
            "spec": {
                "parallelism": 2,
                "sources": [source],
                "transforms": [
                    { "name": "keyed", "sql": format!("SELECT ts, n, n % {CUSTOMERS} AS customer FROM orders") },
                    { "name": "summed", "sql": sums },
                ],
                "sinks": [sink("rows", "keyed"), sink("sums", "summed")],
                "checkpoint": { "interval": "1s", "storage": self.storage.clone().unwrap_or_else(local) },
                "podTemplate": { "spec": { "volumes": [volume], "containers": [container] } },
            },
        })
    }

    /// As [`Self::assert_exact`], and nothing hidden is left over. Only where no worker outlives the end of the last one: what
    /// that one has begun to write stays.
    pub(crate) fn assert_exact_and_tidy(&self, volume: &Path) -> Result<()> {
        self.assert_exact(volume)?;
        for sink in ["rows", "sums"] {
            let hidden = hidden(&volume.join(self.name).join(sink))?;
            ensure!(hidden.is_empty(), "left over: {hidden:?}");
        }
        Ok(())
    }

    /// Every order is there once, and every sum once and right. `volume`: where the claim's volume lies on this machine.
    pub(crate) fn assert_exact(&self, volume: &Path) -> Result<()> {
        let of = |sink: &str| volume.join(self.name).join(sink);
        let mut times = vec![0_u32; usize::try_from(self.rows)?];
        for row in rows(&of("rows"))? {
            let n = row["n"].as_u64().with_context(|| row.to_string())?;
            ensure!(row["customer"] == n % CUSTOMERS, "{row}");
            *times.get_mut(usize::try_from(n)?).with_context(|| format!("order {n} was never made"))? += 1;
        }
        let missing = times.iter().filter(|times| **times == 0).count();
        let doubled = times.iter().filter(|times| **times > 1).count();
        ensure!(missing == 0 && doubled == 0, "{} orders, missing {missing}, doubled {doubled}", self.rows);
        let mut wanted: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        for n in 0..self.rows {
            let sum = wanted.entry((n / PER_WINDOW, n % CUSTOMERS)).or_default();
            *sum = (sum.0 + n, sum.1 + 1);
        }
        let mut found: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        for row in rows(&of("sums"))? {
            let field = |name: &str| row[name].as_u64().with_context(|| format!("{name} of {row}"));
            let key = (field("lowest")? / PER_WINDOW, field("customer")?);
            let doubled = found.insert(key, (field("total")?, field("orders")?));
            ensure!(doubled.is_none(), "window and customer {key:?} come twice");
        }
        ensure!(found == wanted, "{} sums are there, {} should be, or some are wrong", found.len(), wanted.len());
        Ok(())
    }
}

/// The newest attempt of which something is visible: `rows-<pipeline>-<attempt>-<epoch>-...`. The status tells it, too, but
/// every thirty seconds only.
pub(crate) fn newest_attempt(volume: &Path, name: &str) -> Result<u64> {
    let folder = volume.join(name).join("rows");
    let names = files(&folder)?.into_iter().filter(|path| !is_hidden(path));
    let attempt = |path: PathBuf| path.file_name()?.to_str()?.split('-').nth(2)?.parse::<u64>().ok();
    Ok(names.filter_map(attempt).max().unwrap_or_default())
}

/// Of all visible files of a folder.
fn rows(folder: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    each_row(folder, |row| {
        found.push(row);
        Ok(())
    })?;
    Ok(found)
}

/// As [`rows`], for more than memory should hold.
pub(crate) fn each_row(folder: &Path, mut each: impl FnMut(Value) -> Result<()>) -> Result<()> {
    for path in files(folder)?.into_iter().filter(|path| !is_hidden(path)) {
        let text = fs::read_to_string(&path)?;
        for line in text.lines() {
            let row = serde_json::from_str(line);
            each(row.with_context(|| format!("{}: {line}", path.display()))?)?;
        }
    }
    Ok(())
}

/// What nobody has made visible.
pub(crate) fn hidden(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(files(folder)?.into_iter().filter(|path| is_hidden(path)).collect())
}

/// How many files of a folder are visible.
pub(crate) fn visible(folder: &Path) -> Result<usize> {
    Ok(files(folder)?.iter().filter(|path| !is_hidden(path)).count())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}
