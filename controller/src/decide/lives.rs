//! Pods as workers: what became of each.

use api::report::{Unread, Words, WorkerReport, WorkerState};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};

use crate::names::{self, Purpose};
use crate::observe::Observed;

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// Not started yet, and why if it cannot.
    Waiting(Option<String>),
    Running,
    /// Told to go; its kubelet sees to it.
    Leaving,
    Ended(Ended),
    /// Its node is out of sight. It may still be running.
    Lost,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// None: it never ran, or nobody knows.
    pub code: Option<i32>,
    /// None: nobody wrote it down, and it is long ago.
    pub at_ms: Option<u64>,
    /// How long it had run.
    pub lasted_ms: u64,
    /// By the cluster, not by itself: eviction, preemption, a node that shut down.
    pub disrupted: Option<String>,
    /// For people: `OOMKilled`, `Error`, ...
    pub reason: String,
}

/// A pod of a Pipeline.
#[derive(Clone, Debug)]
pub struct Worker<'a> {
    pub pod: &'a Pod,
    pub purpose: Purpose,
    pub serial: u64,
    pub configuration: String,
    pub life: Life,
    pub is_ready: bool,
    /// What it says, or what it left as its last words.
    pub report: Option<WorkerReport>,
    /// What it says cannot be understood here.
    pub unread: Option<Unread>,
}

impl Worker<'_> {
    pub fn ended(&self) -> Option<&Ended> {
        match &self.life {
            Life::Ended(ended) => Some(ended),
            Life::Waiting(_) | Life::Running | Life::Leaving | Life::Lost => None,
        }
    }

    /// Whether it broke down, and another one may do better: not an end that it meant, and not the cluster's doing.
    pub fn failed_by_itself(&self) -> bool {
        let is_meant = |ended: &Ended| match ended.code {
            Some(0 | 2 | 3 | 4) => true,
            Some(1) => self.state() == Some(WorkerState::Failed),
            Some(_) | None => false,
        };
        self.ended().is_some_and(|ended| ended.disrupted.is_none() && !is_meant(ended))
    }

    /// Whether its process may be at work, as far as its kubelet can tell.
    pub fn may_work(&self) -> bool {
        matches!(self.life, Life::Waiting(_) | Life::Running | Life::Leaving)
    }

    /// Whether it only commits, and has ended as those do when everything is visible, whatever it says of it.
    pub fn has_settled_in_other_words(&self) -> bool {
        let is_done = self.ended().is_some_and(|ended| ended.code == Some(0));
        is_done && self.purpose.only_settles() && self.unread.is_some()
    }

    pub fn state(&self) -> Option<WorkerState> {
        self.report.as_ref().map(|report| report.state)
    }
}

/// In the order in which they were made. Pods without our labels are nobody's business.
pub(super) fn workers(observed: &Observed) -> Vec<Worker<'_>> {
    let mut workers: Vec<_> = observed.pods.iter().filter_map(|pod| worker(pod, observed)).collect();
    workers.sort_by_key(|worker| worker.serial);
    workers
}

fn worker<'a>(pod: &'a Pod, observed: &Observed) -> Option<Worker<'a>> {
    let labels = pod.metadata.labels.as_ref()?;
    let life = life(pod, observed);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let last_words = || Words::read(terminated(pod)?.message.as_deref()?.as_bytes());
    let words = match life {
        Life::Ended(_) => last_words().or_else(|| observed.reports.get(name).cloned()),
        Life::Waiting(_) | Life::Running | Life::Leaving | Life::Lost => observed.reports.get(name).cloned(),
    };
    let (report, unread) = match words {
        Some(Words::Report(report)) => (Some(*report), None),
        Some(Words::Unread(unread)) => (None, Some(unread)),
        None => (None, None),
    };
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Some(Worker {
        pod,
        purpose: Purpose::of_label(labels.get(names::PURPOSE)?)?,
        serial: labels.get(names::SERIAL)?.parse().ok()?,
        configuration: labels.get(names::CONFIGURATION)?.clone(),
        is_ready: conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        life,
        report,
        unread,
    })
}

fn life(pod: &Pod, observed: &Observed) -> Life {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if terminated(pod).is_some() || matches!(phase, "Failed" | "Succeeded") {
        return Life::Ended(ended(pod));
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    // Behind an outage of the API server every node is out of its sight for a moment: a worker that answers is at work.
    let answers = observed.reports.contains_key(name) && pod.metadata.deletion_timestamp.is_none();
    let is_out_of_sight = node.is_some_and(|node| observed.lost_nodes.contains(node));
    if phase == "Unknown" || (is_out_of_sight && !answers) {
        return Life::Lost;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Life::Leaving;
    }
    let told = || observed.obstacles.get(name).cloned();
    if phase == "Running" { Life::Running } else { Life::Waiting(obstacle(pod).or_else(told)) }
}

fn ended(pod: &Pod) -> Ended {
    let status = pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.clone());
    let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let target = conditions.into_iter().find(|found| found.type_ == "DisruptionTarget" && found.status == "True");
    let disruption = target.map(|target| target.reason.clone().unwrap_or_else(|| target.type_.clone()));
    let terminated = terminated(pod);
    let ms = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().and_then(|time| u64::try_from(time.0.as_millisecond()).ok())
    };
    // One that its node did not even take has no end but its beginning.
    let at_ms = terminated.and_then(|ended| ms(&ended.finished_at)).or_else(|| ms(&pod.metadata.creation_timestamp));
    let started_ms = terminated.and_then(|ended| ms(&ended.started_at));
    Ended {
        code: terminated.map(|ended| ended.exit_code),
        at_ms,
        lasted_ms: at_ms.zip(started_ms).map_or(0, |(end, start)| end.saturating_sub(start)),
        reason: terminated
            .and_then(|ended| ended.reason.clone())
            .or_else(|| reason.clone())
            .unwrap_or_else(|| "Error".to_owned()),
        disrupted: disruption.or(reason.filter(|reason| is_disruption(reason))),
    }
}

/// Words of kubelets for ends that are not the container's doing.
fn is_disruption(reason: &str) -> bool {
    matches!(reason, "Evicted" | "Preempting" | "Preempted" | "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated")
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == names::CONTAINER)?.state.as_ref()?.terminated.as_ref()
}

/// Why a pod does not start, where its status says so.
pub(crate) fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|found| found.state.as_ref()?.waiting.as_ref());
    let told = |reason: &Option<String>, message: &Option<String>| {
        let (reason, message) = (reason.clone()?, message.clone().unwrap_or_default());
        Some(if message.is_empty() { reason } else { format!("{reason}: {message}") })
    };
    let quiet = ["ContainerCreating", "PodInitializing"];
    let by_container = waiting
        .filter(|waiting| !waiting.reason.as_deref().is_some_and(|reason| quiet.contains(&reason)))
        .and_then(|waiting| told(&waiting.reason, &waiting.message));
    let scheduled =
        status.conditions.iter().flatten().find(|found| found.type_ == "PodScheduled" && found.status == "False");
    by_container.or_else(|| scheduled.and_then(|found| told(&found.reason, &found.message)))
}
