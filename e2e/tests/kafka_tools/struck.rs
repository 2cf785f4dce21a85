//! A pipeline that died with a decided transaction and an undecided one open, and the tools used on it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::judge::Transaction;
use e2e::stage::SLOW;
use onceward::child::{Child, Ended, Said};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::stage::{Cluster, Shape, Stage};

/// Looks until `is_there`, for half a minute.
pub(crate) fn until<T>(mut look: impl FnMut() -> Result<T>, is_there: impl Fn(&T) -> bool) -> Result<T> {
    for _ in 0..300 {
        let seen = look()?;
        if is_there(&seen) {
            return Ok(seen);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    anyhow::bail!("it did not come to be within half a minute")
}

/// Where its brokers are.
pub(crate) fn bootstrap(stage: &Stage<'_>) -> Result<String> {
    let text = std::fs::read_to_string(&stage.manifest)?;
    let (_, rest) = text.split_once("bootstrapServers: [\"").context("servers")?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

/// Open transactions of this pipeline by the judge's word.
pub(crate) fn open(stage: &Stage<'_>) -> Result<Vec<Transaction>> {
    let pipeline = pipeline(stage)?;
    let open =
        stage.cluster.judge.transactions()?.into_iter().filter(|one| one.is_open() && one.id.contains(&pipeline));
    Ok(open.collect())
}

fn pipeline(stage: &Stage<'_>) -> Result<String> {
    let claim = stage.log()?.into_iter().find(|(name, _)| name.ends_with("/claim")).context("a claim")?.1;
    let claim: Value = serde_json::from_slice(&claim)?;
    Ok(claim["content"]["pipeline"].as_str().context("a pipeline id")?.to_owned())
}

/// A run whose third decision cannot be carried out: a while long no end can be sent. It goes on meanwhile, as far as it
/// may: of each sink one transaction is decided, one waits for its decision, and one is being written. Then it is
/// stopped; woken, it soon carries its decision out.
pub(crate) fn stopped(cluster: &Cluster, shape: Shape) -> Result<(Stage<'_>, Child, Pid)> {
    // As long as `until` looks: on a slow machine it takes half of that until three transactions are open.
    stopped_for(cluster, shape, 300)
}

/// `vain`: so many times an end cannot be sent, each a tenth of a second.
fn stopped_for(cluster: &Cluster, shape: Shape, vain: usize) -> Result<(Stage<'_>, Child, Pid)> {
    let sinks = shape.sinks as usize;
    let stage = Stage::new(cluster, shape)?;
    let first = 2 * sinks + 1;
    let faults: Vec<_> = (first..first + vain).map(|nth| format!("kafka.before_end:{nth}=error")).collect();
    let mut child = stage.start(&format!("{},{SLOW}", faults.join(",")), &[])?;
    child.wait_for(|said| *said == Said::Line(format!("crashpoint kafka.before_end {first}")))?;
    let id = Pid::from_raw(child.id().cast_signed()).context("a process id")?;
    until(|| open(&stage), |open| open.len() == 3 * sinks).with_context(|| format!("{:?}", open(&stage)))?;
    kill_process(id, Signal::STOP)?;
    let listed = list(&stage)?;
    let is = |standing: &str| listed.iter().filter(|one| one["standing"] == standing).count();
    ensure!((is("decided"), is("undecided")) == (sinks, 2 * sinks), "not as it should be struck: {listed:?}");
    Ok((stage, child, id))
}

/// As [`stopped`], and killed.
pub(crate) fn struck(cluster: &Cluster, shape: Shape) -> Result<Stage<'_>> {
    // Longer than anything takes here.
    let (stage, mut child, _) = stopped_for(cluster, shape, 1_000)?;
    child.kill()?;
    child.finish()?;
    Ok(stage)
}

/// `onceward <words> <manifest> <more>` to its end.
pub(crate) fn tool(stage: &Stage<'_>, words: &[&str], more: &[&str], faults: &str) -> Result<Ended> {
    Ok(start_tool(stage, words, more, faults)?.finish()?)
}

/// As [`tool`], not waited for.
pub(crate) fn start_tool(stage: &Stage<'_>, words: &[&str], more: &[&str], faults: &str) -> Result<Child> {
    Ok(Child::start(stage.command(words, faults).arg(&stage.manifest).args(more))?)
}

/// As [`tool`], which must end with `code` and say all of `words`.
pub(crate) fn expect(ended: Ended, code: i32, words: &[&str]) -> Result<Ended> {
    ensure!(ended.code() == Some(code), "not exit code {code}: {}", ended.describe());
    let said = ended.describe();
    for word in words {
        ensure!(said.contains(word), "`{word}` is not in {said}");
    }
    Ok(ended)
}

/// What `onceward transactions list -o json` says.
pub(crate) fn list(stage: &Stage<'_>) -> Result<Vec<Value>> {
    let ended = expect(tool(stage, &["transactions", "list"], &["-o", "json"], "")?, 0, &[])?;
    let events = ended.transcript.iter().filter_map(|said| match said {
        Said::Event(event) => Some(event.clone()),
        Said::Line(_) => None,
    });
    Ok(events.collect())
}

/// Ids that are listed with this standing.
pub(crate) fn ids(stage: &Stage<'_>, standing: &str) -> Result<Vec<String>> {
    let of = list(stage)?.into_iter().filter(|one| one["standing"] == standing);
    of.map(|one| Ok(one["id"].as_str().context("an id")?.to_owned())).collect()
}

/// Rows (by number) that a reader sees, each once.
pub(crate) fn visible(stage: &Stage<'_>, topic: &str) -> Result<BTreeSet<u64>> {
    rows(&stage.cluster.judge.committed(topic, stage.shape.rows * 2)?)
}

fn rows(records: &[e2e::kafka::judge::Record]) -> Result<BTreeSet<u64>> {
    let mut rows = BTreeSet::new();
    for record in records {
        let row: Value = serde_json::from_str(record.text())?;
        let id = row["id"].as_u64().context("a number")?;
        ensure!(rows.insert(id), "row {id} is there twice");
    }
    Ok(rows)
}

/// The rows that the newest checkpoint decided for a topic: told by the witnesses in the log, read by the judge.
pub(crate) fn decided(stage: &Stage<'_>, topic: &str) -> Result<BTreeSet<u64>> {
    let newest = stage.checkpoints()?.into_iter().next().context("a checkpoint")?;
    let path = newest["handle"].as_str().and_then(|handle| handle.strip_prefix("file://")).context("a handle")?;
    let record: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let manifest = &record["content"]["record"]["completed"]["manifest"]["inline"];
    let mut places = Vec::new();
    for committable in manifest["committables"].as_array().context("committables")? {
        let handle: Value = serde_json::from_str(committable["handle"].as_str().context("a handle")?)?;
        for of in handle["topics"].as_array().context("topics")?.iter().filter(|of| of["topic"] == topic) {
            // Partition, first offset, last offset.
            places.extend(of["partitions"].as_array().context("partitions")?.clone());
        }
    }
    let is_decided = |record: &e2e::kafka::judge::Record| {
        places.iter().any(|place| {
            place[0] == record.partition && (place[1].as_i64()..=place[2].as_i64()).contains(&Some(record.offset))
        })
    };
    let all = stage.cluster.judge.uncommitted(topic, stage.shape.rows * 4)?;
    rows(&all.into_iter().filter(is_decided).collect::<Vec<_>>())
}

/// Objects of the log whose name and content hold all of `words`.
pub(crate) fn records(stage: &Stage<'_>, words: &[&str]) -> Result<usize> {
    let is_meant = |(name, bytes): &(String, Vec<u8>)| {
        let text = format!("{name} {}", String::from_utf8_lossy(bytes));
        words.iter().all(|word| text.contains(word))
    };
    Ok(stage.log()?.into_iter().filter(is_meant).count())
}

/// The pipeline finishes, exactly these rows of `topic` are missing, none is there twice, and nothing is open.
pub(crate) fn finish_without(stage: &Stage<'_>, topic: &str, missing: &BTreeSet<u64>) -> Result<()> {
    stage.run_out(&[])?;
    let visible = visible(stage, topic)?;
    let gone: BTreeSet<u64> = (0..stage.shape.rows).filter(|row| !visible.contains(row)).collect();
    ensure!(gone == *missing, "{topic}: {} rows are missing, and {} should be", gone.len(), missing.len());
    let open = open(stage)?;
    ensure!(open.is_empty(), "still open: {open:?}");
    Ok(())
}
