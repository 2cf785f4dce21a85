//! Pipelines that are deleted while a decided commit cannot be carried out.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::revenue::Revenue;
use crate::say;
use crate::stand::{PIPELINES, Stand, condition, until};

/// Behind its decision an epoch waits, long enough to take the broker away.
const DECIDED: &str = "coordinator.decided";
const FAULTS: &str = "coordinator.decided:3=pause:5s";

pub(crate) fn a_deletion_waits_for_commits_and_not_for_ever(stand: &Stand) -> Result<()> {
    // The broker is back in time: what was decided becomes visible before the Pipeline is gone.
    let (mut revenue, before) = deleted(stand, "waits", "5m")?;
    let status = stand.status("waits", "its commits wait", |status| {
        status["phase"] == "Deleting" && condition(status, "CommitsSettled").0 == "False"
    })?;
    say(&format!("waits: {:?}", condition(&status, "CommitsSettled")));
    revenue.broker.restart()?;
    let status = last_words(stand, "waits")?;
    ensure!(revenue.visible()? > before, "what was decided is not visible");
    ensure!(stand.event("waits", "LeftBehind").is_err(), "it says that something was left");
    go_on(stand, &revenue, "waits", "waits-next", &status)?;

    // It is not: the deletion ends all the same, and says what it leaves.
    let (mut revenue, before) = deleted(stand, "leaves", "20s")?;
    let status = last_words(stand, "leaves")?;
    let left = until("it is told what was left", || stand.event("leaves", "LeftBehind").map(Some))?;
    say(&format!("leaves: {left}"));
    ensure!(left.contains("deletionTimeout has passed") && left.contains("onceward commit"), "{left}");
    revenue.broker.restart()?;
    ensure!(revenue.visible()? == before, "something has become visible by itself");
    // Whoever goes on with its log finds it.
    go_on(stand, &revenue, "leaves", "leaves-next", &status)
}

/// A Pipeline that is deleted when it has decided and not committed, and whose broker is away; what was visible by then.
fn deleted(stand: &Stand, name: &str, timeout: &str) -> Result<(Revenue, i64)> {
    let mut revenue = Revenue::start(stand, name, FAULTS)?;
    let path = format!("{PIPELINES}/{name}");
    stand.patch(&path, &json!({ "spec": { "deletionTimeout": timeout } }))?;
    until("an epoch is decided", || Ok(stand.has_said(name, &format!("crashpoint {DECIDED} 3"))?.then_some(())))?;
    let before = revenue.visible()?;
    revenue.broker.kill()?;
    stand.status(name, "something is pending", |status| status["pendingCommittables"].as_u64() > Some(0))?;
    stand.delete(&path, false)?;
    Ok((revenue, before))
}

/// The last status that is seen before it is gone, and its pods.
fn last_words(stand: &Stand, name: &str) -> Result<Value> {
    let mut last = Value::Null;
    until("it is gone", || {
        if let Ok(mut pipeline) = stand.get(&format!("{PIPELINES}/{name}")) {
            last = pipeline["status"].take();
        }
        Ok(stand.is_gone(name)?.then_some(()))
    })?;
    Ok(last)
}

/// Another Pipeline goes on where the deleted one ended; over both, every sum is there once.
fn go_on(stand: &Stand, revenue: &Revenue, of: &str, name: &str, status: &Value) -> Result<()> {
    let newest = status.pointer("/checkpoints/lastCompleted/handle").context("a handle")?;
    let mut next = revenue.manifest(name, "");
    next["spec"]["checkpoint"]["storage"] = json!({ "local": { "path": format!("/data/{of}/state") } });
    next["spec"]["restoreFrom"] = json!({ "handle": newest });
    stand.create(PIPELINES, &next)?;
    stand.phase(name, "Finished")?;
    revenue.assert_exact()?;
    stand.forget(name)
}
