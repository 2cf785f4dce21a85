//! Workers, controllers and nodes that go in the middle of a run: the replacement goes on from the newest checkpoint, and
//! whoever was left behind is fenced.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::installed::SHARED_CLAIM;
use crate::orders::{Orders, newest_attempt};
use crate::outages::Bucket;
use crate::say;
use crate::stand::{NAMESPACE, PIPELINES, Stand, is_alive, kill, serial, until};

const CONTROLLERS: &str =
    "/api/v1/namespaces/onceward-system/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dcontroller";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/onceward-system/leases/onceward-controller";

/// One after the other: a pod deleted by force, the process killed, the controller's leader killed, both at once.
pub(crate) fn deaths_lose_and_double_nothing(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "deaths", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    let mut run = begun(stand, "deaths", None)?;

    let process = stand.process_of(&run.worker)?;
    stand.delete(&path_of(&run.worker)?, true)?;
    run = begun(stand, "deaths", Some(&run))?;
    until("the deleted pod's process is gone", || Ok((!is_alive(process)).then_some(())))?;

    kill(stand.process_of(&run.worker)?)?;
    run = begun(stand, "deaths", Some(&run))?;

    let leader = leader(stand)?;
    stand.delete(&format!("/api/v1/namespaces/onceward-system/pods/{leader}"), true)?;
    kill(stand.process_of(&run.worker)?)?;
    run = begun(stand, "deaths", Some(&run))?;
    let other = self::leader(stand)?;
    ensure!(other != leader, "{leader} still leads");

    kill_controllers(stand)?;
    stand.delete(&path_of(&run.worker)?, true)?;
    begun(stand, "deaths", Some(&run))?;

    let done = stand.phase("deaths", "Finished")?;
    say(&format!("deaths: restarts {}", done["restarts"]));
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("deaths")
}

/// Its store is one that both sides reach: both are at work until the replacement claims the log.
pub(crate) fn a_node_that_is_cut_off_with_its_worker_running_is_fenced(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "cut", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    let run = begun(stand, "cut", None)?;
    let (node, process) = (stand.node_of(&run.worker)?, stand.process_of(&run.worker)?);
    node.cut()?;
    let replacement = begun(stand, "cut", Some(&run))?;
    ensure!(node_of(&replacement) != node_of(&run), "it is on the node that is cut off");
    // It could reach its store all the time: nobody but the log has told it to go.
    until("the worker that was left behind is fenced", || Ok((!is_alive(process)).then_some(())))?;
    node.heal()?;
    whole_again(stand, &run.worker, "cut")?;
    stand.phase("cut", "Finished")?;
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("cut")
}

/// Its store is in a bucket that it cannot reach: it is still there when the node is healed, and learns then.
pub(crate) fn a_worker_that_is_cut_off_from_its_bucket_is_fenced_when_it_is_back(stand: &Stand) -> Result<()> {
    let bucket = Bucket::start(stand, "cut-bucket")?;
    let storage = Some(bucket.storage("cut-bucket"));
    let orders = Orders { name: "cut-bucket", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage };
    stand.create(PIPELINES, &orders.manifest())?;
    let run = begun(stand, "cut-bucket", None)?;
    let (node, process) = (stand.node_of(&run.worker)?, stand.process_of(&run.worker)?);
    node.cut()?;
    let replacement = begun(stand, "cut-bucket", Some(&run))?;
    ensure!(node_of(&replacement) != node_of(&run), "it is on the node that is cut off");
    ensure!(is_alive(process), "the worker that was left behind is gone before it could be fenced");
    node.heal()?;
    until("the worker that was left behind is fenced", || Ok((!is_alive(process)).then_some(())))?;
    whole_again(stand, &run.worker, "cut-bucket")?;
    stand.phase("cut-bucket", "Finished")?;
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("cut-bucket")
}

pub(crate) fn a_node_that_loses_power_loses_nothing_else(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "power", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    let run = begun(stand, "power", None)?;
    let node = stand.node_of(&run.worker)?;
    node.power_off()?;
    let replacement = begun(stand, "power", Some(&run))?;
    ensure!(node_of(&replacement) != node_of(&run), "it is on the node that has no power");
    node.start()?;
    whole_again(stand, &run.worker, "power")?;
    stand.phase("power", "Finished")?;
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("power")
}

/// A worker whose output is visible.
struct Run {
    worker: Value,
    /// Its attempt.
    attempt: u64,
}

/// The first worker, or the one after another, once output of its own is visible: what came before, it has restored.
fn begun(stand: &Stand, name: &str, after: Option<&Run>) -> Result<Run> {
    let (than, before) = after.map_or((0, 0), |run| (serial(&run.worker), run.attempt));
    let worker = stand.worker(name, than)?;
    let volume = stand.cluster.layout().shared();
    let attempt = until(&format!("{name}: output of an attempt after {before}"), || {
        Ok(Some(newest_attempt(&volume, name)?).filter(|attempt| *attempt > before))
    })?;
    Ok(Run { worker, attempt })
}

/// The name of its node.
fn node_of(run: &Run) -> &Value {
    &run.worker["spec"]["nodeName"]
}

pub(crate) fn path_of(pod: &Value) -> Result<String> {
    Ok(format!("/api/v1/namespaces/{NAMESPACE}/pods/{}", pod["metadata"]["name"].as_str().context("a name")?))
}

/// The pod that holds the lease: `<pod>_<chance>`.
pub(crate) fn leader(stand: &Stand) -> Result<String> {
    until("a controller leads", || {
        let lease = stand.get(LEASE)?;
        let holder = lease["spec"]["holderIdentity"].as_str().and_then(|holder| holder.split('_').next());
        Ok(holder.filter(|holder| !holder.is_empty()).map(str::to_owned))
    })
}

/// The processes of all of them, at once; none of them unless there are two.
pub(crate) fn kill_controllers(stand: &Stand) -> Result<()> {
    let pods = stand.get(CONTROLLERS)?;
    let pods = pods["items"].as_array().context("a list")?;
    // One that is being deleted may have none any more.
    let processes: Vec<_> = pods.iter().filter_map(|pod| stand.process_of(pod).ok()).collect();
    ensure!(processes.len() > 1, "only {} controllers run", processes.len());
    processes.into_iter().try_for_each(kill)
}

/// The node is ready, and the worker that was left behind is no pod any more.
fn whole_again(stand: &Stand, left_behind: &Value, name: &str) -> Result<()> {
    let node = left_behind["spec"]["nodeName"].as_str().context("a node")?;
    let number = node.trim_start_matches('n').parse()?;
    stand.cluster.until_ready(number)?;
    let uid = &left_behind["metadata"]["uid"];
    until("nothing is left of the old worker's pod", || {
        let is_gone = |pod: &Value| pod["metadata"]["uid"] != *uid || pod["status"]["phase"] != "Running";
        Ok(stand.workers(name)?.iter().all(is_gone).then_some(()))
    })
}
