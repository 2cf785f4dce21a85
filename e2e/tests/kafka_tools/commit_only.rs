//! `onceward commit`, with each of its exit codes.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use onceward::child::Said;
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Cluster, Shape};
use crate::struck::{bootstrap, decided, expect, open, records, start_tool, stopped, struck, tool, visible};

const COMMIT: [&str; 1] = ["commit"];

fn shape(topic: &str) -> Shape {
    Shape { rows: 40_000, ..Shape::new(topic) }
}

#[test]
fn what_was_decided_becomes_visible_is_written_down_and_nothing_stays_open() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = struck(&cluster, Shape { sinks: 2, ..shape("settles") })?;
    let topics = ["settles", "settles-2"];
    let before = topics.map(|topic| visible(&stage, topic).unwrap());
    let waiting = topics.map(|topic| decided(&stage, topic).unwrap());
    let ended = tool(&stage, &COMMIT, &[], "")?;
    expect(ended, 0, &["settled", "2 committed", "4 undecided aborted", "2 of 2", "whoever ran before is fenced"])?;
    for (index, topic) in topics.into_iter().enumerate() {
        ensure!(visible(&stage, topic)? == &before[index] | &waiting[index], "{topic}");
    }
    ensure!(open(&stage)?.is_empty());
    ensure!(
        records(&stage, &["attempts/2/", "\"settled\":{", "\"outcome\":\"committed\""])? == 1,
        "{}",
        stage.describe()
    );
    ensure!(records(&stage, &["attempts/2/", "\"released\":\"settled\""])? == 1, "{}", stage.describe());
    ensure!(records(&stage, &["attempts/2/claim", "\"cause\":\"commitOnly\""])? == 1, "{}", stage.describe());
    let log = stage.log()?;
    expect(tool(&stage, &COMMIT, &[], "")?, 0, &["nothing to settle"])?;
    ensure!(stage.log()? == log, "nothing to settle leaves no trace");
    stage.run_well()?;
    stage.assert_exact()?;
    expect(tool(&stage, &COMMIT, &[], "")?, 0, &["nothing to settle"])?;
    Ok(())
}

#[test]
fn each_exit_code_is_shown() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    refused(&cluster)?;
    a_live_run_is_fenced(&cluster)?;
    fenced(&cluster)?;
    blocked(&cluster)
}

/// 2, and nobody is disturbed; 0 where there is nothing at all.
fn refused(cluster: &Cluster) -> Result<()> {
    let stage = crate::stage::Stage::new(cluster, shape("refused"))?;
    expect(tool(&stage, &COMMIT, &[], "")?, 0, &["nothing to settle"])?;
    ensure!(!stage.state.join("0").exists(), "nothing was claimed");
    stage.edit_manifest("  sinks:", "  snks:")?;
    expect(tool(&stage, &COMMIT, &[], "")?, 2, &["spec.snks"])?;
    Ok(())
}

/// A run that is stopped in the middle of its commits is fenced, and leaves with 3 when it wakes.
fn a_live_run_is_fenced(cluster: &Cluster) -> Result<()> {
    let (stage, zombie, id) = stopped(cluster, shape("live"))?;
    expect(tool(&stage, &COMMIT, &["-o", "json"], "")?, 0, &["\"event\":\"settled\"", "\"end\":\"committed\""])?;
    let seen = visible(&stage, "live")?;
    kill_process(id, Signal::CONT)?;
    let ended = zombie.finish()?;
    ensure!(ended.code() == Some(3), "a fenced run leaves with 3: {}", ended.describe());
    ensure!(visible(&stage, "live")? == seen, "the zombie changed what is visible");
    stage.run_well()?;
    stage.assert_rows()
}

/// 3: a run that is started while it stands still takes over.
fn fenced(cluster: &Cluster) -> Result<()> {
    let stage = struck(cluster, shape("overtaken"))?;
    let mut commit = start_tool(&stage, &COMMIT, &[], "recovery.before_commit=pause:2s")?;
    commit.wait_for(|said| *said == Said::Line("crashpoint recovery.before_commit 1".to_owned()))?;
    let id = Pid::from_raw(commit.id().cast_signed()).context("a process id")?;
    kill_process(id, Signal::STOP)?;
    stage.run_well()?;
    kill_process(id, Signal::CONT)?;
    expect(commit.finish()?, 3, &["fenced"])?;
    stage.assert_exact()
}

/// 1 while nobody answers where the brokers should be; 0 once they are there.
fn blocked(cluster: &Cluster) -> Result<()> {
    let stage = struck(cluster, shape("blocked"))?;
    let before = visible(&stage, "blocked")?;
    let (here, nowhere) = (bootstrap(&stage)?, "127.0.0.1:1");
    stage.edit_manifest(&here, nowhere)?;
    let ended = tool(&stage, &COMMIT, &["--timeout", "10s"], "")?;
    expect(ended, 1, &["not done within 10s", "nothing is lost", nowhere])?;
    stage.edit_manifest(nowhere, &here)?;
    let waiting = decided(&stage, "blocked")?;
    expect(tool(&stage, &COMMIT, &[], "")?, 0, &["1 committed"])?;
    ensure!(visible(&stage, "blocked")? == &before | &waiting);
    stage.run_well()?;
    stage.assert_exact()
}
