//! A run that is stopped in the middle of something while another one takes over, and goes on while that one has output
//! decided and not committed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::judge::Transaction;
use e2e::kafka::{Options, Version, Writer};
use e2e::stage::SLOW;
use onceward::child::{Child, Said};
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Cluster, Shape, Stage};

/// Where it could initialise, produce, commit or abort, and the how-manieth time.
const PLACES: [(&str, u64); 7] = [
    ("kafka.before_init", 3),
    ("kafka.initialised", 3),
    ("kafka.flushed", 3),
    ("coordinator.decided", 3),
    ("kafka.before_end", 3),
    ("kafka.ended", 3),
    ("kafka.before_fence", 1),
];

/// Runs until it is there, and is stopped; it would stay there for the pause.
fn stopped(stage: &Stage<'_>, place: &str, nth: u64) -> Result<(Child, Pid)> {
    let mut child = stage.start(&format!("{place}:{nth}=pause:2s,{SLOW}"), &[])?;
    let there = Said::Line(format!("crashpoint {place} {nth}"));
    child.wait_for(|said| *said == there).with_context(|| place.to_owned())?;
    let id = Pid::from_raw(child.id().cast_signed()).context("a process id")?;
    kill_process(id, Signal::STOP)?;
    Ok((child, id))
}

#[test]
fn a_zombie_aborts_nothing_that_is_decided_and_commits_nothing_that_is_not() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    for (place, nth) in PLACES {
        let topic = format!("zombie-{}", place.replace(['.', '_'], "-"));
        let stage = Stage::new(&cluster, Shape::struck(&topic))?;
        if place == "kafka.before_fence" {
            // Something to fence.
            stage.crash_at("kafka.described", 3, &[])?;
        }
        let (zombie, its) = stopped(&stage, place, nth)?;
        // Its successor has decided, and has not committed: that is what must not be aborted.
        let (successor, others) = stopped(&stage, "kafka.before_end", 2)?;
        kill_process(its, Signal::CONT)?;
        let ended = zombie.finish()?;
        kill_process(others, Signal::CONT)?;
        ensure!(ended.code() == Some(3), "{place}: a fenced run leaves with 3: {}", ended.describe());
        let ended = successor.finish()?;
        ensure!(ended.code() == Some(0), "{place}: {}", ended.describe());
        // Whatever the zombie has opened before it learned is ended by the end of its successor.
        stage.assert_exact().with_context(|| place.to_owned())?;
    }
    Ok(())
}

/// A zombie that begins something after its successor's start: nobody waits for its timeout, nor for the successor's end.
#[test]
fn what_a_zombie_leaves_open_is_aborted_while_its_successor_runs() -> Result<()> {
    let mut cluster = Cluster::new(Version::Newest, &Options::default())?;
    let address = cluster.broker()?.address();
    let stage = Stage::new(&cluster, Shape { rows: 30_000, rows_per_second: 500, ..Shape::new("orphans") })?;
    stage.crash_at("coordinator.all_committed", 2, &[])?;
    let used = cluster.judge.transactions()?.into_iter().map(|found| found.id);
    let id = used.filter(|id| id.contains("/1/out0/")).min().context("an id of the first attempt")?;
    let mut successor = stage.start("", &[])?;
    successor.wait_for(|said| said.is_event("commit.completed"))?;
    let zombie = Writer::start(&address, &id, Duration::from_mins(15))?;
    zombie.write(&[("orphans", 0)], 3)?;
    let its = |found: Transaction| found.id == id && found.is_open();
    ensure!(cluster.judge.transactions()?.into_iter().any(its), "nothing is left open: this proves nothing");
    let mut looks = 0;
    while cluster.judge.transaction(&id)?.is_some_and(its) {
        looks += 1;
        ensure!(looks < 600, "it is still open after a minute");
        ensure!(successor.outlives(Duration::from_millis(100)), "the successor ended before it was swept");
    }
    successor.kill()?;
    drop(successor.finish()?);
    stage.run_out(&[])?;
    stage.assert_exact()
}
