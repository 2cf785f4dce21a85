//! A worker that is allowed too little memory, and a node whose kubelet says nothing.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::installed::SHARED_CLAIM;
use crate::orders::{Orders, visible};
use crate::say;
use crate::stand::{PIPELINES, Stand, container_of, serial, until};
use crate::upgrades::at_work;

/// Looks for news of a worker that is gone.
const VAIN_LOOKS: u32 = 100;

/// How often workers of a Pipeline were killed for their memory, as its status has it.
fn counted(status: &Value) -> u64 {
    status.pointer("/restarts/reasons/OOMKilled").and_then(Value::as_u64).unwrap_or(0)
}

/// Its worker is killed by the kernel for its memory, and not by anybody who says that it was so; what is told then. If
/// it ends otherwise, as something else may go on, it is the turn of the next one.
pub(crate) fn run_out_of_memory(stand: &Stand, name: &str) -> Result<Value> {
    let path = format!("{PIPELINES}/{name}");
    let (mut before, mut doomed, mut vain) = (None, None, 0);
    until(&format!("{name}: a worker is killed for its memory, and told to be"), || {
        let status = stand.get(&path)?["status"].take();
        if counted(&status) > *before.get_or_insert(counted(&status)) {
            return Ok(Some(status));
        }
        // The newest one; none: the next is about to be made.
        let Some(worker) = stand.workers(name)?.into_iter().next() else { return Ok(None) };
        if *doomed.get_or_insert(serial(&worker)) != serial(&worker) {
            vain += 1;
            if vain % VAIN_LOOKS == 0 {
                doomed = None;
            }
        } else if worker.pointer("/status/phase").is_some_and(|phase| phase == "Running") {
            let (uid, container) = container_of(&worker)?;
            stand.node_of(&worker)?.tighten_memory(uid, container)?;
        }
        Ok(None)
    })
}

pub(crate) fn a_worker_that_runs_out_of_memory_is_told_and_replaced(stand: &Stand) -> Result<()> {
    let name = "memory";
    let orders = Orders { name, rows: 40_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    at_work(stand, name)?;
    say(&format!("memory: {}", run_out_of_memory(stand, name)?["restarts"]));
    let done = stand.phase(name, "Finished")?;
    ensure!(done["restarts"]["total"] == 1, "{}", done["restarts"]);
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget(name)
}

/// Kubernetes calls its node lost; who answers is at work all the same.
pub(crate) fn a_kubelet_that_is_stopped_leaves_its_worker_at_work(stand: &Stand) -> Result<()> {
    let name = "kubelet";
    let orders = Orders { name, rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    at_work(stand, name)?;
    let worker = stand.worker(name, 0)?;
    let node = stand.node_of(&worker)?;
    node.pause_kubelet()?;
    let lost = until("its node is called lost", || {
        let conditions = stand.get(&format!("/api/v1/nodes/{}", node.name()))?["status"]["conditions"].take();
        let is_it = |found: &&Value| found["type"] == "Ready" && found["status"] != "True";
        Ok(conditions.as_array().and_then(|all| all.iter().find(is_it).cloned()))
    });
    let output = stand.cluster.layout().shared().join(name).join("rows");
    let grown = visible(&output)
        .and_then(|before| until("output grows", || Ok((visible(&output)? > before + 20).then_some(()))));
    let same = stand.workers(name);
    node.resume_kubelet()?;
    say(&format!("kubelet: {}", lost?["message"]));
    grown?;
    ensure!(same?.iter().all(|pod| serial(pod) == serial(&worker)), "it was replaced though it answers");
    let done = stand.phase(name, "Finished")?;
    ensure!(done["restarts"]["total"] == 0, "{}", done["restarts"]);
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget(name)
}
