//! What changes around a run: brokers that are not there yet, rights that are missing, topics that grow.

use anyhow::{Context as _, Result, ensure};
use e2e::http::{free_port, get};
use e2e::kafka::judge::Transaction;
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

use crate::stage::{Cluster, Shape, Stage};

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() -> Result<()> {
    let mut cluster = Cluster::new(Version::Newest, &Options::default())?;
    let shape = Shape { rows: 5_000, ..Shape::struck("later") };
    let stage = Stage::new(&cluster, shape.clone())?;
    // Something decided waits, too.
    stage.crash_at("coordinator.decided", 2, &[])?;
    let site = stage.into_site();
    cluster.broker()?.kill()?;
    let mut child = site.start("", &[])?;
    child.wait_for(|said| matches!(said, Said::Event(event) if event["event"] == "attempt.failed"))?;
    cluster.broker()?.restart()?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    Stage::again(&cluster, shape, site).assert_exact()
}

/// Of the ids in a topic: how many, and how many different ones.
fn ids(cluster: &Cluster, topic: &str) -> Result<(usize, usize)> {
    let records = cluster.judge.committed(topic, 100_000)?;
    let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok()?["id"].as_u64();
    let different: std::collections::BTreeSet<u64> = records.iter().filter_map(|record| id(record.text())).collect();
    Ok((records.len(), different.len()))
}

#[test]
fn a_topic_that_gains_partitions_is_reported_and_loses_nothing() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape { rows: 60_000, ..Shape::new("grows") })?;
    // librdkafka looks at topics as often as this.
    let connection = "bootstrapServers: ";
    stage
        .edit_manifest(connection, &format!("properties: {{topic.metadata.refresh.interval.ms: 200}}, {connection}"))?;
    let mut child = stage.start(&format!("worker.batch_read:5=pause:3s,{SLOW}"), &[])?;
    child.wait_for(|said| *said == Said::Line("crashpoint worker.batch_read 5".to_owned()))?;
    cluster.judge.add_partitions("grows", 6)?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(0), "{said}");
    ensure!(said.contains("had 3 partitions and has 6"), "{said}");
    ensure!(ids(&cluster, "grows")? == (60_000, 60_000));
    let used = cluster.judge.ends("grows")?.iter().filter(|ends| ends.end > 0).count();
    ensure!(used == 6, "records went to {used} partitions: the new ones were not used");
    Ok(())
}

/// The value of the only series of a name.
pub(crate) fn gauge(body: &str, name: &str) -> Result<f64> {
    let line = body.lines().find(|line| line.starts_with(&format!("{name}{{"))).with_context(|| name.to_owned())?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

#[test]
fn the_oldest_open_transaction_is_told_with_its_timeout() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape::struck("told"))?;
    let address = free_port()?;
    let faults = format!("coordinator.decided:3=pause:5s,{SLOW}");
    let mut child = stage.start(&faults, &["--metrics", &address.to_string()])?;
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 3".to_owned()))?;
    // Decided and not committed: it stays open for as long as the run is held.
    let open: Vec<_> = cluster.judge.transactions()?.into_iter().filter(Transaction::is_open).collect();
    let oldest = open.iter().min_by_key(|found| found.start_ms).context("one is open")?;
    let started = oldest.start_ms.context("it has begun")? as f64 / 1e3;
    let mut told = 0.0;
    for _ in 0..200 {
        let body = get(address, "/metrics")?.1;
        ensure!(
            gauge(&body, "onceward_transaction_timeout_seconds")? as i64 == oldest.timeout_ms / 1_000,
            "{oldest:?}"
        );
        ensure!(gauge(&body, "onceward_transactions_expired_total")? < 1.0);
        told = gauge(&body, "onceward_transaction_oldest_open_timestamp_seconds")?;
        // Ours begins with the first record that was offered, the broker's when it hears of it. An earlier one may be told
        // for a moment.
        if told > 0.0 && told <= started && cluster.judge.transaction(&oldest.id)?.is_some_and(|found| found.is_open())
        {
            break;
        }
        ensure!(child.outlives(std::time::Duration::from_millis(20)), "it ended without telling: {told}");
    }
    ensure!(told > 0.0 && told <= started && started - told < 60.0, "{told}, and the broker says {started}");
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    stage.assert_exact()
}
