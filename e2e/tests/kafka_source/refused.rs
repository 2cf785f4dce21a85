//! A record that a broker refuses long after it was read: who gave it is told all the same.

use anyhow::{Context as _, Result, ensure};
use e2e::site::Site;

use crate::stage::{Cluster, stop};

/// From topic `given` to topic `taken`, byte by byte.
fn pipeline(cluster: &Cluster) -> Result<Site> {
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
    kafka: {{connection: main, topics: [given]}}
    format: {{raw: {{}}}}
    columns: [{{name: v, type: VARBINARY}}]
  sinks:
  - {{name: out, input: orders, kafka: {{connection: main, topic: taken}}, format: {{raw: {{}}}}}}
  checkpoint: {{interval: 100ms, storage: {{local: {{path: {}}}}}}}
",
        cluster.broker.address(),
        site.state.display(),
    );
    std::fs::write(&site.manifest, manifest)?;
    Ok(site)
}

/// The offset that follows `word` in a message.
fn offset(message: &str, word: &str) -> Result<i64> {
    let (_, rest) = message.split_once(word).with_context(|| format!("`{word}` is not in {message}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no offset behind `{word}` in {message}"))
}

/// The limit is lowered under the run, so that librdkafka, which asked at the start, does not see it coming.
#[test]
fn a_record_that_the_broker_refuses_later_is_told_with_its_source_and_a_range_that_holds_its_offset() -> Result<()> {
    const LARGE: i64 = 1_500;
    let cluster = Cluster::shared()?;
    cluster.judge.create("given", 2)?;
    cluster.judge.create("taken", 1)?;
    let site = pipeline(&cluster)?;
    let small = vec![Some("small"); 1_000];
    cluster.put("given", 0, &small)?;
    let mut child = site.start("", &[])?;
    while cluster.judge.committed("taken", 10_000)?.len() < small.len() {
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    }
    cluster.judge.configure("taken", &[("max.message.bytes", "2000")])?;
    let large = "x".repeat(5_000);
    let mut values = vec![Some("small"); 1_000];
    values[LARGE as usize - small.len()] = Some(&large);
    cluster.put("given", 0, &values)?;
    let ended = child.finish()?;
    let said = ended.describe();
    ensure!(ended.code() == Some(1), "{said}");
    let message = ended.lines().find(|line| line.starts_with("error:")).with_context(|| said.clone())?;
    for word in ["sink `out`", "topic `taken`", "source `orders`", "topic `given` partition 0 from"] {
        ensure!(message.contains(word), "`{word}` is not in {message}");
    }
    let (from, to) = (offset(message, "partition 0 from offset ")?, offset(message, "to before offset ")?);
    ensure!((1_000..=LARGE).contains(&from) && (LARGE + 1..=2_000).contains(&to), "{from} to {to}: {message}");
    ensure!(!message.contains("partition 1"), "nothing was read there: {message}");
    ensure!(ended.events("attempt.failed").is_empty(), "it was tried again: {said}");

    // With the limit lifted, the run goes on where it stood, and nothing is missing or doubled.
    cluster.judge.configure("taken", &[("max.message.bytes", "100000")])?;
    let mut child = site.start("", &[])?;
    while cluster.judge.committed("taken", 10_000)?.len() < 2_000 {
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    }
    stop(child)?;
    let taken = cluster.judge.committed("taken", 10_000)?;
    let lengths: Vec<usize> = taken.iter().map(|record| record.text().len()).collect();
    ensure!(taken.len() == 2_000 && lengths.iter().filter(|length| **length == large.len()).count() == 1);
    ensure!(lengths[LARGE as usize] == large.len(), "the order of one partition is kept");
    cluster.judge.assert_nothing_is_open(&["taken"])
}
