//! How long it takes from the moment at which a worker's pod is deleted by force to the first output that is new, and where
//! that time goes: `KILLS=100 cargo test --test cluster -- --ignored recovery_is_measured`. Nothing is asserted about time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::say;
use crate::stand::{NAMESPACE, PIPELINES, Stand, serial};

const NAME: &str = "recovery";
/// Unless `KILLS` says otherwise.
const KILLS: usize = 10;
const LOOK: Duration = Duration::from_millis(5);
/// A minute, and the time that looking takes.
const MOST_LOOKS: u32 = 12_000;
const PARTS: [&str; 7] =
    ["detect and make the pod", "start it", "claim", "commit", "restore", "first epoch", "make it visible"];

pub(crate) fn recovery_is_measured(stand: &Stand) -> Result<()> {
    let kills = std::env::var("KILLS").ok().map_or(Ok(KILLS), |kills| kills.parse())?;
    let orders = Orders { name: NAME, rows: 1 << 40, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    let mut manifest = orders.manifest();
    // An epoch's end is a line for those who ask for it.
    manifest["spec"]["podTemplate"]["spec"]["containers"][0]["env"] =
        json!([{ "name": "ONCEWARD_LOG", "value": "warn,onceward=debug" }]);
    stand.create(PIPELINES, &manifest)?;
    let output = stand.cluster.layout().shared().join(NAME).join("rows");
    let mut times: Vec<[u64; 8]> = vec![];
    let mut than = 0;
    for _ in 0..kills {
        let worker = stand.worker(NAME, than)?;
        than = serial(&worker);
        // The folder comes with the first output.
        let count = || visible(&output).map_or(0, |names| names.len());
        let before = count();
        until("its output grows", || Ok((count() > before + 2).then_some(())))?;
        times.push(one(stand, &worker, &output)?);
    }
    stand.forget(NAME)?;
    say(&format!("{kills} pods deleted by force; checkpoints each second; milliseconds\n{}", table(&times)));
    Ok(())
}

/// Milliseconds of each part, and of all of them.
fn one(stand: &Stand, worker: &Value, output: &Path) -> Result<[u64; 8]> {
    let name = worker["metadata"]["name"].as_str().context("a name")?;
    let before = visible(output)?;
    let begin = now_ms()?;
    stand.delete(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"), true)?;
    let is_next = |pod: &&Value| serial(pod) > serial(worker);
    let next = until("another pod is made", || {
        Ok(stand.workers(NAME)?.iter().find(is_next).map(|pod| (pod.clone(), now_ms())))
    })?;
    let (next, made) = (next.0, next.1?);
    // Of those that the old worker had decided some may become visible yet: they are not new.
    let attempt = attempts(&before).into_iter().max().context("an attempt has written")?;
    let seen = until("new output is visible", || {
        let now = visible(output)?;
        Ok(attempts(&now).into_iter().any(|found| found > attempt).then(now_ms))
    })??;
    let next = next["metadata"]["name"].as_str().context("a name")?;
    let said = stand.cluster.told(&["logs", "--namespace", NAMESPACE, next])?;
    let times = |event: &str| -> Vec<u64> {
        let is_it = |line: &&str| line.contains(&format!("\\\"event\\\":\\\"{event}\\\""));
        let lines = said.lines().filter(is_it).filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["timestampMs"].as_u64()).collect()
    };
    let moment = |event: &str| times(event).first().copied().with_context(|| format!("no {event}: {said}"));
    let started = next_start(&said)?;
    let claimed = moment("claimed")?;
    // Where nothing is owed nothing is asked.
    let committed = times("recovery.ended").last().copied().unwrap_or(claimed);
    let moments =
        [begin, made, started, claimed, committed, moment("restored")?, moment("checkpoint.completed")?, seen];
    let mut parts = [0; 8];
    for (part, pair) in parts.iter_mut().zip(moments.windows(2)) {
        *part = pair[1].saturating_sub(pair[0]);
    }
    parts[7] = seen.saturating_sub(begin);
    Ok(parts)
}

/// When it wrote its first line.
fn next_start(said: &str) -> Result<u64> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["timestampMs"].as_u64()).min().context("it has said nothing")
}

/// Names of visible files.
fn visible(output: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(output).with_context(|| output.display().to_string())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// Of `<pipeline>-<sink>-<attempt>-<epoch>-...`.
fn attempts(names: &BTreeSet<String>) -> BTreeSet<u64> {
    names.iter().filter_map(|name| name.rsplit('-').nth(3)?.parse().ok()).collect()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..MOST_LOOKS {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
    bail!("it never came to this: {what}")
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(Timestamp::now().as_millisecond())?)
}

fn table(times: &[[u64; 8]]) -> String {
    let mut text = String::from("| part | p50 | p99 | max |\n|---|---|---|---|\n");
    for (number, part) in PARTS.into_iter().chain(["all"]).enumerate() {
        let mut sorted: Vec<u64> = times.iter().filter_map(|parts| parts.get(number).copied()).collect();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len() - 1)).copied().unwrap_or(0);
        let _ = writeln!(text, "| {part} | {} | {} | {} |", at(50), at(99), at(100));
    }
    text
}
