//! Signals, and running again after the end.

use anyhow::{Context as _, Result, ensure};
use e2e::stage::{SLOW, Stage};
use onceward::child::{Child, Said};
use onceward::workload::Workload;
use rustix::process::{Pid, Signal, kill_process};

fn stage() -> Result<Stage> {
    Stage::new(Workload { seed: 9, records: 30_000, ..Workload::default() })
}

fn tell(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(child.id().cast_signed()).context("a child has an id")?, signal)?)
}

#[test]
fn a_stop_takes_a_last_checkpoint_and_the_next_run_goes_on() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = stage()?;
        let mut child = stage.start(SLOW, &[])?;
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
        tell(&child, signal)?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{}", ended.describe());
        ensure!(ended.events("stopped").len() == 1 && ended.events("finished").is_empty(), "{}", ended.describe());
        stage.assert_nothing_undecided_is_visible()?;
        let again = stage.run_well()?;
        ensure!(again.events("restored").len() == 1, "{}", again.describe());
        stage.assert_exact_and_tidy()?;
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_it_at_once_and_nothing_is_lost() -> Result<()> {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let stage = stage()?;
        let mut child = stage.start(&format!("coordinator.stopping=pause:600s,{SLOW}"), &[])?;
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
        tell(&child, signal)?;
        child.wait_for(|said| *said == Said::Line("crashpoint coordinator.stopping 1".to_owned()))?;
        tell(&child, signal)?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(code), "{}", ended.describe());
        stage.run_well()?;
        stage.assert_exact_and_tidy()?;
    }
    Ok(())
}

#[test]
fn a_stop_that_is_not_settled_in_time_is_exit_code_4_and_is_finished_by_the_next_run() -> Result<()> {
    let stage = stage()?;
    // A source that is held back cannot emit the last barrier within the grace period.
    let mut child = stage.start(&format!("worker.batch_read:5=pause:5s,{SLOW}"), &["--grace", "200ms"])?;
    child.wait_for(|said| *said == Said::Line("crashpoint worker.batch_read 5".to_owned()))?;
    tell(&child, Signal::TERM)?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(4), "{}", ended.describe());
    let undecided = ended.events("stopped.undecided");
    ensure!(undecided.len() == 1 && undecided[0]["message"].is_string(), "{}", ended.describe());
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_finished_pipeline_says_so_and_changes_nothing() -> Result<()> {
    let stage = stage()?;
    stage.run_well()?;
    let (log, visible) = (stage.log()?, stage.visible()?);
    let again = stage.run_well()?;
    let finished = again.events("finished");
    ensure!(finished.len() == 1 && finished[0]["already"] == true, "{}", again.describe());
    ensure!(stage.visible()? == visible, "a finished run changed its output");
    for (name, body) in log {
        ensure!(stage.log()?.get(&name) == Some(&body), "{name} changed");
    }
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn any_parallelism_restores_any_other() -> Result<()> {
    let stage = stage()?;
    for parallelism in ["1", "4", "3", "2"] {
        let set = format!("parallelism={parallelism}");
        let ended = stage.run(&format!("coordinator.all_committed:3=kill,{SLOW}"), &["--set", &set])?;
        ensure!(ended.signal() == Some(9) || ended.code() == Some(0), "{}", ended.describe());
    }
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}
