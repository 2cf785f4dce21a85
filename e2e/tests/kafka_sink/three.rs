//! Three brokers: a coordinator that dies is replaced by another one, and a leader that dies at the worst moment tears a
//! commit.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::{Listener, PASSWORD, POWERLESS};
use e2e::kafka::judge::{Rule, Transaction};
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

use crate::stage::{Cluster, Shape, Stage};

/// Topics of the brokers' own survive one of three; an election takes a second or two, not ten.
fn three() -> Result<Cluster> {
    three_with(&Options::default())
}

fn three_with(options: &Options) -> Result<Cluster> {
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties =
        vec![property("broker.session.timeout.ms", "3000"), property("broker.heartbeat.interval.ms", "500")];
    Cluster::of(3, Version::Newest, &Options { properties, ..options.clone() })
}

/// The transaction that is held at a step: the one of the next epoch may be open, too, and began later.
fn held(cluster: &Cluster) -> Result<Transaction> {
    let open = cluster.judge.transactions()?.into_iter().filter(Transaction::is_open);
    open.min_by_key(|one| one.start_ms).context("nothing is open: this proves nothing")
}

#[test]
fn a_coordinator_that_dies_at_any_step_loses_and_doubles_nothing() -> Result<()> {
    let mut cluster = three()?;
    for step in ["kafka.flushed", "kafka.described", "coordinator.decided", "kafka.before_end"] {
        let shape = Shape { replication: 3, ..Shape::struck(&format!("three-{}", step.replace(['.', '_'], "-"))) };
        let stage = Stage::new(&cluster, shape.clone())?;
        cluster.judge.configure(&shape.topic, &[("min.insync.replicas", "2")])?;
        let mut child = stage.start(&format!("{step}:3=pause:5s,{SLOW}"), &[])?;
        let there = Said::Line(format!("crashpoint {step} 3"));
        child.wait_for(|said| *said == there)?;
        let id = held(&cluster)?.id;
        let coordinator = cluster.coordinator(&id)?;
        let site = stage.into_site();
        cluster.node(coordinator)?.kill()?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{step}: {}", ended.describe());
        ensure!(!ended.describe().contains("use 3 and 2"), "a topic with copies is warned of: {}", ended.describe());
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
    let shape = Shape { replication: 2, ..Shape::struck("few") };
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
/// that all is done. Nothing goes on as if it were; the missing marker takes a right of its own, and is waited for.
#[test]
fn a_commit_that_kafka_tears_is_not_called_done_until_its_markers_are_written() -> Result<()> {
    let mut cluster = three_with(&Options { is_secured: true, ..Options::default() })?;
    let shape = Shape {
        connection: ", sasl: {mechanism: SCRAM-SHA-256, username: {secret: kafka-user, key: username}, \
                     password: {secret: kafka-user, key: password}}"
            .to_owned(),
        ..Shape::struck("torn")
    };
    let stage = Stage::with_bootstrap(&cluster, shape.clone(), &cluster.bootstrap(Listener::SaslPlain)?)?;
    let folder = stage.folder().join("secrets/kafka-user");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("username"), POWERLESS)?;
    std::fs::write(folder.join("password"), PASSWORD)?;
    let principal = format!("User:{POWERLESS}");
    let rule = |resource, pattern, name, operation| Rule { principal: &principal, resource, pattern, name, operation };
    for operation in ["DESCRIBE", "READ", "WRITE"] {
        cluster.judge.allow(&rule("TOPIC", "LITERAL", "torn", operation))?;
    }
    for operation in ["DESCRIBE", "WRITE"] {
        cluster.judge.allow(&rule("TRANSACTIONAL_ID", "PREFIXED", "onceward/", operation))?;
    }
    let mut child = stage.start(&format!("kafka.before_end:3=pause:8s,{SLOW}"), &[])?;
    let there = Said::Line("crashpoint kafka.before_end 3".to_owned());
    child.wait_for(|said| *said == there)?;
    let id = held(&cluster)?.id;
    let site = stage.into_site();
    tear(&mut cluster, "torn", &id)?;
    child
        .wait_for(|said| matches!(said, Said::Line(line) if line.contains("allow it CLUSTER_ACTION on the cluster")))?;
    let seen = cluster.judge.committed("torn", 100_000)?.len();
    cluster.judge.allow(&rule("CLUSTER", "LITERAL", "kafka-cluster", "CLUSTER_ACTION"))?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(0), "{said}");
    ensure!(said.contains("markers that were left out are written"), "{said}");
    let stage = Stage::again(&cluster, shape, site);
    ensure!(seen < 10_000, "nothing was held back: {seen}");
    stage.assert_exact()
}

/// Kills a leader of `topic` while the end of `id` is still to be sent, and brings it back after the coordinator has
/// forgotten the partition.
fn tear(cluster: &mut Cluster, topic: &str, id: &str) -> Result<()> {
    let coordinator = cluster.coordinator(id)?;
    let leaders = cluster.judge.topic(topic)?.leaders;
    let victim = leaders.into_iter().find(|leader| *leader != coordinator).context("three leaders")?;
    cluster.node(victim)?.kill()?;
    // The client may trip over a node that is away, and over its coordinator while that learns of it.
    let mut looks = 0_u32;
    loop {
        let found = cluster.judge.transaction(id);
        if found.as_ref().is_ok_and(|found| found.as_ref().is_some_and(|found| found.state == "CompleteCommit")) {
            break;
        }
        looks += 1;
        ensure!(looks < 3_000, "the commit does not come to an end: {found:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    cluster.node(victim)?.restart()?;
    cluster.renew_judge()
}
