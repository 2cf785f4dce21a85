//! A transaction that the broker has thrown away, and one that it has kept.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::http::{free_port, get};
use e2e::kafka::judge::{Record, Transaction};
use e2e::kafka::proxy::PRODUCE;
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;
use serde_json::Value;

use crate::changes::gauge;
use crate::stage::{Cluster, Shape, Stage};

/// Expired transactions are looked for every second instead of every ten.
fn quick() -> Options {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Options {
        properties: vec![property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")],
        ..Options::default()
    }
}

fn shape(topic: &str, timeout: &str) -> Shape {
    Shape { sink: format!(", transactionTimeout: {timeout}, commitBudget: 1s"), ..Shape::struck(topic) }
}

fn lower_tolerance(stage: &Stage<'_>) -> Result<()> {
    stage.edit_manifest("timeout: 20s, tolerableFailedCheckpoints: 3", "timeout: 5s, tolerableFailedCheckpoints: 0")
}

/// Waits until no transaction of a sink is open.
fn wait_until_it_is_gone(cluster: &Cluster, sink: &str) -> Result<()> {
    let of_it = format!("/{sink}/");
    for _ in 0..300 {
        if !cluster.judge.transactions()?.iter().any(|found| found.is_open() && found.id.contains(&of_it)) {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    anyhow::bail!("the broker has not ended it in half a minute")
}

/// By rows: one subtask wrote them in order, so that those of the lost transaction follow upon those that are visible.
fn assert_places_are_told(said: &str, visible: usize, written: &[Record]) -> Result<()> {
    let lost = said.split("lost (CommitLost)").nth(1).context("CommitLost")?;
    let (words, _) = lost.split_once(" records").context("a number of records")?;
    let count: u64 = words.rsplit(' ').next().unwrap_or_default().parse().with_context(|| words.to_owned())?;
    let is_lost = |record: &&Record| {
        let row: Option<Value> = serde_json::from_str(record.text()).ok();
        let id = row.and_then(|row| row["id"].as_u64());
        id.is_some_and(|id| (visible as u64..visible as u64 + count).contains(&id))
    };
    let mut places: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for record in written.iter().filter(is_lost) {
        let (first, last) = places.entry(record.partition).or_insert((record.offset, record.offset));
        (*first, *last) = ((*first).min(record.offset), (*last).max(record.offset));
    }
    ensure!(count > 0 && !places.is_empty(), "nothing was lost: {said}");
    for (partition, (first, last)) in places {
        let place = format!("lost-{partition} offsets {first} to {last}");
        ensure!(lost.contains(&place), "`{place}` of {count} records from row {visible} on is not in {lost}");
    }
    Ok(())
}

/// Of two sinks whose output is decided, one is lost before anything is committed: nothing is half done.
#[test]
fn an_outage_longer_than_the_timeout_is_a_loss_that_is_told_and_stays_told() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &quick())?;
    let stage = Stage::new(&cluster, Shape { sinks: 2, ..shape("lost", "10s") })?;
    lower_tolerance(&stage)?;
    let longer = "topic: lost-2, key: [customer], transactionTimeout: ";
    stage.edit_manifest(&format!("{longer}10s"), &format!("{longer}600s"))?;
    // The epoch before is committed as a whole by then.
    stage.crash_at("coordinator.decided", 3, &[])?;
    let seen = || -> Result<[usize; 2]> {
        Ok([cluster.judge.committed("lost", 100_000)?.len(), cluster.judge.committed("lost-2", 100_000)?.len()])
    };
    let (before, written) = (seen()?, cluster.judge.uncommitted("lost", 100_000)?);
    let newest = stage.checkpoints()?.first().and_then(|newest| newest["epoch"].as_u64()).context("a checkpoint")?;
    wait_until_it_is_gone(&cluster, "out0")?;
    let place = ["lost-0 offsets", "out0"];
    for words in [&place[..], &["found by an earlier attempt"]] {
        let ended = stage.run("", &[])?;
        ensure!(ended.code() == Some(1), "{}", ended.describe());
        let said = ended.describe();
        for word in ["CommitLost", "--accept-loss", &format!("checkpoint 1/{newest}")].iter().chain(words) {
            ensure!(said.contains(*word), "`{word}` is not in {said}");
        }
        if words.contains(&"out0") {
            assert_places_are_told(&said, before[0], &written)?;
        }
        ensure!(seen()? == before, "something was written after the loss");
        let is_kept = |found: &Transaction| found.is_open() && found.id.contains("/out1/");
        ensure!(cluster.judge.transactions()?.iter().any(is_kept), "the other sink's was ended: half of it is done");
    }
    Ok(())
}

#[test]
fn an_outage_within_the_timeout_loses_nothing() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &quick())?;
    let stage = Stage::new(&cluster, shape("kept", "600s"))?;
    stage.crash_at("coordinator.decided", 3, &[])?;
    // Long past the other test's timeout.
    for _ in 0..60 {
        ensure!(cluster.judge.transactions()?.iter().any(e2e::kafka::judge::Transaction::is_open), "it is gone");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    stage.run_out(&[]).context("after the outage")?;
    stage.assert_exact()
}

/// Each transaction has a producer of its own. One that waits for an answer is overtaken by the next, unless that waits, too.
#[test]
fn records_of_a_checkpoint_do_not_overtake_those_of_the_one_before() -> Result<()> {
    let (proxy, cluster) = Cluster::proxied()?;
    let connection = ", properties: {socket.timeout.ms: 6000}".to_owned();
    let shape = Shape { rows: 40_000, partitions: 1, connection, ..Shape::new("overtaken") };
    let stage = Stage::with_bootstrap(&cluster, shape, &proxy.address())?;
    let mut child = stage.start(&format!("worker.batch_read:12=pause:1s,{SLOW}"), &[])?;
    child.wait_for(|said| *said == Said::Line("crashpoint worker.batch_read 12".to_owned()))?;
    // From here on, so that what is lost belongs to an epoch with another one after it.
    proxy.swallow_requests(PRODUCE, 1);
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    ensure!(proxy.lost() == 1, "no request was lost: this proves nothing");
    stage.assert_exact()
}

/// Bytes that a process has had resident at most.
fn most_resident(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kb = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(kb.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A source that could give as much as memory takes stands still instead.
#[test]
fn an_outage_under_full_load_stops_the_source_and_not_the_memory() -> Result<()> {
    const ROWS: u64 = 2_000_000;
    /// Queues of the client for 64 MB, two batches, the process itself.
    const MOST_BYTES: u64 = 256 << 20;
    let mut cluster = Cluster::new(Version::Newest, &Options::default())?;
    let shape = || Shape { rows: ROWS, rows_per_second: 10_000_000, ..Shape::new("full") };
    let stage = Stage::new(&cluster, shape())?;
    let address = free_port()?;
    let mut child = stage.start("", &["--metrics", &address.to_string()])?;
    child.wait_for(|said| said.is_event("commit.completed"))?;
    let site = stage.into_site();
    cluster.broker()?.kill()?;
    let (mut read, mut looks_alike) = (0.0, 0);
    for _ in 0..600 {
        ensure!(child.outlives(Duration::from_millis(100)), "it ended though the broker may come back");
        let before =
            std::mem::replace(&mut read, gauge(&get(address, "/metrics")?.1, "onceward_source_records_total")?);
        looks_alike = if read - before < 0.5 { looks_alike + 1 } else { 0 };
        if looks_alike == 30 {
            break;
        }
    }
    ensure!(looks_alike == 30, "the source does not stand still");
    ensure!(read > 0.0 && read < ROWS as f64, "{read} rows were read: the outage came too late to prove anything");
    let resident = most_resident(child.id())?;
    println!("{read} rows read, at most {} MB resident", resident >> 20);
    ensure!(resident < MOST_BYTES, "{} MB", resident >> 20);
    cluster.broker()?.restart()?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    Stage::again(&cluster, shape(), site).assert_exact()
}
