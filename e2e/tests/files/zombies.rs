//! A run that is stopped, replaced, and wakes up: it exits 3, and leaves no trace.

use anyhow::{Context as _, Result, ensure};
use e2e::stage::{SLOW, Stage};
use onceward::child::{Child, Said};
use onceward::workload::Workload;
use rustix::process::{Pid, Signal, kill_process};

/// Where the first run is when it is stopped. It sleeps there for a moment, so that the stop hits it there; the
/// moment is over when it is woken.
const STOPPED_AT: &[(&str, u64)] = &[
    ("claim.created", 1),
    ("claim.finished", 1),
    ("recovery.before_append", 1),
    ("recovery.before_deploy", 1),
    ("coordinator.barrier_sent", 2),
    ("worker.snapshotted", 4),
    ("sink.hidden_created", 4),
    ("sink.flushed", 4),
    ("worker.pre_committed", 4),
    ("worker.before_ack", 4),
    ("coordinator.all_acknowledged", 2),
    ("coordinator.before_decide", 3),
    ("store.temporary_synced", 5),
    ("store.created", 5),
    ("coordinator.decided", 3),
    ("coordinator.before_commit", 3),
    ("committer.before_rename", 3),
    ("committer.renamed", 3),
    ("coordinator.committed", 3),
    ("coordinator.all_committed", 2),
    ("coordinator.before_retention", 1),
];
const MOMENT: &str = "pause:1s";

fn stage() -> Result<Stage> {
    let stage = Stage::new(Workload { seed: 5, records: 30_000, customers: 800, ..Workload::default() })?;
    stage.edit_manifest("    interval: 100ms", "    interval: 100ms\n    retain: 2")?;
    Ok(stage)
}

/// A run that is stopped by the system at a step.
fn stopped_at(stage: &Stage, step: &str, nth: u64) -> Result<(Child, Pid)> {
    let mut zombie = stage.start(&format!("{step}:{nth}={MOMENT},{SLOW}"), &[])?;
    let pid = Pid::from_raw(zombie.id().cast_signed()).context("a child has an id")?;
    let there = Said::Line(format!("crashpoint {step} {nth}"));
    zombie.wait_for(|said| *said == there)?;
    kill_process(pid, Signal::STOP)?;
    Ok((zombie, pid))
}

#[test]
fn a_run_that_wakes_after_its_successor_finished_leaves_no_trace() {
    super::in_lanes(STOPPED_AT, |(step, nth)| wakes_late(step, *nth).with_context(|| format!("{step}:{nth}")));
}

fn wakes_late(step: &str, nth: u64) -> Result<()> {
    let stage = stage()?;
    let (zombie, pid) = stopped_at(&stage, step, nth)?;
    stage.run_well()?;
    stage.assert_exact()?;
    let (log, visible) = (stage.log()?, stage.visible()?);
    kill_process(pid, Signal::CONT)?;
    let ended = zombie.finish()?;
    ensure!(ended.code() == Some(3), "a fenced run must exit 3: {}", ended.describe());
    let changed: Vec<_> = stage.log()?.into_iter().filter(|(name, body)| log.get(name) != Some(body)).collect();
    // What it had begun to write under its own name may land, but no record, and nothing that was there changes.
    let records = changed.iter().filter(|(name, _)| !name.contains("/parts/") && !name.contains("/manifest-"));
    ensure!(records.clone().count() == 0, "the zombie wrote {:?}", records.map(|(name, _)| name).collect::<Vec<_>>());
    ensure!(stage.visible()? == visible, "the zombie changed what is visible");
    stage.assert_exact()?;
    Ok(())
}

#[test]
fn a_run_that_wakes_while_its_successor_works_disturbs_nothing() {
    super::in_lanes(STOPPED_AT, |(step, nth)| wakes_early(step, *nth).with_context(|| format!("{step}:{nth}")));
}

fn wakes_early(step: &str, nth: u64) -> Result<()> {
    let stage = stage()?;
    let (zombie, pid) = stopped_at(&stage, step, nth)?;
    let mut successor = stage.start(SLOW, &[])?;
    successor.wait_for(|said| said.is_event("running"))?;
    kill_process(pid, Signal::CONT)?;
    let ended = zombie.finish()?;
    ensure!(ended.code() == Some(3), "a fenced run must exit 3: {}", ended.describe());
    let ended = successor.finish()?;
    ensure!(ended.code() == Some(0), "the successor was disturbed: {}", ended.describe());
    stage.assert_exact()?;
    Ok(())
}

#[test]
fn of_two_started_at_once_one_wins_and_the_other_leaves() {
    super::in_lanes(&[1_u64, 2, 3, 4, 5, 6, 7, 8], |_| {
        let stage = stage()?;
        let (one, two) = (stage.start(SLOW, &[])?, stage.start(SLOW, &[])?);
        let (one, two) = (one.finish()?, two.finish()?);
        let mut codes = [one.code(), two.code()];
        codes.sort_unstable();
        ensure!(codes == [Some(0), Some(3)], "{}\n{}", one.describe(), two.describe());
        let claims = stage.log()?.into_keys().filter(|name| name.ends_with("/claim")).count();
        ensure!(claims <= 2, "a duel: {claims} claims");
        stage.assert_exact()?;
        Ok(())
    });
}
