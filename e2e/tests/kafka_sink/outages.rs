//! A transaction that the broker has thrown away, and one that it has kept.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::http::{free_port, get};
use e2e::kafka::broker::Listener;
use e2e::kafka::proxy::PRODUCE;
use e2e::kafka::{Options, Proxy, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

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

/// Waits until no transaction is open.
fn wait_until_it_is_gone(cluster: &Cluster) -> Result<()> {
    for _ in 0..300 {
        if !cluster.judge.transactions()?.iter().any(e2e::kafka::judge::Transaction::is_open) {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    anyhow::bail!("the broker has not ended it in half a minute")
}

#[test]
fn an_outage_longer_than_the_timeout_is_a_loss_that_is_told_and_stays_told() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &quick())?;
    let stage = Stage::new(&cluster, shape("lost", "10s"))?;
    lower_tolerance(&stage)?;
    stage.crash_at("coordinator.decided", 3, &[])?;
    let before = cluster.judge.committed("lost", 100_000)?.len();
    wait_until_it_is_gone(&cluster)?;
    let place = ["lost-0 offsets", "records"];
    for words in [&place[..], &["found by an earlier attempt"]] {
        let ended = stage.run("", &[])?;
        ensure!(ended.code() == Some(1), "{}", ended.describe());
        let said = ended.describe();
        for word in ["CommitLost", "--accept-loss"].iter().chain(words) {
            ensure!(said.contains(*word), "`{word}` is not in {said}");
        }
        ensure!(cluster.judge.committed("lost", 100_000)?.len() == before, "something was written after the loss");
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
    let proxy = Proxy::start()?;
    let options = Options { proxy: Some(proxy.port()), ..Options::default() };
    let mut cluster = Cluster::new(Version::Newest, &options)?;
    proxy.forward_to(cluster.broker()?.address_of(Listener::Proxied)?);
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
