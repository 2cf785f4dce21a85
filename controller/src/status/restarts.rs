//! How often a Pipeline was started again, and what for. Counted by the pods' serial numbers, so that looking twice counts
//! once.

use api::pipeline::{Pipeline, Restarts};
use api::report::WorkerState;

use super::conditions::rfc3339;
use crate::build::Configuration;
use crate::decide::{Goal, Life, Worker, counted};
use crate::names::{self, Purpose};
use crate::observe::Observed;
use crate::requests;

/// Reasons of those that somebody asked for.
pub const SPEC_CHANGED: &str = "SpecChanged";
pub const REQUESTED: &str = "Requested";
/// Every reason that pods are counted by. One that Kubernetes has no word for here is `Other`.
pub const REASONS: [&str; 8] =
    [SPEC_CHANGED, REQUESTED, "Error", "OOMKilled", "Evicted", "NodeLost", "Disrupted", "Other"];

/// Of a pod that somebody took away.
const DELETED: &str = "its pod was deleted";

/// Counts every pod that failed or was taken away, and every attempt that failed in one.
pub(super) fn count(restarts: &mut Restarts, observed: &Observed, workers: &[Worker<'_>]) {
    for worker in workers {
        count_attempts(restarts, observed, worker);
        if worker.serial > restarts.last_serial {
            count_pod(restarts, observed, worker);
        }
    }
}

fn count_pod(restarts: &mut Restarts, observed: &Observed, worker: &Worker<'_>) {
    let (reason, words, at_ms) = match (worker.ended(), &worker.life) {
        (Some(_), _) if was_deleted(worker) => ("Disrupted", DELETED.to_owned(), None),
        (Some(ended), _) => {
            if worker.failed_by_itself() {
                // Those that only commit are tried for ever, and use up nothing of what is left to runs.
                if worker.purpose == Purpose::Run {
                    restarts.since_reset = counted(restarts, ended.lasted_ms, &observed.pipeline.spec.restart_policy);
                }
            } else if ended.disrupted.is_none() {
                restarts.last_serial = worker.serial;
                return;
            }
            let reason = match (ended.disrupted.as_deref(), ended.reason.as_str()) {
                (Some("Evicted" | "EvictionByEvictionAPI"), _) => "Evicted",
                (Some("NodeLost" | "DeletionByTaintManager"), _) => "NodeLost",
                (Some(_), _) => "Disrupted",
                (None, "OOMKilled") => "OOMKilled",
                (None, "Error") => "Error",
                (None, _) => "Other",
            };
            (reason, ended.disrupted.as_ref().unwrap_or(&ended.reason).clone(), ended.at_ms)
        }
        // It is replaced at once.
        (None, Life::Lost) => ("NodeLost", "its node is out of sight".to_owned(), None),
        (None, Life::Waiting(_) | Life::Running | Life::Leaving | Life::Ended(_)) => return,
    };
    failed(restarts, reason, words, at_ms.unwrap_or(observed.now_ms));
    restarts.last_serial = worker.serial;
}

/// Whether somebody else deleted it as it ran: those that were to go for what a person changed are known by their number.
fn was_deleted(worker: &Worker<'_>) -> bool {
    let was_at_work = matches!(worker.state(), Some(WorkerState::Stopped | WorkerState::StoppedUndecided));
    was_at_work && !worker.failed_by_itself() && worker.pod.metadata.deletion_timestamp.is_some()
}

/// Counts a pod that is gone and was not seen to end: deleted by force, or while nobody looked.
/// Only where another one is made for it, which is not decided on the word of a cache.
pub(super) fn count_vanished(restarts: &mut Restarts, observed: &Observed, workers: &[Worker<'_>], goal: &Goal) {
    let seen = observed.pipeline.status.as_ref().map_or(0, |status| status.workers.serial);
    let is_gone = workers.iter().all(|worker| worker.serial < seen);
    if is_gone && seen > restarts.last_serial && matches!(goal, Goal::Replace { .. }) {
        failed(restarts, "Disrupted", DELETED.to_owned(), observed.now_ms);
        restarts.last_serial = seen;
    }
}

fn failed(restarts: &mut Restarts, reason: &str, words: String, at_ms: u64) {
    restarts.total = restarts.total.saturating_add(1);
    one_more(restarts, reason);
    restarts.last_time = Some(rfc3339(at_ms));
    restarts.last_reason = Some(words);
}

fn count_attempts(restarts: &mut Restarts, observed: &Observed, worker: &Worker<'_>) {
    let Some(told) = worker.report.as_ref().map(|report| &report.attempts) else { return };
    let known = &mut restarts.attempts;
    let new = match worker.serial.cmp(&known.serial) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => told.failed.saturating_sub(known.of_serial),
        std::cmp::Ordering::Greater => told.failed,
    };
    if new == 0 {
        return;
    }
    (known.serial, known.of_serial) = (worker.serial, told.failed);
    known.total = known.total.saturating_add(u64::from(new));
    restarts.total = restarts.total.saturating_add(u64::from(new));
    restarts.last_time = Some(rfc3339(told.last_time_ms.unwrap_or(observed.now_ms)));
    restarts.last_reason.clone_from(&told.last_reason);
}

/// Takes note of a worker that has to go: whatever becomes of it then, it was told to. One that goes for what somebody changed
/// or asked for is counted, and the restart policy begins anew.
pub(super) fn count_wanted(
    restarts: &mut Restarts,
    pipeline: &Pipeline,
    configuration: &Configuration,
    workers: &[Worker<'_>],
    goal: &Goal,
) {
    count_changed(restarts, pipeline, configuration, workers, goal);
    let Goal::Stopping(serial) = goal else { return };
    // One that is leaving already may have been told so by anybody.
    if workers.iter().any(|worker| worker.serial == *serial && worker.life != Life::Leaving) {
        restarts.last_serial = restarts.last_serial.max(*serial);
    }
}

fn count_changed(
    restarts: &mut Restarts,
    pipeline: &Pipeline,
    configuration: &Configuration,
    workers: &[Worker<'_>],
    goal: &Goal,
) {
    if pipeline.spec.suspend || pipeline.metadata.deletion_timestamp.is_some() {
        return;
    }
    let newest = workers.iter().rev().find(|worker| worker.purpose == Purpose::Run);
    let Some(worker) = newest.filter(|worker| worker.configuration != configuration.hash) else { return };
    match goal {
        Goal::Stopping(serial) if *serial == worker.serial && worker.serial > restarts.last_serial => {
            let annotations = worker.pod.metadata.annotations.as_ref();
            let made_for = annotations.and_then(|all| all.get(names::RESTART_REQUESTED_AT)).map(String::as_str);
            let is_requested = requests::restart(pipeline) != made_for;
            one_more(restarts, if is_requested { REQUESTED } else { SPEC_CHANGED });
            restarts.since_reset = 0;
            restarts.last_serial = worker.serial;
        }
        Goal::Replace { purpose: Purpose::Run } => restarts.since_reset = 0,
        Goal::Stopping(_)
        | Goal::Replace { purpose: Purpose::Commit | Purpose::Delete }
        | Goal::Have(_)
        | Goal::Wait { .. }
        | Goal::Rest(_)
        | Goal::LetGo { .. } => {}
    }
}

fn one_more(restarts: &mut Restarts, reason: &str) {
    let count = restarts.reasons.entry(reason.to_owned()).or_insert(0);
    *count = count.saturating_add(1);
}
