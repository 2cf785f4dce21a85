//! Three brokers: a coordinator that dies is replaced by another one, and a leader that dies at the worst moment tears a
//! commit.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::judge::Transaction;
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

use crate::stage::{Cluster, Shape, Stage};

/// Topics of the brokers' own survive one of three; an election takes a second or two, not ten.
fn three() -> Result<Cluster> {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties =
        vec![property("broker.session.timeout.ms", "3000"), property("broker.heartbeat.interval.ms", "500")];
    Cluster::of(3, Version::Newest, &Options { properties, ..Options::default() })
}

/// The transaction that is held at a step.
fn held(cluster: &Cluster) -> Result<Transaction> {
    cluster.judge.transactions()?.into_iter().find(Transaction::is_open).context("nothing is open: this proves nothing")
}

#[test]
fn a_coordinator_that_dies_at_any_step_loses_and_doubles_nothing() -> Result<()> {
    let mut cluster = three()?;
    for step in ["kafka.flushed", "kafka.described", "coordinator.decided", "kafka.before_end"] {
        let shape =
            Shape { rows: 10_000, replication: 3, ..Shape::new(&format!("three-{}", step.replace(['.', '_'], "-"))) };
        let stage = Stage::new(&cluster, shape.clone())?;
        let mut child = stage.start(&format!("{step}:3=pause:5s,{SLOW}"), &[])?;
        let there = Said::Line(format!("crashpoint {step} 3"));
        child.wait_for(|said| *said == there)?;
        let id = held(&cluster)?.id;
        let coordinator = cluster.coordinator(&id)?;
        let site = stage.into_site();
        cluster.node(coordinator)?.kill()?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{step}: {}", ended.describe());
        ensure!(cluster.coordinator(&id)? != coordinator, "{step}: the coordinator did not move");
        cluster.node(coordinator)?.restart()?;
        Stage::again(&cluster, shape, site).assert_exact().with_context(|| step.to_owned())?;
    }
    Ok(())
}

/// `NOT_ENOUGH_REPLICAS`: leaders are there and take nothing.
#[test]
fn too_few_replicas_are_waited_for() -> Result<()> {
    let mut cluster = three()?;
    let shape = Shape { rows: 10_000, replication: 2, ..Shape::new("few") };
    let stage = Stage::new(&cluster, shape.clone())?;
    stage.edit_manifest("timeout: 20s", "timeout: 5s")?;
    cluster.judge.configure("few", &[("min.insync.replicas", "2")])?;
    let mut child = stage.start(&format!("coordinator.decided:3=pause:1s,{SLOW}"), &[])?;
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 3".to_owned()))?;
    let site = stage.into_site();
    let victim = *cluster.judge.topic("few")?.leaders.first().context("a leader")?;
    cluster.node(victim)?.kill()?;
    // Each partition has lost one of its two replicas, or will not get enough of them for those that it has.
    child.wait_for(|said| said.is_event("checkpoint.failed") || said.is_event("attempt.failed"))?;
    let leaders = cluster.judge.topic("few")?.leaders;
    ensure!(!leaders.contains(&-1), "a partition without a leader is another test: {leaders:?}");
    cluster.node(victim)?.restart()?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    Stage::again(&cluster, shape, site).assert_exact()
}

/// KAFKA-20734. The leader of one partition dies right before `EndTxn`: the coordinator leaves that partition out and says
/// that all is done. Nothing may go on as if it were.
#[test]
fn a_commit_that_kafka_tears_stops_the_pipeline_and_is_not_called_done() -> Result<()> {
    let mut cluster = three()?;
    let stage = Stage::new(&cluster, Shape { rows: 10_000, ..Shape::new("torn") })?;
    let mut child = stage.start(&format!("kafka.before_end:3=pause:8s,{SLOW}"), &[])?;
    let there = Said::Line("crashpoint kafka.before_end 3".to_owned());
    child.wait_for(|said| *said == there)?;
    let id = held(&cluster)?.id;
    let coordinator = cluster.coordinator(&id)?;
    let leaders = cluster.judge.topic("torn")?.leaders;
    let victim = leaders.into_iter().find(|leader| *leader != coordinator).context("three leaders")?;
    let site = stage.into_site();
    cluster.node(victim)?.kill()?;
    // Kafka's admin client may trip over a node that is away.
    let is_done = |cluster: &Cluster| {
        let found = cluster.judge.transaction(&id).ok().flatten();
        found.is_some_and(|found| found.state == "CompleteCommit")
    };
    // The node comes back only after the coordinator has forgotten the partition.
    let mut looks = 0_u32;
    while !is_done(&cluster) {
        looks += 1;
        ensure!(looks < 3_000, "the commit does not come to an end");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    cluster.node(victim)?.restart()?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(1), "{said}");
    for word in ["torn", "find-hanging", "torn-"] {
        ensure!(said.contains(word), "`{word}` is not in {said}");
    }
    let stage = Stage::again(&cluster, Shape { rows: 10_000, ..Shape::new("torn") }, site);
    let before = cluster.judge.committed("torn", 100_000)?.len();
    // And it stays so.
    let ended = stage.run("", &[])?;
    ensure!(ended.code() == Some(1) && ended.describe().contains("torn"), "{}", ended.describe());
    ensure!(cluster.judge.committed("torn", 100_000)?.len() == before, "something was written after it");
    Ok(())
}
