//! Conditions: True is always the good state. Messages hold no number that changes by itself.

use api::pipeline::{Condition, PipelineStatus};
use api::report::WorkerState;
use k8s_openapi::jiff::Timestamp;

use super::{Facts, Knowledge};
use crate::decide::{Aim, Goal, Life, Stop, Worker};
use crate::versions;

/// Quota, Pod Security, another policy, or a right that is missing.
const NOT_CREATED: &str = "PodNotCreated";

/// What is to be said of one condition.
struct Word {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

fn word(kind: &'static str, status: &'static str, reason: &str, message: impl Into<String>) -> Word {
    Word { kind, status, reason: reason.to_owned(), message: message.into() }
}

/// All five; those of `before` tell since when.
///
/// `current`: the worker that does what is wanted; `status`: the new one, as far as it is done.
pub(super) fn conditions(
    facts: &Facts<'_>,
    current: Option<&Worker<'_>>,
    status: &PipelineStatus,
    before: &PipelineStatus,
) -> Vec<Condition> {
    let Facts { observed, aim, workers, knowledge, refused, .. } = *facts;
    let words = [
        accepted(&aim.goal, refused),
        ready(status, aim, current, observed.denied.as_deref()),
        checkpoint_healthy(status, knowledge),
        commits_settled(status, aim, workers),
        progressing(aim, current, observed.denied.as_deref()),
    ];
    let generation = observed.pipeline.metadata.generation.unwrap_or_default();
    let condition = |word: Word| {
        let old = before.conditions.iter().find(|old| old.kind == word.kind);
        let since = old.filter(|old| old.status == word.status).map(|old| old.last_transition_time.clone());
        Condition {
            kind: word.kind.to_owned(),
            status: word.status.to_owned(),
            reason: word.reason,
            message: word.message,
            last_transition_time: since.unwrap_or_else(|| rfc3339(observed.now_ms)),
            observed_generation: generation,
        }
    };
    words.into_iter().map(condition).collect()
}

fn accepted(goal: &Goal, refused: Option<&str>) -> Word {
    match (refused, goal) {
        (Some(message), _) => word("Accepted", "False", "InvalidSpec", message),
        (None, Goal::Rest(Stop::Refused { message })) => word("Accepted", "False", "Refused", message.as_str()),
        (None, _) => word("Accepted", "True", "Accepted", ""),
    }
}

fn ready(status: &PipelineStatus, aim: &Aim, current: Option<&Worker<'_>>, denied: Option<&str>) -> Word {
    let not = |reason: &str, message: &str| word("Ready", "False", reason, message);
    if status.workers.ready > 0 {
        return word("Ready", "True", "Running", "the worker has its state and processes records");
    }
    match (&aim.goal, &aim.then) {
        (Goal::LetGo { left: Some(left) }, _) => not("LeftBehind", left),
        (Goal::LetGo { left: None }, _) => not("Deleted", "everything decided is visible"),
        (_, Some(Stop::Failed { reason, message })) => not(reason, message),
        (_, Some(Stop::Refused { message })) => not("Refused", message),
        (_, Some(Stop::Finished)) => not("Finished", "every source has come to its end, and everything is committed"),
        (Goal::Rest(_), _) => not("Suspended", "spec.suspend is true; everything decided is visible"),
        (Goal::Stopping(_), _) => not("Stopping", "the worker takes a last checkpoint and leaves"),
        (Goal::Have(_) | Goal::Wait { .. } | Goal::Replace { .. }, Some(Stop::Suspended)) => {
            not("Settling", "nothing runs any more; what is decided is being made visible")
        }
        (Goal::Wait { .. }, None) => {
            not("WaitingToRestart", "the worker failed; the restart policy's delay is running")
        }
        (Goal::Replace { .. }, None) => match denied {
            Some(denied) => not(NOT_CREATED, &is_denied(denied)),
            None => not("Starting", "a worker is being made"),
        },
        (Goal::Have(_), None) => current.map_or_else(|| not("Starting", ""), starting),
    }
}

fn starting(worker: &Worker<'_>) -> Word {
    let not = |reason: &str, message: &str| word("Ready", "False", reason, message);
    match (&worker.life, worker.state()) {
        (Life::Waiting(Some(obstacle)), _) => not("PodNotStarting", obstacle),
        (Life::Running, None) if worker.unread.is_some() => {
            let message = worker.unread.as_ref().map(versions::at_work).unwrap_or_default();
            word("Ready", "Unknown", versions::REASON, message)
        }
        (_, Some(WorkerState::Recovering)) => not("Recovering", "commits of the newest checkpoint are being finished"),
        (_, Some(WorkerState::Restarting)) => {
            let message = worker.report.as_ref().and_then(|report| report.attempts.last_reason.clone());
            not("Restarting", &message.unwrap_or_default())
        }
        _ => not("Starting", "the worker has not said yet that it runs"),
    }
}

fn checkpoint_healthy(status: &PipelineStatus, knowledge: &Knowledge) -> Word {
    let kind = "CheckpointHealthy";
    match (&knowledge.checkpoints.newest, status.checkpoints.consecutive_failures) {
        (_, 1..) => {
            let why = status.checkpoints.last_failed.as_ref().map(|failed| failed.message.clone());
            word(kind, "False", "CheckpointFailed", why.unwrap_or_default())
        }
        (Some(_), 0) => word(kind, "True", "CheckpointCompleted", ""),
        (None, 0) => word(kind, "Unknown", "NoCheckpointYet", ""),
    }
}

fn commits_settled(status: &PipelineStatus, aim: &Aim, workers: &[Worker<'_>]) -> Word {
    let kind = "CommitsSettled";
    if let Goal::Rest(Stop::Failed { reason, message }) = &aim.goal
        && reason == "CommitLost"
    {
        return word(kind, "False", reason, message.as_str());
    }
    let pending = status.pending_commits.first().map(|pending| {
        let error = pending.last_error.as_deref().unwrap_or("they take long");
        let sink = format!("sink `{}`: ", pending.sink);
        // Most errors begin with it.
        format!("{sink}{}", error.strip_prefix(&sink).unwrap_or(error))
    });
    let is_settling = aim.then.is_some();
    match (&aim.goal, pending) {
        (Goal::Wait { until_ms }, pending) if is_settling => {
            let (reason, why) = match pending {
                Some(pending) => ("CommitsPending", pending),
                None => ("CommitsUnknown", "whether anything decided is not visible yet is not known".to_owned()),
            };
            let ended = workers.last().map(ended_so).unwrap_or_default();
            let next = rfc3339(*until_ms);
            word(
                kind,
                "False",
                reason,
                format!("{why}; the pod that finishes commits {ended}; the next try is at {next}"),
            )
        }
        (_, Some(pending)) => word(kind, "False", "CommitsPending", pending),
        // Or it is known, and the pod to be made has other work.
        (Goal::Replace { .. }, None) if is_settling && !has_settled(workers.last()) => unknown_commits(),
        (Goal::Have(serial), None) if is_settling && is_commit_only(workers, *serial) => {
            let before = workers.iter().rev().find(|worker| worker.serial < *serial);
            if has_settled(before) { word(kind, "True", "NoPendingCommits", "") } else { unknown_commits() }
        }
        (_, None) => word(kind, "True", "NoPendingCommits", ""),
    }
}

fn unknown_commits() -> Word {
    let message = "how the last worker ended is not known; a pod that only finishes commits looks into the log";
    word("CommitsSettled", "Unknown", "CommitsUnknown", message)
}

fn has_settled(worker: Option<&Worker<'_>>) -> bool {
    let settled = [WorkerState::Settled, WorkerState::Stopped, WorkerState::Finished];
    worker.and_then(Worker::state).is_some_and(|state| settled.contains(&state))
}

fn is_commit_only(workers: &[Worker<'_>], serial: u64) -> bool {
    workers.iter().any(|worker| worker.serial == serial && worker.purpose.only_settles())
}

/// How a pod came to its end, for the middle of a sentence.
fn ended_so(worker: &Worker<'_>) -> String {
    let told = worker.report.as_ref().and_then(|report| report.message.as_deref().or(report.reason.as_deref()));
    let ended = worker.ended().map(|ended| ended.reason.as_str());
    match (told, ended) {
        (Some(told), _) => format!("has ended: {told}"),
        (None, Some(ended)) => format!("has ended with {ended}"),
        (None, None) => "is gone".to_owned(),
    }
}

fn is_denied(denied: &str) -> String {
    format!("the API server refuses the pod: {denied}; it is asked again and again: mend that, or spec.podTemplate")
}

fn progressing(aim: &Aim, current: Option<&Worker<'_>>, denied: Option<&str>) -> Word {
    let kind = "Progressing";
    let goal = &aim.goal;
    if let Some(Stop::Failed { reason, message }) = &aim.then {
        return word(kind, "False", reason, message.as_str());
    }
    match goal {
        Goal::Rest(Stop::Refused { message }) => word(kind, "False", "Refused", message.as_str()),
        Goal::Rest(_) | Goal::LetGo { .. } => word(kind, "True", "Settled", ""),
        Goal::Have(_) => match current.map(|worker| &worker.life) {
            Some(Life::Waiting(Some(obstacle))) => word(kind, "False", "PodNotStarting", obstacle.as_str()),
            _ => word(kind, "True", "Settled", ""),
        },
        Goal::Replace { .. } if denied.is_some() => {
            word(kind, "False", NOT_CREATED, denied.map(is_denied).unwrap_or_default())
        }
        Goal::Wait { .. } | Goal::Replace { .. } | Goal::Stopping(_) => word(kind, "True", "RollingOut", ""),
    }
}

/// Milliseconds since 1970 as Kubernetes writes times.
pub fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

pub(crate) fn ms_of_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}
