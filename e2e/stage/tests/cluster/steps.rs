//! Workers that die at named steps of the protocol, as pods: they stop there, say so, and are killed, or their pods are
//! deleted by force.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::deaths::path_of;
use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::stand::{NAMESPACE, PIPELINES, Stand, kill, serial, until};

/// Each life comes by so many times before it stops there. Commits are those of two sinks with two writers each.
const STEPS: [(&str, &str, u32); 3] = [
    ("undecided", "coordinator.before_decide", 4),
    ("decided", "coordinator.decided", 4),
    ("committing", "coordinator.before_commit", 14),
];
const DEATHS: usize = 2;

pub(crate) fn a_worker_that_dies_at_a_named_step_is_replaced(stand: &Stand) -> Result<()> {
    let orders = STEPS.map(|(name, ..)| {
        let (rows, rows_per_second) = (15_000, 1_000);
        Orders { name, rows, rows_per_second, claim: SHARED_CLAIM, storage: None }
    });
    for (orders, (_, step, nth)) in orders.iter().zip(STEPS) {
        let mut manifest = orders.manifest();
        // Process 1 of a container cannot kill itself.
        let fault = json!({ "name": "ONCEWARD_CRASHPOINT", "value": format!("{step}:{nth}=pause:600s") });
        manifest["spec"]["podTemplate"]["spec"]["containers"][0]["env"] = json!([fault]);
        stand.create(PIPELINES, &manifest)?;
    }
    for (name, step, nth) in STEPS {
        let mut than = 0;
        for death in 1..=DEATHS {
            let worker = stand.worker(name, than)?;
            than = serial(&worker);
            until(&format!("{name} is at {step}"), || Ok(is_at(stand, &worker, step, nth)?.then_some(())))?;
            if death == DEATHS {
                stand.delete(&path_of(&worker)?, true)?;
            } else {
                kill(stand.process_of(&worker)?)?;
            }
            // Or it would be taken for one that had to go for the change below.
            stand.status(name, "its death is counted", |status| status["restarts"]["total"] == death)?;
        }
        // The next one is spared.
        let spared = json!({ "spec": { "podTemplate": { "spec": { "containers": [{
            "name": "worker", "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        }] } } } });
        stand.patch(&format!("{PIPELINES}/{name}"), &spared)?;
    }
    for orders in &orders {
        let done = stand.phase(orders.name, "Finished")?;
        let reasons = &done["restarts"]["reasons"];
        ensure!(reasons["Error"] == 1 && reasons["Disrupted"] == 1, "{}", done["restarts"]);
        orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
        stand.forget(orders.name)?;
    }
    Ok(())
}

/// Its own last words.
fn is_at(stand: &Stand, worker: &serde_json::Value, step: &str, nth: u32) -> Result<bool> {
    let path = path_of(worker)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let said = stand.cluster.told(&["logs", "--namespace", NAMESPACE, name])?;
    Ok(said.contains(&format!("crashpoint {step} {nth}")))
}
