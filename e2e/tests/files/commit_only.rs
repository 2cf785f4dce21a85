//! `onceward commit` over file sinks: what was decided becomes visible, and nothing is run.

use anyhow::{Context as _, Result, ensure};
use e2e::stage::Stage;
use onceward::child::{Child, Ended};
use onceward::workload::Workload;

fn commit(stage: &Stage, faults: &str) -> Result<Ended> {
    Ok(Child::start(stage.command(&["commit"], faults).arg(&stage.manifest))?.finish()?)
}

fn settles(stage: &Stage, says: &str) -> Result<()> {
    let ended = commit(stage, "")?;
    ensure!(ended.code() == Some(0) && ended.describe().contains(says), "`{says}` is not said: {}", ended.describe());
    Ok(())
}

fn struck(seed: u64) -> Result<Stage> {
    let stage = Stage::new(Workload { seed, records: 30_000, customers: 800, ..Workload::default() })?;
    stage.crash_at("coordinator.decided", 4, &[])?;
    ensure!(stage.checkpoints()?[0]["settled"] == false, "nothing is owed");
    Ok(stage)
}

#[test]
fn a_commit_only_recovery_makes_what_was_decided_visible_and_says_when_there_is_nothing() -> Result<()> {
    let stage = struck(61)?;
    let (before, newest) = (stage.visible()?.len(), stage.checkpoints()?[0].clone());
    settles(&stage, "committed (")?;
    stage.assert_all_decided_is_visible()?;
    stage.assert_tidy()?;
    ensure!(stage.visible()?.len() > before, "nothing became visible");
    let after = stage.checkpoints()?[0].clone();
    ensure!(after["handle"] == newest["handle"] && after["settled"] == true, "{after}");
    let log = stage.log()?;
    settles(&stage, "nothing to settle")?;
    ensure!(stage.log()? == log, "nothing to settle leaves no trace");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    settles(&stage, "nothing to settle")
}

/// Steps of a commit-only recovery, with the hit.
const STEPS: &[(&str, u64)] = &[
    ("claim.created", 1),
    ("claim.sealed", 1),
    ("recovery.classified", 1),
    ("committer.renamed", 1),
    ("recovery.committed", 1),
    ("recovery.before_abort", 1),
    ("recovery.aborted", 1),
    ("recovery.appended", 1),
    ("recovery.appended", 2),
];

#[test]
fn one_that_dies_at_any_step_is_finished_by_the_next() {
    super::in_lanes(STEPS, |(step, nth)| {
        let stage = struck(62)?;
        let ended = commit(&stage, &format!("{step}:{nth}=kill"))?;
        ensure!(ended.died_at(step, *nth), "it did not die at {step}:{nth}: {}", ended.describe());
        // Settled and released are the last words.
        settles(&stage, "settle").with_context(|| format!("{step}:{nth}"))?;
        stage.assert_all_decided_is_visible()?;
        stage.assert_tidy()?;
        stage.run_well()?;
        stage.assert_exact_and_tidy().map(drop)
    });
}
