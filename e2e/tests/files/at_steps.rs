//! Every named step, in the first epoch and in a later one: the run dies exactly there, and the next one finishes as if
//! nothing had been.

use anyhow::{Context as _, Result, ensure};
use e2e::stage::{SLOW, Stage};
use onceward::checker::expected::Window;
use onceward::workload::Workload;
use runtime::crashpoint::STEPS;
use rustix::process::{Pid, Signal, kill_process};

#[derive(Clone, Copy, Debug)]
struct Case {
    step: &'static str,
    later: bool,
}

#[test]
fn a_death_at_any_step_loses_and_doubles_nothing() {
    let only = std::env::var("STEP").ok();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.starts_with(only.as_str()));
    let steps = STEPS.iter().map(|step| step.name).filter(|name| wanted(name));
    let cases: Vec<Case> = steps.flat_map(|step| [false, true].map(|later| Case { step, later })).collect();
    super::in_lanes(&cases, |case| die(*case).with_context(|| format!("{case:?}")));
}

fn die(case: Case) -> Result<()> {
    // A manifest is an object of its own only when it is large: many files make many positions.
    let files = if case.step == "coordinator.manifest_written" { 400 } else { 24 };
    let window = Window::Hop { slide: 5_000_000, size: 15_000_000 };
    let stage =
        Stage::new(Workload { seed: 11, records: 30_000, files, customers: 1_000, window, ..Workload::default() })?;
    stage.edit_manifest("    interval: 100ms", "    interval: 100ms\n    retain: 2")?;
    if case.later {
        stage.crash_at("coordinator.all_committed", 3).context("some epochs before")?;
    }
    for (step, nth) in preparation(case.step) {
        stage.crash_at(step, *nth).context("preparation")?;
    }
    if case.step == "coordinator.stopping" {
        die_while_stopping(&stage)?;
    } else {
        stage.crash_at(case.step, 1)?;
    }
    stage.assert_nothing_undecided_is_visible()?;
    stage.run_well()?;
    stage.assert_exact_and_tidy().with_context(|| stage.describe())?;
    Ok(())
}

/// What must have gone wrong before for `step` to be met at all.
fn preparation(step: &str) -> &'static [(&'static str, u64)] {
    match step {
        "claim.before_seal" | "claim.sealed" => &[("claim.created", 1)],
        "recovery.classified" | "recovery.before_commit" | "recovery.committed" => &[("coordinator.decided", 2)],
        "recovery.before_abort" | "recovery.aborted" | "committer.before_abort" | "committer.aborted" => {
            &[("worker.pre_committed", 4)]
        }
        _ => &[],
    }
}

fn die_while_stopping(stage: &Stage) -> Result<()> {
    let mut child = stage.start(&format!("coordinator.stopping=kill,{SLOW}"), &[])?;
    child.wait_for(|said| said.is_event("running"))?;
    kill_process(Pid::from_raw(child.id().cast_signed()).context("a child has an id")?, Signal::TERM)?;
    let ended = child.finish()?;
    ensure!(ended.died_at("coordinator.stopping", 1), "{}", ended.describe());
    Ok(())
}
