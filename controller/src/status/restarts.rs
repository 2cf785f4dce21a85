//! How often a Pipeline was started again, and what for. Counted by the pods' serial numbers, so that looking twice counts
//! once.

use api::pipeline::{Pipeline, Restarts};

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
    restarts.total = restarts.total.saturating_add(1);
    one_more(restarts, reason);
    restarts.last_time = Some(rfc3339(at_ms.unwrap_or(observed.now_ms)));
    restarts.last_reason = Some(words);
    restarts.last_serial = worker.serial;
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

/// Counts a worker that has to go for what somebody changed or asked for. Whatever becomes of it then, it was told to; and
/// the restart policy begins anew.
pub(super) fn count_wanted(
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
            restarts.last_serial = worker.serial;
            restarts.since_reset = 0;
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
