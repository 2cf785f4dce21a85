//! `--restore`, `--rewind`, `--fresh` and what has to be said beside them: the exact rows that come twice, or none.

use anyhow::{Context as _, Result, ensure};
use e2e::stage::{SLOW, Stage};
use onceward::workload::Workload;
use serde_json::Value;

fn stage(seed: u64) -> Result<Stage> {
    let stage = Stage::new(Workload { seed, records: 30_000, customers: 800, ..Workload::default() })?;
    stage.edit_manifest("    interval: 100ms", "    interval: 100ms\n    retain: 1000")?;
    Ok(stage)
}

fn handle(checkpoint: &Value) -> Result<&str> {
    checkpoint["handle"].as_str().context("a handle")
}

/// Nothing is missing or wrong, and as many rows as `twice` says are there a second time.
fn assert_doubled(stage: &Stage, twice: u64) -> Result<()> {
    stage.assert_tidy()?;
    let (_, verdict) = stage.written.judge()?;
    ensure!(twice > 0, "the test is to double something");
    ensure!((verdict.missing, verdict.wrong, verdict.duplicates) == (0, 0, twice), "not {twice} doubled: {verdict}");
    Ok(())
}

/// A run of several epochs that has finished, and a checkpoint in its middle with the rows that came after it.
fn finished(stage: &Stage) -> Result<(Value, u64)> {
    ensure!(stage.run(SLOW, &[])?.code() == Some(0), "the run finishes");
    let listed = stage.checkpoints()?;
    ensure!(listed.len() > 5, "too few epochs: {}", listed.len());
    let middle = listed[listed.len() / 2].clone();
    let rows = |checkpoint: &Value| checkpoint["rowsOut"].as_u64().context("rows");
    Ok((middle.clone(), rows(&listed[0])? - rows(&middle)?))
}

#[test]
fn handles_are_the_same_in_events_lists_and_files() -> Result<()> {
    let stage = stage(31)?;
    let ended = stage.run(SLOW, &[])?;
    let told: Vec<_> = ended.events("checkpoint.completed").into_iter().rev().map(|event| &event["handle"]).collect();
    let listed = stage.checkpoints()?;
    // The first decision is recovery's own.
    let (first, later) = listed.split_last().context("checkpoints")?;
    ensure!(first["origin"] == "first" && told == later.iter().map(|entry| &entry["handle"]).collect::<Vec<_>>());
    for entry in &listed {
        let (attempt, file) = (&entry["attempt"], handle(entry)?.strip_prefix("file://").context("a file's address")?);
        let slot =
            file.strip_prefix(&format!("{}/0/attempts/{attempt}/", stage.state.display())).context("its place")?;
        ensure!(slot.parse::<u64>().is_ok() && std::path::Path::new(file).is_file(), "{file}");
    }
    let text = stage.command(&["checkpoints"], "").arg(&stage.manifest).output()?;
    let text = String::from_utf8(text.stdout)?;
    let shown: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    ensure!(
        listed.iter().all(|entry| entry["handle"].as_str().is_some_and(|handle| shown.contains(&handle))),
        "{text}"
    );
    Ok(())
}

#[test]
fn an_older_checkpoint_is_restored_only_when_duplicates_are_accepted_and_doubles_what_came_after() -> Result<()> {
    let stage = stage(32)?;
    let (middle, after) = finished(&stage)?;
    let log = stage.log()?;
    let restore = ["--restore", handle(&middle)?];
    stage.run_fails(&restore, 2, &["would appear twice", "--accept-duplicates"])?;
    ensure!(stage.log()? == log, "a refusal left a trace in the log");
    stage.assert_exact()?;
    let ended = stage.run_well_with(&[&restore[..], &["--accept-duplicates"]].concat())?;
    ensure!(ended.events("restored").len() == 1 && ended.events("finished").len() == 1, "{}", ended.describe());
    assert_doubled(&stage, after)?;
    ensure!(stage.checkpoints()?.iter().any(|entry| entry["origin"] == "older"), "the log does not tell of it");
    ensure!(stage.run_well()?.events("finished")[0]["already"] == true);
    assert_doubled(&stage, after)
}

#[test]
fn a_death_while_going_back_goes_back_once() {
    super::in_lanes(&["recovery.before_append", "recovery.appended", "worker.restored"], |step| {
        let stage = stage(33)?;
        let (middle, after) = finished(&stage)?;
        let restore = ["--restore", handle(&middle)?, "--accept-duplicates"];
        stage.crash_at(step, 1, &restore)?;
        // Before it is decided it has not happened; after that nothing needs to be said again.
        let again: &[&str] = if *step == "recovery.before_append" { &restore } else { &[] };
        stage.run_well_with(again)?;
        assert_doubled(&stage, after).with_context(|| (*step).to_owned())
    });
}

#[test]
fn the_newest_checkpoint_is_restored_without_a_word_and_doubles_nothing() -> Result<()> {
    let stage = stage(34)?;
    stage.crash_at("coordinator.all_committed", 4, &[])?;
    let newest = stage.checkpoints()?[0].clone();
    // At another parallelism, in both directions.
    stage.crash_at("coordinator.all_committed", 2, &["--restore", handle(&newest)?, "--set", "parallelism=4"])?;
    let newest = stage.checkpoints()?[0].clone();
    let ended = stage.run_well_with(&["--restore", handle(&newest)?, "--set", "parallelism=1"])?;
    ensure!(ended.events("restored")[0]["handle"] == newest["handle"], "{}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_handle_of_something_else_is_refused_by_name() -> Result<()> {
    let (stage, other) = (stage(35)?, stage(36)?);
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    other.crash_at("coordinator.all_committed", 2, &[])?;
    let log = stage.log()?;
    let foreign = other.checkpoints()?[0].clone();
    stage.run_fails(&["--restore", handle(&foreign)?], 2, &[handle(&foreign)?, "only its own checkpoints"])?;
    stage.run_fails(&["--restore", "3/17"], 2, &["`3/17` is no handle", "onceward checkpoints"])?;
    ensure!(stage.log()? == log, "a refusal left a trace in the log");
    let absent = format!("file://{}/0/attempts/1/99", stage.state.display());
    let more = ["--restore", absent.as_str(), "--accept-duplicates"];
    stage.run_fails(&more, 2, &["no checkpoint at attempts/1/99"])?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_rewind_takes_back_what_nobody_has_seen_and_refuses_the_rest() -> Result<()> {
    let stage = stage(37)?;
    stage.run_fails(&["--rewind"], 2, &["nothing was decided yet"])?;
    stage.crash_at("coordinator.decided", 3, &[])?;
    let newest = stage.checkpoints()?[0].clone();
    ensure!(newest["settled"] == false, "there is nothing to take back: {newest}");
    stage.crash_at("worker.restored", 1, &["--rewind"])?;
    ensure!(stage.checkpoints()?[0]["origin"] == "rewind", "the log does not tell of it");
    stage.run_fails(&["--rewind"], 2, &["itself a rewind"])?;
    // One part of an epoch is visible: going back would double it.
    stage.crash_at("committer.renamed", 3, &[])?;
    let visible = stage.visible()?;
    stage.run_fails(&["--rewind"], 2, &["already visible", "would double it"])?;
    ensure!(stage.visible()? == visible, "a refused rewind changed what is visible");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn accepting_a_rewind_of_the_store_changes_nothing_where_nothing_was_lost() -> Result<()> {
    let stage = stage(38)?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    stage.run_well_with(&["--accept-rewind"])?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// The id of the pipeline and the rows that stay visible.
fn superseded(ended: &onceward::child::Ended) -> Result<(String, u64)> {
    let event = *ended.events("superseded").first().context("not told what stays visible")?;
    let id = event["pipelineId"].as_str().context("an id")?.to_owned();
    Ok((id, event["rowsOut"].as_u64().context("rows")?))
}

/// Removes the output of a pipeline id, as people are told that they may; answers how many rows that were.
fn remove_output_of(stage: &Stage, id: &str) -> Result<u64> {
    let mut rows = 0;
    for (path, bytes) in stage.visible()? {
        if path.to_string_lossy().contains(&format!("-{id}-")) {
            rows += String::from_utf8(bytes)?.lines().count() as u64;
            std::fs::remove_file(path)?;
        }
    }
    Ok(rows)
}

#[test]
fn a_fresh_start_is_another_pipeline_and_tells_what_stays_visible() -> Result<()> {
    let stage = stage(39)?;
    stage.run_well()?;
    let before: u64 = stage.written.judge()?.1.found;
    let ended = stage.run_well_with(&["--fresh"])?;
    let (old, rows) = superseded(&ended)?;
    ensure!(rows == before, "{rows} rows stay visible, not {before}");
    let outputs = &ended.events("superseded")[0]["outputs"];
    let told = ended.lines().find(|line| line.contains(&old) && line.contains("stay visible")).context("a warning")?;
    for (sink, folder) in ["copy", "windows"].iter().zip([&stage.written.copy, &stage.written.windows]) {
        let folder = folder.display().to_string();
        ensure!(outputs.as_array().is_some_and(|all| all.iter().any(|o| o["sink"] == *sink && o["target"] == *folder)));
        ensure!(told.contains(&folder), "{told}");
    }
    let claimed = ended.events("claimed");
    ensure!(claimed.iter().any(|event| event["log"] == 1 && event["pipelineId"] != *old), "{}", ended.describe());
    assert_doubled(&stage, before)?;
    ensure!(remove_output_of(&stage, &old)? == before);
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_fresh_start_finishes_what_was_decided_and_survives_deaths() {
    let deaths = [("claim.created", 1), ("recovery.before_commit", 1), ("claim.created", 2), ("recovery.appended", 3)];
    super::in_lanes(&deaths, |(step, nth)| {
        let stage = stage(40)?;
        stage.crash_at("coordinator.decided", 4, &[])?;
        let decided = stage.checkpoints()?[0]["rowsOut"].as_u64().context("rows")?;
        let old = stage.log()?.get("0/attempts/1/claim").context("a claim")?.clone();
        let old: Value = serde_json::from_slice(&old)?;
        let old = old["content"]["pipeline"].as_str().context("an id")?;
        stage.crash_at(step, *nth, &["--fresh"]).with_context(|| format!("{step}:{nth}"))?;
        // Until the new log has a decision it has to be asked for again; after that it is the pipeline.
        let is_decided = *step == "recovery.appended";
        stage.run_well_with(if is_decided { &[] } else { &["--fresh"] })?;
        stage.assert_all_decided_is_visible()?;
        ensure!(remove_output_of(&stage, old)? == decided, "what was decided before is not all visible");
        stage.assert_exact_and_tidy().with_context(|| format!("{step}:{nth}: {}", stage.describe()))?;
        Ok(())
    });
}
