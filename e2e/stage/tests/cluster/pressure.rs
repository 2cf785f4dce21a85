//! A worker that is allowed too little memory, and a node whose kubelet says nothing.

use anyhow::{Result, ensure};

use crate::installed::SHARED_CLAIM;
use crate::orders::{Orders, visible};
use crate::say;
use crate::stand::{PIPELINES, Stand, container_of, is_alive, serial, until};
use crate::upgrades::at_work;

/// Killed by the kernel for its memory, and not by anybody who says that it was so.
pub(crate) fn a_worker_that_runs_out_of_memory_is_told_and_replaced(stand: &Stand) -> Result<()> {
    let name = "memory";
    let orders = Orders { name, rows: 40_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    at_work(stand, name)?;
    let worker = stand.worker(name, 0)?;
    let (process, node, (uid, container)) =
        (stand.process_of(&worker)?, stand.node_of(&worker)?, container_of(&worker)?);
    let mut tightened = 0;
    until("it is killed", || {
        // Its cgroup may go before anybody looks.
        tightened += u32::from(node.tighten_memory(uid, container).unwrap_or(false));
        Ok((!is_alive(process)).then_some(()))
    })?;
    let told = stand.status(name, "the reason is counted", |status| status["restarts"]["reasons"]["OOMKilled"] == 1)?;
    say(&format!("memory: limited {tightened} times, then {}", told["restarts"]));
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
        let is_it = |found: &&serde_json::Value| found["type"] == "Ready" && found["status"] != "True";
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
