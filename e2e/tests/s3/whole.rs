//! Whole pipelines with their log in a bucket: killed at named steps, and with a server that dies under them.

use anyhow::{Context as _, Result, ensure};
use e2e::s3::{Bucket, Gateway};
use e2e::stage::{SLOW, Stage};
use onceward::workload::Workload;

/// Where a process meets the log or has just met it.
const STEPS: &[&str] = &[
    "claim.listed",
    "claim.created",
    "claim.before_seal",
    "claim.sealed",
    "claim.finished",
    "recovery.classified",
    "recovery.before_commit",
    "recovery.committed",
    "recovery.before_abort",
    "worker.before_ack",
    "coordinator.all_acknowledged",
    "coordinator.before_decide",
    "coordinator.decided",
    "coordinator.committed",
    "coordinator.all_committed",
    "coordinator.before_retention",
    "coordinator.before_release",
    "coordinator.released",
];

fn workload(seed: u64) -> Workload {
    Workload { seed, records: 20_000, customers: 600, ..Workload::default() }
}

pub(super) fn stage(seed: u64, bucket: &Bucket) -> Result<Stage> {
    let stage = Stage::in_bucket(workload(seed), bucket)?;
    stage.edit_manifest("    interval: 100ms", "    interval: 100ms\n    retain: 2")?;
    Ok(stage)
}

#[test]
fn a_death_at_any_step_with_the_log_in_a_bucket_loses_and_doubles_nothing() -> Result<()> {
    let gateway = Gateway::start()?;
    let cases: Vec<(usize, &str)> = STEPS.iter().copied().enumerate().collect();
    super::in_lanes(&cases, |(i, step)| die(&Bucket::new(&gateway, &format!("case-{i}"))?, step).context(*step));
    Ok(())
}

/// What must have gone wrong before for `step` to be met at all.
fn preparation(step: &str) -> Option<(&'static str, u64)> {
    match step {
        "claim.before_seal" | "claim.sealed" => Some(("claim.created", 1)),
        "recovery.classified" | "recovery.before_commit" | "recovery.committed" => Some(("coordinator.decided", 2)),
        "recovery.before_abort" => Some(("worker.pre_committed", 4)),
        _ => None,
    }
}

fn die(bucket: &Bucket, step: &str) -> Result<()> {
    let stage = stage(11, bucket)?;
    if let Some((step, nth)) = preparation(step) {
        stage.crash_at(step, nth, &[]).context("preparation")?;
    }
    stage.crash_at(step, 1, &[])?;
    stage.assert_nothing_undecided_is_visible()?;
    stage.run_well()?;
    stage.assert_all_decided_is_visible()?;
    stage.assert_exact_and_tidy().with_context(|| stage.describe())?;
    let listed = stage.checkpoints()?;
    let handle = listed.first().and_then(|newest| newest["handle"].as_str()).context("a handle")?;
    ensure!(handle.starts_with(&format!("s3://{}/prod/orders/0/attempts/", bucket.name)), "{handle}");
    let verified = stage.command(&["checkpoints", "--verify"], "").arg(&stage.manifest).output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let again = stage.run_well()?;
    ensure!(again.events("finished")[0]["already"] == true, "{}", again.describe());
    Ok(())
}

#[test]
fn an_older_checkpoint_in_a_bucket_is_restored_by_its_handle() -> Result<()> {
    let gateway = Gateway::start()?;
    let stage = stage(12, &Bucket::new(&gateway, "shop")?)?;
    stage.crash_at("coordinator.all_committed", 4, &[])?;
    let listed = stage.checkpoints()?;
    let older = listed.last().and_then(|checkpoint| checkpoint["handle"].as_str()).context("a handle")?;
    let refused = stage.run("", &["--restore", older])?;
    ensure!(listed.len() >= 2 && refused.code() == Some(2), "{}", refused.describe());
    stage.run_well_with(&["--restore", older, "--accept-duplicates"])?;
    let (_, verdict) = stage.written.judge()?;
    ensure!(verdict.missing == 0 && verdict.wrong == 0 && verdict.duplicates > 0, "as was said, not {verdict}");
    Ok(())
}

#[test]
fn of_two_runs_on_one_prefix_one_wins_and_the_other_leaves() -> Result<()> {
    let gateway = Gateway::start()?;
    let stage = stage(13, &Bucket::new(&gateway, "shop")?)?;
    let (one, two) = (stage.start(SLOW, &[])?, stage.start(SLOW, &[])?);
    let (one, two) = (one.finish()?, two.finish()?);
    let mut codes = [one.code(), two.code()];
    codes.sort_unstable();
    ensure!(codes == [Some(0), Some(3)], "{}\n{}", one.describe(), two.describe());
    stage.assert_exact()?;
    Ok(())
}

#[test]
fn a_server_that_dies_under_a_run_and_comes_back_costs_nothing() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let stage = stage(14, &Bucket::new(&gateway, "shop")?)?;
    let mut run = stage.start(SLOW, &[])?;
    run.wait_for(|said| said.is_event("commit.completed"))?;
    gateway.kill()?;
    run.wait_for(|said| said.is_event("attempt.failed"))?;
    gateway.start_again()?;
    let ended = run.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}
