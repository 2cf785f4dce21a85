//! What befalls a cluster and those who are at work on it: each fault is struck here, and each says what it has hit.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::{Component, NODES};

use crate::deaths::{kill_controllers, leader, path_of};
use crate::pressure::run_out_of_memory;
use crate::recreated::delete_and_make_again;
use crate::stand::{NAMESPACE, PIPELINES, Stand, is_alive, kill, serial, until};
use crate::stream::Stream;
use crate::upgrades::{NEXT, change_release};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    PodDeleted,
    ProcessKilled,
    MemoryShort,
    LeaderKilled,
    ControllersKilled,
    BucketAway,
    BrokerAway,
    NodeCut,
    KubeletStopped,
    PowerLost,
    ControlPlaneAway,
    Scaled,
    Suspended,
    Upgraded,
    Restarted,
    Saved,
    Recreated,
    ReleaseChanged,
}

impl Fault {
    pub(crate) const ALL: [Self; 18] = [
        Self::PodDeleted,
        Self::ProcessKilled,
        Self::MemoryShort,
        Self::LeaderKilled,
        Self::ControllersKilled,
        Self::BucketAway,
        Self::BrokerAway,
        Self::NodeCut,
        Self::KubeletStopped,
        Self::PowerLost,
        Self::ControlPlaneAway,
        Self::Scaled,
        Self::Suspended,
        Self::Upgraded,
        Self::Restarted,
        Self::Saved,
        Self::Recreated,
        Self::ReleaseChanged,
    ];

    /// Whether it lasts until it is undone.
    pub(crate) fn lasts(self) -> bool {
        use Fault::{BrokerAway, BucketAway, ControlPlaneAway, KubeletStopped, NodeCut, PowerLost};
        matches!(self, BucketAway | BrokerAway | NodeCut | KubeletStopped | PowerLost | ControlPlaneAway)
    }
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// Whose pod, process or node it is.
    pub(crate) victim: &'static str,
    /// How long it lasts, if it does.
    pub(crate) hold: Duration,
    /// Whose process is killed meanwhile.
    pub(crate) meanwhile: Option<&'static str>,
}

/// Strikes, and undoes what lasts; how many processes were killed meanwhile.
pub(crate) fn strike(stand: &Stand, stream: &mut Stream, strike: &Strike) -> Result<u64> {
    let Strike { fault, victim, hold, meanwhile } = *strike;
    let worker = || stand.worker(victim, 0);
    match fault {
        Fault::PodDeleted => until("a pod is deleted by force", || {
            let worker = worker()?;
            stand.delete(&path_of(&worker)?, true).map(Some)
        })?,
        Fault::ProcessKilled => until("a process is killed", || kill(stand.process_of(&worker()?)?).map(Some))?,
        Fault::MemoryShort => run_out_of_memory(stand, victim).map(drop)?,
        Fault::LeaderKilled => until("the leading controller is killed", || {
            let pod = stand.get(&format!("/api/v1/namespaces/onceward-system/pods/{}", leader(stand)?))?;
            kill(stand.process_of(&pod)?).map(Some)
        })?,
        Fault::ControllersKilled => until("both controllers are killed", || kill_controllers(stand).map(Some))?,
        Fault::Scaled => scale(stand, victim)?,
        Fault::Suspended => suspend(stand, victim)?,
        Fault::Upgraded => upgrade(stand, victim)?,
        Fault::Restarted => restart(stand, victim)?,
        Fault::Saved => save(stand, victim)?,
        Fault::Recreated => delete_and_make_again(stand, stream, victim)?,
        Fault::ReleaseChanged => change_release(stand)?,
        _ => return last(stand, stream, strike),
    }
    ensure!(hold.is_zero() && meanwhile.is_none(), "{fault:?} does not last");
    Ok(0)
}

/// The same for what lasts. Whoever dies meanwhile is looked up before: nobody may answer then.
fn last(stand: &Stand, stream: &mut Stream, strike: &Strike) -> Result<u64> {
    let worker = stand.worker(strike.victim, 0)?;
    let node = stand.node_of(&worker)?;
    let other = strike.meanwhile.map(|name| stand.worker(name, 0)).transpose()?;
    let doomed = other.and_then(|worker| stand.process_of(&worker).ok());
    let plane = |component| stand.cluster.component(component);
    match strike.fault {
        Fault::BucketAway => stream.bucket.gateway.kill()?,
        Fault::BrokerAway => stream.broker.kill()?,
        Fault::NodeCut => node.cut()?,
        Fault::KubeletStopped => node.pause_kubelet()?,
        Fault::PowerLost => node.power_off()?,
        Fault::ControlPlaneAway => {
            plane(Component::Apiserver).kill()?;
            plane(Component::Etcd).kill()?;
        }
        other => anyhow::bail!("{other:?} does not last"),
    }
    let half = strike.hold / 2;
    // How long it lasts is part of the plan; there is nothing to wait for.
    std::thread::sleep(half);
    let dies = doomed.filter(|process| is_alive(*process));
    let killed = dies.map_or(Ok(0), |process| kill(process).map(|()| 1));
    std::thread::sleep(strike.hold.saturating_sub(half));
    match strike.fault {
        Fault::BucketAway => stream.bucket.gateway.start_again()?,
        Fault::BrokerAway => stream.broker.restart()?,
        Fault::NodeCut => node.heal()?,
        Fault::KubeletStopped => node.resume_kubelet()?,
        Fault::PowerLost => node.start()?,
        _ => {
            plane(Component::Etcd).start()?;
            plane(Component::Apiserver).start()?;
        }
    }
    stand.cluster.until_served()?;
    (1..=NODES).try_for_each(|node| stand.cluster.until_ready(node))?;
    killed
}

/// To another parallelism than that which it has.
fn scale(stand: &Stand, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    let now = stand.get(&path)?["spec"]["parallelism"].as_u64().context("a parallelism")?;
    let next = now % 3 + 1;
    stand.cluster.told(&[
        "scale",
        &format!("pipelines.onceward.dev/{name}"),
        "--namespace",
        NAMESPACE,
        &format!("--replicas={next}"),
    ])?;
    stand.status(name, &format!("it runs with {next}"), |status| {
        status["phase"] == "Running" && status["parallelism"] == next
    })?;
    Ok(())
}

fn suspend(stand: &Stand, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    stand.patch(&path, &json!({ "spec": { "suspend": true } }))?;
    let stopped: Value = stand.phase(name, "Suspended")?;
    ensure!(stopped["pendingCommittables"] == 0, "{stopped}");
    stand.patch(&path, &json!({ "spec": { "suspend": false } }))?;
    stand.phase(name, "Running")?;
    Ok(())
}

/// To another image than that which it has: the chart's, or the same by another name.
fn upgrade(stand: &Stand, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    let is_next = stand.get(&path)?["spec"]["image"] == NEXT;
    stand.patch(&path, &json!({ "spec": { "image": if is_next { "" } else { NEXT } } }))?;
    until(&format!("a worker of {name} with the other image"), || {
        let worker = stand.worker(name, 0)?;
        let image = worker.pointer("/spec/containers/0/image").and_then(Value::as_str);
        Ok(((image == Some(NEXT)) != is_next).then_some(()))
    })?;
    stand.phase(name, "Running").map(drop)
}

fn restart(stand: &Stand, name: &str) -> Result<()> {
    let before = stand.worker(name, 0)?;
    ask(stand, name, "restart", &format!("2026-01-02T00:00:00.{:09}Z", serial(&before)))?;
    stand.worker(name, serial(&before))?;
    stand.phase(name, "Running").map(drop)
}

/// A checkpoint that is kept; asked for again where the worker has ended meanwhile.
fn save(stand: &Stand, name: &str) -> Result<()> {
    let asked =
        |status: &Value| status.pointer("/actions/savepoint/requestedAt").and_then(Value::as_str).map(str::to_owned);
    let mut tries = 0_u32;
    until(&format!("a savepoint of {name}"), || {
        tries += 1;
        let time = format!("2026-01-02T00:00:00.{:06}{tries:03}Z", serial(&stand.worker(name, 0)?));
        ask(stand, name, "savepoint", &time)?;
        let answer = stand.status(name, "a savepoint is answered", |status| asked(status).as_ref() == Some(&time))?;
        Ok(answer.pointer("/actions/savepoint/taken/handle").map(drop))
    })
}

fn ask(stand: &Stand, name: &str, what: &str, time: &str) -> Result<()> {
    let key = format!("onceward.dev/{what}-requested-at");
    stand.patch(&format!("{PIPELINES}/{name}"), &json!({ "metadata": { "annotations": { key: time } } }))
}
