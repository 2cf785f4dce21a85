//! Death of the worker, and of the broker, at every step that matters to a transaction.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;

use crate::stage::{Cluster, Shape, Stage};

/// Steps of the protocol around a transaction's life, and Kafka's own.
const STEPS: [&str; 25] = [
    "kafka.before_init",
    "kafka.initialised",
    "worker.batch_read",
    "coordinator.barrier_sent",
    "worker.snapshotted",
    "kafka.flushed",
    "kafka.described",
    "worker.pre_committed",
    "worker.before_ack",
    "worker.acked",
    "coordinator.all_acknowledged",
    "coordinator.before_decide",
    "coordinator.decided",
    "coordinator.before_commit",
    "kafka.before_end",
    "kafka.ended",
    "coordinator.committed",
    "coordinator.all_committed",
    "coordinator.settled",
    "coordinator.before_release",
    "coordinator.released",
    "recovery.classified",
    "recovery.before_commit",
    "recovery.committed",
    "kafka.before_fence",
];

/// What must have happened before for `step` to be met.
fn preparation(step: &str) -> Option<(&'static str, u64)> {
    match step {
        "recovery.classified" | "recovery.before_commit" | "recovery.committed" => Some(("coordinator.decided", 2)),
        "kafka.before_fence" => Some(("kafka.described", 3)),
        _ => None,
    }
}

/// At the end of a run.
fn is_last(step: &str) -> bool {
    matches!(step, "coordinator.settled" | "coordinator.before_release" | "coordinator.released")
}

/// Steps between two ends need two.
fn is_between(step: &str) -> bool {
    matches!(step, "coordinator.committed" | "recovery.committed")
}

fn die(cluster: &Cluster, step: &str, mut shape: Shape) -> Result<()> {
    if is_last(step) {
        // Nobody has to wait for long.
        shape.rows = 1_000;
    }
    let stage = Stage::new(cluster, shape)?;
    if let Some((before, nth)) = preparation(step) {
        stage.crash_at(before, nth, &[]).context("preparation")?;
    }
    let nth = if is_last(step) || preparation(step).is_some() { 1 } else { 3 };
    stage.crash_at(step, nth, &[])?;
    stage.run_out(&[])?;
    stage.assert_exact()
}

fn die_at_each_step(version: Version) -> Result<()> {
    let only = std::env::var("STEP").ok();
    let times: usize = std::env::var("TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let cluster = Cluster::new(version, &Options::default())?;
    for (number, step) in STEPS.iter().enumerate() {
        if only.as_ref().is_some_and(|only| !step.starts_with(only.as_str())) {
            continue;
        }
        // One and three partitions, one and two sinks: each step with one of the four, or with all of them again and again.
        let shapes = if times == 0 { number..number + 1 } else { 0..4 * times };
        for shape in shapes {
            let sinks = if is_between(step) { 2 } else { [1, 2][shape / 2 % 2] };
            let partitions = [1, 3][shape % 2];
            let topic = format!("{}-{shape}", step.replace(['.', '_'], "-"));
            let shape = Shape { partitions, sinks, ..Shape::struck(&topic) };
            die(&cluster, step, shape).with_context(|| format!("{version:?}, {step}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_worker_that_dies_at_any_step_loses_and_doubles_nothing() -> Result<()> {
    die_at_each_step(Version::Newest)
}

#[test]
fn nor_does_it_on_a_cluster_with_the_old_transactions() -> Result<()> {
    die_at_each_step(Version::NewestWithOldTransactions)
}

#[test]
fn nor_on_kafka_3() -> Result<()> {
    die_at_each_step(Version::V3)
}

/// The run is held at the step while the broker dies and comes back.
#[test]
fn a_broker_that_dies_at_any_step_loses_and_doubles_nothing() -> Result<()> {
    let mut cluster = Cluster::new(Version::Newest, &Options::default())?;
    let held = [
        ("kafka.flushed", 3),
        ("kafka.described", 3),
        ("worker.before_ack", 3),
        ("coordinator.before_decide", 3),
        ("coordinator.decided", 3),
        ("kafka.before_end", 3),
        ("kafka.ended", 3),
        // Between the ends of two sinks.
        ("coordinator.committed", 3),
        ("coordinator.all_committed", 3),
        ("coordinator.before_release", 1),
    ];
    for (step, nth) in held {
        let topic = format!("broker-{}", step.replace(['.', '_'], "-"));
        let shape = || Shape { rows: 5_000, sinks: if is_between(step) { 2 } else { 1 }, ..Shape::struck(&topic) };
        let stage = Stage::new(&cluster, shape())?;
        let mut child = stage.start(&format!("{step}:{nth}=pause:3s,{SLOW}"), &[])?;
        let there = Said::Line(format!("crashpoint {step} {nth}"));
        child.wait_for(|said| *said == there)?;
        let site = stage.into_site();
        cluster.broker()?.kill()?;
        cluster.broker()?.restart()?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{step}: {}", ended.describe());
        ensure!(ended.describe().contains("has 1 replicas"), "a topic without copies is not warned of");
        Stage::again(&cluster, shape(), site).assert_exact().with_context(|| step.to_owned())?;
    }
    Ok(())
}
