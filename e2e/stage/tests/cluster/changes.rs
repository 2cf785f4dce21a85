//! What people ask of a Pipeline that runs: to stop and go on, other figures, a savepoint that another Pipeline begins from.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::stand::{NAMESPACE, PIPELINES, Stand, epoch};

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

/// The first one is stopped behind its savepoint; the second one has its output and goes on where that ends.
pub(crate) fn a_savepoint_is_gone_on_from_by_another_pipeline(stand: &Stand) -> Result<()> {
    let orders = orders("saved", 40_000);
    stand.create(PIPELINES, &orders.manifest())?;
    stand.status("saved", "it has checkpoints", |status| epoch(status) >= 2)?;
    let asked = json!({ "onceward.dev/savepoint-requested-at": "2026-01-02T00:00:00Z" });
    change(stand, "saved", &json!({ "metadata": { "annotations": asked } }))?;
    let handle = |status: &Value| status.pointer("/actions/savepoint/taken/handle").cloned();
    let taken = stand.status("saved", "a savepoint is taken", |status| handle(status).is_some())?;
    change(stand, "saved", &json!({ "spec": { "suspend": true } }))?;
    let stopped = stand.phase("saved", "Suspended")?;
    stand.forget("saved")?;

    let mut next = orders.manifest();
    next["metadata"]["name"] = "saved-next".into();
    // Of the newest checkpoint: what came after the savepoint is visible already.
    let newest = stopped.pointer("/checkpoints/lastCompleted/handle").context("a handle")?;
    next["spec"]["restoreFrom"] = json!({ "handle": newest });
    stand.create(PIPELINES, &next)?;
    let done = stand.phase("saved-next", "Finished")?;
    ensure!(done.pointer("/checkpoints/restoredFrom").is_some(), "it began anew: {done}");
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    let state = stand.cluster.layout().shared().join("saved/state");
    let kept = handle(&taken).and_then(|handle| handle.as_str().map(str::to_owned)).context("a savepoint")?;
    ensure!(state.is_dir() && kept.contains("/saved/state"), "{kept}");
    stand.forget("saved-next")
}
