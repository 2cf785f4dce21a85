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
    let steps = STEPS.iter().map(|step| step.name).filter(|name| wanted(name) && !name.starts_with("kafka."));
    let cases: Vec<Case> = steps.flat_map(|step| [false, true].map(|later| Case { step, later })).collect();
    super::in_lanes(&cases, |case| die(*case).with_context(|| format!("{case:?}")));
}

fn die(case: Case) -> Result<()> {
    let window = Window::Hop { slide: 5_000_000, size: 15_000_000 };
    let mut workload = Workload { seed: 11, records: 30_000, customers: 1_000, window, ..Workload::default() };
    if case.step == "coordinator.manifest_written" {
        // A manifest is an object of its own only when it is large: many subtasks, each with a little state.
        (workload.files, workload.parallelism) = (400, 48);
    }
    let stage = Stage::new(workload)?;
    stage.edit_manifest("    interval: 100ms", "    interval: 100ms\n    retain: 2")?;
    if is_of_rewind(case.step) && (case.later || case.step.contains("take")) {
        return die_while_rewinding(&stage, case.step);
    }
    if case.later {
        stage.crash_at("coordinator.all_committed", 3, &[]).context("some epochs before")?;
    }
    for (step, nth) in preparation(case.step) {
        stage.crash_at(step, *nth, &[]).context("preparation")?;
    }
    if case.step == "coordinator.stopping" {
        die_while_stopping(&stage)?;
    } else {
        stage.crash_at(case.step, 1, &[])?;
    }
    stage.assert_nothing_undecided_is_visible()?;
    stage.run_well()?;
    stage.assert_exact_and_tidy().with_context(|| stage.describe())?;
    Ok(())
}

/// Recovery appends a record of its own only at the beginning of a log and when it goes back, and takes decided output
/// back only then.
fn is_of_rewind(step: &str) -> bool {
    matches!(step, "recovery.before_append" | "recovery.appended" | "recovery.before_take_back" | "recovery.taken_back")
}

/// The newest checkpoint is decided and nothing of it is visible yet: it can be taken back. Dying before the rewind is
/// decided leaves it half taken back; the rewind, asked for again, finishes.
fn die_while_rewinding(stage: &Stage, step: &str) -> Result<()> {
    stage.crash_at("coordinator.decided", 3, &[]).context("preparation")?;
    stage.crash_at(step, 1, &["--rewind"])?;
    stage.assert_nothing_undecided_is_visible()?;
    if matches!(step, "recovery.before_append" | "recovery.taken_back") {
        let lost = stage.run("", &[])?;
        ensure!(lost.code() == Some(1), "half of it is gone, which is a loss: {}", lost.describe());
        let ended = stage.run("", &["--rewind"])?;
        ensure!(ended.code() == Some(0), "{}", ended.describe());
    } else {
        stage.run_well()?;
    }
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
