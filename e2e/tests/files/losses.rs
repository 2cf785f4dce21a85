//! Decided output that its target threw away: the pipeline stops, says so, and goes on only when told.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::stage::Stage;
use onceward::checker::output::hidden_files;
use onceward::workload::Workload;

/// A run that died with decided output that is not visible, all of it or all but one file; and the files.
fn struck(seed: u64, one_is_visible: bool) -> Result<(Stage, Vec<PathBuf>)> {
    let stage = Stage::new(Workload { seed, records: 30_000, customers: 800, parallelism: 4, ..Workload::default() })?;
    stage.crash_at("coordinator.decided", 4, &[])?;
    if one_is_visible {
        stage.crash_at("committer.renamed", 1, &[])?;
    }
    let newest = stage.checkpoints()?[0].clone();
    ensure!(newest["settled"] == false, "nothing is open: {newest}");
    let bytes = std::fs::read(
        newest["handle"].as_str().and_then(|handle| handle.strip_prefix("file://")).context("a handle")?,
    )?;
    let record = String::from_utf8(bytes)?;
    let mut open = vec![];
    for folder in &stage.sinks {
        // Others belong to the next epoch.
        open.extend(
            hidden_files(folder)?.into_iter().filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| record.contains(name))
            }),
        );
    }
    ensure!(open.len() > 1, "too little is open: {open:?}");
    Ok((stage, open))
}

fn throw_away(path: &PathBuf) -> Result<u64> {
    let rows = std::fs::read_to_string(path)?.lines().count();
    std::fs::remove_file(path)?;
    Ok(rows as u64)
}

/// `ATTEMPT/EPOCH` of the newest checkpoint.
fn newest(stage: &Stage) -> Result<String> {
    let newest = &stage.checkpoints()?[0];
    Ok(format!("{}/{}", newest["attempt"], newest["epoch"]))
}

#[test]
fn a_loss_stops_every_run_until_it_is_accepted_and_nothing_else_is_missing() -> Result<()> {
    let (stage, open) = struck(51, false)?;
    let (visible, lost, decision) = (stage.visible()?, throw_away(&open[0])?, newest(&stage)?);
    let advice = format!("--accept-loss {decision} --reason");
    for _ in 0..2 {
        let ended = stage.run_fails(&[], 1, &["CommitLost", &advice])?;
        ensure!(ended.events("failed")[0]["reason"] == "CommitLost", "{}", ended.describe());
        ensure!(stage.visible()? == visible, "with a part lost and none visible, nothing may become visible");
    }
    let wrong = ["--accept-loss", "1/77", "--reason", "a disk died"];
    stage.run_fails(&wrong, 2, &[&format!("is that of {decision}, not of 1/77")])?;
    ensure!(stage.visible()? == visible, "a refusal made something visible");
    stage.run_well_with(&["--accept-loss", &decision, "--reason", "a disk died"])?;
    let (_, verdict) = stage.written.judge()?;
    ensure!((verdict.missing, verdict.wrong, verdict.duplicates) == (lost, 0, 0), "{lost} rows were lost: {verdict}");
    stage.assert_tidy()?;
    let told = stage.log()?.into_values().any(|bytes| String::from_utf8_lossy(&bytes).contains("a disk died"));
    ensure!(told, "the reason does not stand in the log");
    ensure!(stage.run_well()?.events("finished")[0]["already"] == true);
    Ok(())
}

#[test]
fn a_loss_of_which_nothing_is_visible_is_healed_by_a_rewind() -> Result<()> {
    let (stage, open) = struck(52, false)?;
    throw_away(&open[0])?;
    stage.run_fails(&[], 1, &["CommitLost", "--rewind"])?;
    stage.run_well_with(&["--rewind"])?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_loss_beside_visible_parts_commits_the_rest_before_it_stops() -> Result<()> {
    let (stage, open) = struck(53, true)?;
    let lost = throw_away(&open[0])?;
    stage.run_fails(&[], 1, &["CommitLost"])?;
    for path in &open[1..] {
        ensure!(!path.exists(), "{} was decided, and could be made visible", path.display());
    }
    stage.run_fails(&["--rewind"], 2, &["already visible"])?;
    stage.run_well_with(&["--accept-loss", &newest(&stage)?, "--reason", "known"])?;
    let (_, verdict) = stage.written.judge()?;
    ensure!((verdict.missing, verdict.wrong, verdict.duplicates) == (lost, 0, 0), "{lost} rows were lost: {verdict}");
    Ok(())
}
