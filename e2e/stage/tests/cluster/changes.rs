//! What people ask of a Pipeline that runs: to stop and go on, other figures, a savepoint that another Pipeline begins from.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::stand::{NAMESPACE, PIPELINES, Stand, epoch, kill};

fn orders(name: &'static str, rows: u64) -> Orders {
    Orders { name, rows, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None }
}

fn change(stand: &Stand, name: &str, patch: &Value) -> Result<()> {
    stand.patch(&format!("{PIPELINES}/{name}"), patch)
}

fn reasons(status: &Value, reason: &str) -> u64 {
    status["restarts"]["reasons"][reason].as_u64().unwrap_or(0)
}

/// Suspended and resumed, scaled up and down as `kubectl scale` does it, given another interval, restarted.
pub(crate) fn a_pipeline_is_suspended_scaled_and_changed(stand: &Stand) -> Result<()> {
    let orders = orders("changed", 90_000);
    stand.create(PIPELINES, &orders.manifest())?;
    stand.status("changed", "it has checkpoints", |status| epoch(status) >= 2)?;

    change(stand, "changed", &json!({ "spec": { "suspend": true } }))?;
    let suspended = stand.phase("changed", "Suspended")?;
    ensure!(suspended["pendingCommittables"] == 0, "{suspended}");
    let works = |pod: &Value| pod["status"]["phase"] == "Running";
    ensure!(!stand.workers("changed")?.iter().any(works), "a worker runs");
    change(stand, "changed", &json!({ "spec": { "suspend": false } }))?;
    // Figures are told every half a minute, phases at once.
    let goes_on = stand.phase("changed", "Running")?;
    ensure!(goes_on.pointer("/checkpoints/restoredFrom").is_some(), "it began anew: {goes_on}");

    for parallelism in [4, 1] {
        let replicas = format!("--replicas={parallelism}");
        stand.cluster.told(&["scale", "pipelines.onceward.dev/changed", "--namespace", NAMESPACE, &replicas])?;
        stand.status("changed", &format!("it runs with {parallelism}"), |status| {
            status["phase"] == "Running" && status["parallelism"] == parallelism
        })?;
    }
    change(stand, "changed", &json!({ "spec": { "checkpoint": { "interval": "2s" } } }))?;
    let done = stand.phase("changed", "Finished")?;
    ensure!(reasons(&done, "SpecChanged") == 3 && done["restarts"]["total"] == 0, "{}", done["restarts"]);
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("changed")
}

/// The first one dies behind its savepoint and is given up, the second one begins there; suspended, it leaves a last
/// checkpoint, where the third one begins. All of them have the same output.
pub(crate) fn a_savepoint_is_gone_on_from_by_another_pipeline(stand: &Stand) -> Result<()> {
    let orders = orders("saved", 40_000);
    let mut manifest = orders.manifest();
    // Nothing is decided behind the savepoint, and nobody begins anew by itself.
    manifest["spec"]["checkpoint"]["interval"] = "10m".into();
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 9, "delay": "10m" } });
    stand.create(PIPELINES, &manifest)?;
    stand.phase("saved", "Running")?;
    let asked = json!({ "onceward.dev/savepoint-requested-at": "2026-01-02T00:00:00Z" });
    change(stand, "saved", &json!({ "metadata": { "annotations": asked } }))?;
    let handle = |status: &Value| status.pointer("/actions/savepoint/taken/handle").cloned();
    let taken = stand.status("saved", "a savepoint is taken", |status| handle(status).is_some())?;
    let savepoint = handle(&taken).context("a savepoint")?;
    kill(stand.process_of(&stand.worker("saved", 0)?)?)?;
    stand.status("saved", "its death is counted", |status| status["restarts"]["total"] == 1)?;
    given_up(stand, "saved")?;

    create_from(stand, &orders, "saved-next", &savepoint)?;
    stand.status("saved-next", "it goes on", |status| epoch(status) >= epoch(&taken) + 2)?;
    let stopped = given_up(stand, "saved-next")?;

    let last = stopped.pointer("/checkpoints/lastCompleted/handle").context("a handle")?;
    ensure!(*last != savepoint, "nothing was decided behind the savepoint");
    create_from(stand, &orders, "saved-last", last)?;
    let done = stand.phase("saved-last", "Finished")?;
    ensure!(done.pointer("/checkpoints/restoredFrom").is_some(), "it began anew: {done}");
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("saved-last")
}

/// Another Pipeline of the same manifest, which begins where a checkpoint of one before it ends.
fn create_from(stand: &Stand, orders: &Orders, name: &str, handle: &Value) -> Result<()> {
    let mut manifest = orders.manifest();
    manifest["metadata"]["name"] = name.into();
    manifest["spec"]["restoreFrom"] = json!({ "handle": handle });
    stand.create(PIPELINES, &manifest).map(drop)
}

/// Suspended and deleted; its last status.
fn given_up(stand: &Stand, name: &str) -> Result<Value> {
    change(stand, name, &json!({ "spec": { "suspend": true } }))?;
    let stopped = stand.phase(name, "Suspended")?;
    stand.forget(name)?;
    Ok(stopped)
}
