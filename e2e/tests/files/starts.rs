//! Starts that come to nothing leave whoever runs alone, and the log as it was.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::stage::{SLOW, Stage};
use onceward::workload::Workload;
use rustix::process::{Pid, Signal, kill_process};

fn stage(seed: u64) -> Result<Stage> {
    Stage::new(Workload { seed, records: 30_000, ..Workload::default() })
}

#[test]
fn an_output_folder_that_was_moved_away_is_waited_for_and_not_taken_for_lost() -> Result<()> {
    let stage = stage(61)?;
    stage.crash_at("coordinator.decided", 3, &[])?;
    let log = stage.log()?;
    let (out, away) = (stage.folder().join("out"), stage.folder().join("out.away"));
    std::fs::rename(&out, &away)?;
    for _ in 0..2 {
        let ended = stage.run("", &[])?;
        ensure!(ended.code() == Some(1), "{}", ended.describe());
        let told = |line: &str| line.starts_with("error:") && line.contains("out/") && line.contains("put it back");
        ensure!(ended.lines().any(told), "{}", ended.describe());
        ensure!(!out.exists() && stage.log()? == log, "a refused start left a trace");
    }
    std::fs::rename(&away, &out)?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_start_that_is_refused_fences_nobody() -> Result<()> {
    let stage = stage(62)?;
    let mut live = stage.start(SLOW, &[])?;
    live.wait_for(|said| said.is_event("commit.completed"))?;
    live.wait_for(|said| said.is_event("commit.completed"))?;
    let pid = Pid::from_raw(live.id().cast_signed()).context("a child has an id")?;
    // Stopped, so that what is refused now would still be refused when it is claimed.
    kill_process(pid, Signal::STOP)?;
    let log = stage.log()?;
    let absent = format!("file://{}/0/attempts/1/999", stage.written.state.display());
    let starts: [&[&str]; 3] = [
        &["--accept-loss", "9/9", "--reason", "typo"],
        &["--restore", &absent, "--accept-duplicates"],
        &["--set", "maxParallelism=64"],
    ];
    for start in starts {
        let ended = stage.run("", start)?;
        ensure!(ended.code() == Some(2), "{start:?}: {}", ended.describe());
        ensure!(stage.log()? == log, "{start:?} left a trace in the log");
    }
    kill_process(pid, Signal::CONT)?;
    let ended = live.finish()?;
    ensure!(ended.code() == Some(0), "the running pipeline was disturbed: {}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_rewind_of_what_is_visible_is_refused_before_anybody_is_fenced() -> Result<()> {
    let stage = stage(63)?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    let log = stage.log()?;
    let ended = stage.run("", &["--rewind"])?;
    ensure!(ended.code() == Some(2), "{}", ended.describe());
    ensure!(stage.log()? == log, "a refused rewind left a trace in the log");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_rewind_survives_an_error_after_its_decision() -> Result<()> {
    let stage = stage(64)?;
    stage.crash_at("coordinator.decided", 3, &[])?;
    let ended = stage.run("recovery.appended:1=error", &["--rewind"])?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    let failed = ended.events("attempt.failed");
    ensure!(failed.len() == 1 && failed[0]["attempt"] == 2, "{}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_finished_pipeline_asks_nothing_of_its_sinks() -> Result<()> {
    let stage = stage(65)?;
    stage.run_well()?;
    let (out, away) = (stage.folder().join("out"), stage.folder().join("out.away"));
    std::fs::rename(&out, &away)?;
    std::fs::write(&out, "a file where the folder was")?;
    let ended = stage.run_well()?;
    ensure!(ended.events("finished")[0]["already"] == true, "{}", ended.describe());
    Ok(())
}

/// The newest record with a decision, and whether it decided output.
fn newest_record(stage: &Stage) -> Result<(PathBuf, bool)> {
    let mut newest: Option<(u64, PathBuf, bool)> = None;
    for (name, bytes) in stage.log()? {
        let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let completed = &record["content"]["record"]["completed"];
        let Some(epoch) = completed["epoch"].as_u64() else { continue };
        let decides_output = completed.to_string().contains(".pending");
        if newest.as_ref().is_none_or(|(highest, ..)| epoch > *highest) {
            newest = Some((epoch, stage.written.state.join(name), decides_output));
        }
    }
    newest.map(|(_, path, output)| (path, output)).context("no checkpoint")
}

#[test]
fn a_log_that_ends_before_visible_output_has_lost_data_and_is_gone_on_from_only_when_told() -> Result<()> {
    let stage = stage(66)?;
    stage.crash_at("coordinator.all_committed", 4, &[])?;
    let (path, decides_output) = newest_record(&stage)?;
    ensure!(decides_output, "nothing visible gives evidence of {}", path.display());
    let whole = std::fs::read(&path)?;
    std::fs::remove_file(&path)?;
    let log = stage.log()?;
    for how in [&[][..], &["--rewind"]] {
        let ended = stage.run("", how)?;
        ensure!(ended.code() == Some(1), "{how:?}: {}", ended.describe());
        ensure!(ended.events("failed")[0]["reason"] == "CorruptCheckpoint", "{}", ended.describe());
        let told = |line: &str| line.starts_with("error:") && line.contains("--accept-rewind");
        ensure!(ended.lines().any(told), "{}", ended.describe());
        ensure!(stage.log()? == log, "a refused start left a trace in the log");
    }
    std::fs::write(&path, whole)?;
    stage.crash_at("coordinator.all_committed", 2, &[])?;
    stage.assert_nothing_undecided_is_visible()?;
    let (path, decides_output) = newest_record(&stage)?;
    ensure!(decides_output, "nothing visible gives evidence of {}", path.display());
    std::fs::remove_file(&path)?;
    let ended = stage.run("", &["--accept-rewind"])?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    let (_, verdict) = stage.written.judge()?;
    ensure!(verdict.missing == 0 && verdict.wrong == 0 && verdict.duplicates > 0, "as was said, not {verdict}");
    Ok(())
}

#[test]
fn a_fresh_start_is_another_pipeline_also_where_nothing_was_decided() -> Result<()> {
    let stage = stage(67)?;
    let first = stage.crash_at("claim.finished", 1, &[])?;
    ensure!(first.events("checkpoint.completed").is_empty(), "{}", first.describe());
    let ended = stage.run("", &["--fresh"])?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    let ids: std::collections::BTreeSet<String> = stage
        .log()?
        .into_iter()
        .filter(|(name, _)| name.ends_with("/claim"))
        .filter_map(|(_, body)| serde_json::from_slice::<serde_json::Value>(&body).ok())
        .map(|claim| claim["content"]["pipeline"].to_string())
        .collect();
    ensure!(ids.len() == 2, "{ids:?}");
    let hands_over = |(name, body): (String, Vec<u8>)| {
        name.starts_with("0/attempts/2/") && String::from_utf8_lossy(&body).contains("superseded")
    };
    ensure!(stage.log()?.into_iter().any(hands_over), "the old log does not say that there is another one");
    stage.assert_exact_and_tidy()?;
    Ok(())
}
