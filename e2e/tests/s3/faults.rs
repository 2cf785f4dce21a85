//! Messages between a run and its store that are lost, or come late.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::s3::{Bucket, Fault, Gateway, Proxy};
use e2e::stage::{SLOW, Stage};

use crate::whole::stage;

const LOOK: Duration = Duration::from_millis(5);
/// A run that is not over after so many looks is taken for stuck.
const MOST_LOOKS: u32 = 12_000;

/// A pipeline whose requests pass a proxy.
fn proxied(seed: u64) -> Result<(Gateway, Proxy, Bucket, Stage)> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let stage = stage(seed, &bucket.through(&proxy.address()))?;
    Ok((gateway, proxy, bucket, stage))
}

#[test]
fn lost_replies_and_requests_of_writes_are_resolved_by_reading_and_cost_no_attempt() -> Result<()> {
    for (seed, fault) in [(21, Fault::LoseReply), (22, Fault::LoseRequest)] {
        let (_gateway, proxy, _bucket, stage) = proxied(seed)?;
        // Claims, decisions, parts and the release.
        proxy.inject(("PUT", "/attempts/"), fault.clone(), 3, 1_000);
        let ended = stage.run(SLOW, &[])?;
        ensure!(ended.code() == Some(0), "{fault:?}: {}", ended.describe());
        ensure!(ended.events("attempt.failed").is_empty(), "{fault:?}: {}", ended.describe());
        ensure!(proxy.injected() >= 5, "only {} faults", proxy.injected());
        stage.assert_exact_and_tidy().with_context(|| format!("{fault:?}"))?;
        stage.assert_all_decided_is_visible()?;
    }
    Ok(())
}

#[test]
fn lost_messages_of_every_kind_lose_and_double_nothing() -> Result<()> {
    for (seed, fault) in [(25, Fault::LoseReply), (26, Fault::LoseRequest)] {
        let (_gateway, proxy, _bucket, stage) = proxied(seed)?;
        for (method, every) in [("PUT", 5), ("GET", 11), ("POST", 3)] {
            proxy.inject((method, "/shop"), fault.clone(), every, 1_000);
        }
        let ended = stage.run(SLOW, &[])?;
        ensure!(ended.code() == Some(0), "{fault:?}: {}", ended.describe());
        ensure!(proxy.injected() >= 10, "only {} faults", proxy.injected());
        stage.assert_exact_and_tidy().with_context(|| format!("{fault:?}"))?;
        stage.assert_all_decided_is_visible()?;
    }
    Ok(())
}

#[test]
fn a_late_write_finds_the_seal_and_changes_nothing() -> Result<()> {
    let (_gateway, proxy, bucket, stage) = proxied(23)?;
    proxy.inject(("PUT", "/attempts/1/3"), Fault::Late, 1, 100);
    let mut zombie = stage.start(SLOW, &[])?;
    let mut looks = 0;
    while proxy.injected() == 0 && looks < MOST_LOOKS && zombie.outlives(LOOK) {
        looks += 1;
    }
    zombie.kill()?;
    zombie.finish()?;
    ensure!(proxy.injected() > 0, "the decision was not on its way");
    stage.edit_manifest(&proxy.address(), bucket.endpoint.trim_start_matches("http://"))?;
    // The successor seals the slot, and stands right behind its first decision when the late write lands.
    stage.crash_at("coordinator.decided", 2, &[])?;
    let log = stage.log()?;
    let sealed = log.get("0/attempts/1/3").context("the slot is sealed")?;
    ensure!(String::from_utf8_lossy(sealed).contains("sealed"), "{}", String::from_utf8_lossy(sealed));
    let answers = proxy.release()?;
    ensure!(!answers.is_empty() && answers.iter().all(|status| *status == 412), "{answers:?}");
    ensure!(stage.log()? == log, "the late write changed the log");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_copy_of_a_deleted_record_that_lands_below_its_seal_changes_nothing() -> Result<()> {
    let (_gateway, proxy, _bucket, stage) = proxied(24)?;
    proxy.inject(("PUT", "/attempts/1/1"), Fault::Copy, 1, 1);
    stage.crash_at("coordinator.before_retention", 6, &[])?;
    ensure!(proxy.injected() == 1, "there is no copy");
    stage.crash_at("coordinator.all_committed", 2, &[])?;
    let log = stage.log()?;
    ensure!(!log.contains_key("0/attempts/1/1"), "retention has not deleted it: {:?}", log.keys());
    let records = log.iter().filter(|(name, _)| name.starts_with("0/attempts/1/"));
    // By number: 10 comes after 9.
    let highest = records.filter_map(|(name, bytes)| Some((number(name)?, name, bytes))).max();
    let (_, name, highest) = highest.context("a record")?;
    ensure!(String::from_utf8_lossy(highest).contains("sealed"), "{name} is no seal");
    let newest = stage.checkpoints()?.first().cloned();
    let answers = proxy.release()?;
    ensure!(answers == [200], "the copy must land where nothing is: {answers:?}");
    ensure!(stage.log()?.len() == log.len() + 1 && stage.checkpoints()?.first().cloned() == newest, "it is the newest");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// Of a record; None for what else is in an attempt's folder.
fn number(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse().ok()
}
