//! Records that a broker does not take, and commits that nobody takes for a while.

use anyhow::{Result, ensure};
use e2e::http::{free_port, get};
use e2e::kafka::proxy::END_TXN;
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

use crate::changes::gauge;
use crate::stage::{Cluster, Shape, Stage};

#[test]
fn a_record_that_is_too_large_is_told_with_sink_source_and_row_and_not_tried_again() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    // The batch of row 3000 alone has some 1,920 bytes.
    let also = "repeat('x', CASE id WHEN 3000 THEN 1800 WHEN 7000 THEN 5000 ELSE 1 END) AS text".to_owned();
    let stage = Stage::new(&cluster, Shape { rows: 10_000, also, ..Shape::new("large") })?;
    cluster.judge.configure("large", &[("max.message.bytes", "2000")])?;
    let ended = stage.run("", &[])?;
    let said = ended.describe();
    ensure!(ended.code() == Some(1), "{said}");
    for word in ["sink `out0`", "(source `numbers`, row 7000)", "too large"] {
        ensure!(said.to_lowercase().contains(word), "`{word}` is not in {said}");
    }
    ensure!(ended.events("attempt.failed").is_empty(), "it was tried again, or a record that fits was refused: {said}");
    ensure!(cluster.judge.committed("large", 100_000)?.len() <= 7_000);
    Ok(())
}

/// The policy allows no restart at all: an attempt that ends because its commits wait is not counted.
#[test]
fn commits_that_wait_for_longer_than_their_budget_cost_no_restart_and_lose_nothing() -> Result<()> {
    let (proxy, cluster) = Cluster::proxied()?;
    // Seven seconds until an attempt ends for it, and twenty more until the broker throws anything away.
    let sink = ", transactionTimeout: 27s, commitBudget: 20s".to_owned();
    let stage = Stage::with_bootstrap(&cluster, Shape { sink, ..Shape::struck("blocked") }, &proxy.address())?;
    stage.edit_manifest("timeout: 20s, tolerableFailedCheckpoints: 3", "timeout: 5s, tolerableFailedCheckpoints: 0")?;
    stage.edit_manifest("restartPolicy: {fixedDelay: {attempts: 1000, delay: 100ms}}", "restartPolicy: {never: {}}")?;
    let address = free_port()?;
    let faults = format!("coordinator.decided:3=pause:1s,{SLOW}");
    let mut child = stage.start(&faults, &["--metrics", &address.to_string()])?;
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 3".to_owned()))?;
    // Writing goes on; only ends of transactions do not arrive.
    proxy.lose_requests(END_TXN, u64::MAX);
    let blocked = |said: &Said| match said {
        Said::Event(event) => {
            event["event"] == "attempt.failed" && event["message"].to_string().contains("CommitBlocked")
        }
        Said::Line(_) => false,
    };
    child.wait_for(|said| said.is_event("commit.retried"))?;
    let retries = gauge(&get(address, "/metrics")?.1, "onceward_commit_retries_total")?;
    ensure!(retries > 0.0, "tries are not counted");
    child.wait_for(blocked)?;
    proxy.lose_requests(END_TXN, 0);
    ensure!(proxy.lost() > 0, "nothing was lost: this proves nothing");
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    stage.assert_exact()
}

/// The broker has committed, and the run does not know: it asks again and is told so.
#[test]
fn commits_whose_answers_are_lost_are_not_done_twice() -> Result<()> {
    let (proxy, cluster) = Cluster::proxied()?;
    let shape = Shape { rows: 5_000, sinks: 2, ..Shape::struck("unheard") };
    let stage = Stage::with_bootstrap(&cluster, shape, &proxy.address())?;
    let mut child = stage.start(&format!("coordinator.decided:2=pause:1s,{SLOW}"), &[])?;
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 2".to_owned()))?;
    proxy.lose_replies(END_TXN, 5);
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    ensure!(proxy.lost() == 5, "{} answers were lost", proxy.lost());
    stage.assert_exact()
}
