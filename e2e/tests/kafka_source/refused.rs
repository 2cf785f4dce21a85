//! A record that a broker refuses long after it was read: who gave it is told all the same.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::judge::Record;
use e2e::site::Site;
use onceward::child::Child;

use crate::stage::{Cluster, stop};

/// What is not left out, from one topic to another.
fn pipeline(cluster: &Cluster, given: &str, taken: &str, policy: &str) -> Result<Site> {
    let site = Site::new()?;
    let manifest = format!(
        "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: refused}}
spec:
  connections:
  - {{name: main, kafka: {{bootstrapServers: [\"{}\"]}}}}
  sources:
  - name: orders
    kafka: {{connection: main, topics: [{given}]}}
    format: {{raw: {{}}}}
    columns: [{{name: v, type: VARBINARY}}]
  transforms:
  - {{name: long, sql: \"SELECT v FROM orders WHERE CAST(v AS VARCHAR) <> 'not'\"}}
  sinks:
  - {{name: out, input: long, kafka: {{connection: main, topic: {taken}}}, format: {{raw: {{}}}}}}
  checkpoint: {{interval: 100ms, storage: {{local: {{path: {}}}}}}}
{policy}",
        cluster.broker.address(),
        site.state.display(),
    );
    std::fs::write(&site.manifest, manifest)?;
    Ok(site)
}

/// Reads what a topic has taken until it is so much.
fn taken(cluster: &Cluster, child: &mut Child, topic: &str, count: usize) -> Result<Vec<Record>> {
    loop {
        let taken = cluster.judge.committed(topic, 10_000)?;
        if taken.len() >= count {
            return Ok(taken);
        }
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    }
}

/// Limits are lowered under the run, so that librdkafka, which asked at the start, does not see it coming. Records that
/// are small enough go on in smaller requests; one that is not is told by its offset, whatever was left out before it.
#[test]
fn a_record_that_the_broker_refuses_later_is_told_with_its_source_and_offset() -> Result<()> {
    const LARGE: usize = 2_500;
    let cluster = Cluster::shared()?;
    cluster.judge.create("given", 2)?;
    cluster.judge.create("taken", 1)?;
    let site = pipeline(&cluster, "given", "taken", "")?;
    // Every second one is left out.
    let small: Vec<_> = ["small", "not"].into_iter().cycle().take(1_000).map(Some).collect();
    cluster.put("given", 0, &small)?;
    let mut child = site.start("", &[])?;
    taken(&cluster, &mut child, "taken", 500)?;
    cluster.judge.configure("taken", &[("max.message.bytes", "2000")])?;
    cluster.put("given", 0, &small)?;
    taken(&cluster, &mut child, "taken", 1_000)?;
    cluster.judge.configure("taken", &[("max.message.bytes", "1000")])?;
    let large = "x".repeat(1_500);
    let mut values = small.clone();
    values[LARGE - 2_000] = Some(&large);
    cluster.put("given", 0, &values)?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(1), "{said}");
    let failed = ended.events("attempt.failed");
    ensure!((1..=4).contains(&failed.len()), "a limit that was lowered costs an attempt: {said}");
    let message = ended.lines().find(|line| line.starts_with("error:")).with_context(|| said.clone())?;
    for word in ["sink `out`", &format!("(source `orders`, topic `given` partition 0 offset {LARGE})")] {
        ensure!(message.contains(word), "`{word}` is not in {message}");
    }

    // With the limit lifted, the run goes on where it stood, and nothing is missing or doubled.
    cluster.judge.configure("taken", &[("max.message.bytes", "100000")])?;
    let mut child = site.start("", &[])?;
    taken(&cluster, &mut child, "taken", 1_500)?;
    stop(child)?;
    let taken = cluster.judge.committed("taken", 10_000)?;
    let lengths: Vec<usize> = taken.iter().map(|record| record.text().len()).collect();
    ensure!(taken.len() == 1_500 && lengths.iter().filter(|length| **length == large.len()).count() == 1);
    ensure!(lengths[LARGE / 2] == large.len(), "the order of one partition is kept");
    cluster.judge.assert_nothing_is_open(&["taken"])
}

/// Where there is no other attempt to find out more: the largest of a request is at fault, if any record of it is.
#[test]
fn a_refused_record_is_told_with_its_offset_also_where_the_policy_allows_no_other_attempt() -> Result<()> {
    // Its own, as a transaction stays open.
    let cluster = Cluster::new()?;
    cluster.judge.create("given-once", 1)?;
    cluster.judge.create("taken-once", 1)?;
    let site = pipeline(&cluster, "given-once", "taken-once", "  restartPolicy: {never: {}}\n")?;
    cluster.put("given-once", 0, &[Some("small"); 10])?;
    let mut child = site.start("", &[])?;
    taken(&cluster, &mut child, "taken-once", 10)?;
    cluster.judge.configure("taken-once", &[("max.message.bytes", "1000")])?;
    let large = "x".repeat(1_500);
    cluster.put("given-once", 0, &[Some("small"), Some(&large), Some("small")])?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(1), "{said}");
    let message = ended.lines().find(|line| line.starts_with("error:")).with_context(|| said.clone())?;
    for word in ["sink `out`", "(source `orders`, topic `given-once` partition 0 offset 11)", "max.message.bytes"] {
        ensure!(message.contains(word), "`{word}` is not in {message}");
    }
    Ok(())
}
