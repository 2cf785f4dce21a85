//! Conditions: True is always the good state. Messages hold no number that changes by itself.

use api::pipeline::{Condition, PipelineStatus};
use api::report::WorkerState;
use k8s_openapi::jiff::Timestamp;

use super::Knowledge;
use crate::decide::{Goal, Life, Stop, Worker};
use crate::observe::Observed;

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

/// What conditions are made from.
pub(super) struct Facts<'a> {
    pub(super) observed: &'a Observed,
    /// The new one, as far as it is done.
    pub(super) status: &'a PipelineStatus,
    pub(super) goal: &'a Goal,
    /// The worker that does what is wanted.
    pub(super) current: Option<&'a Worker<'a>>,
    pub(super) knowledge: &'a Knowledge,
    /// Why no pod can be made of this manifest.
    pub(super) refused: Option<&'a str>,
}

/// All five; those of `before` tell since when.
pub(super) fn conditions(facts: &Facts<'_>, before: &PipelineStatus) -> Vec<Condition> {
    let Facts { observed, status, goal, current, knowledge, refused } = *facts;
    let words = [
        accepted(goal, refused),
        ready(observed, status, goal, current),
        checkpoint_healthy(status, knowledge),
        commits_settled(status, goal),
        progressing(goal, current),
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

fn ready(observed: &Observed, status: &PipelineStatus, goal: &Goal, current: Option<&Worker<'_>>) -> Word {
    let not = |reason: &str, message: &str| word("Ready", "False", reason, message);
    if status.workers.ready > 0 {
        return word("Ready", "True", "Running", "the worker has its state and processes records");
    }
    match goal {
        Goal::Rest(Stop::Suspended) => not("Suspended", "spec.suspend is true; everything decided is visible"),
        Goal::Rest(Stop::Finished) => not("Finished", "every source has come to its end, and everything is committed"),
        Goal::Rest(Stop::Failed { reason, message }) => not(reason, message),
        Goal::Rest(Stop::Refused { message }) => not("Refused", message),
        Goal::Wait { .. } => not("WaitingToRestart", "the worker failed; the restart policy's delay is running"),
        Goal::Stopping(_) => not("Stopping", "the worker takes a last checkpoint and leaves"),
        Goal::Replace { .. } => not("Starting", "a worker is being made"),
        Goal::LetGo { left: Some(left) } => not("LeftBehind", left),
        Goal::LetGo { left: None } => not("Deleted", "everything decided is visible"),
        Goal::Have(_) => match current {
            Some(worker) => waiting(worker, observed),
            None => not("Starting", ""),
        },
    }
}

fn waiting(worker: &Worker<'_>, observed: &Observed) -> Word {
    let not = |reason: &str, message: &str| word("Ready", "False", reason, message);
    let verb = if observed.pipeline.spec.suspend { "Settling" } else { "Starting" };
    match (&worker.life, worker.state()) {
        (Life::Waiting(Some(obstacle)), _) => not("PodNotStarting", obstacle),
        (_, Some(WorkerState::Recovering)) => not("Recovering", "commits of the newest checkpoint are being finished"),
        (_, Some(WorkerState::Restarting)) => {
            let message = worker.report.as_ref().and_then(|report| report.attempts.last_reason.clone());
            not("Restarting", &message.unwrap_or_default())
        }
        _ => not(verb, "the worker has not said yet that it runs"),
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

fn commits_settled(status: &PipelineStatus, goal: &Goal) -> Word {
    let kind = "CommitsSettled";
    if let Goal::Rest(Stop::Failed { reason, message }) = goal
        && reason == "CommitLost"
    {
        return word(kind, "False", reason, message.as_str());
    }
    match status.pending_commits.first() {
        Some(pending) => {
            let error = pending.last_error.as_deref().unwrap_or("they take long");
            word(kind, "False", "CommitsPending", format!("sink `{}`: {error}", pending.sink))
        }
        None => word(kind, "True", "NoPendingCommits", ""),
    }
}

fn progressing(goal: &Goal, current: Option<&Worker<'_>>) -> Word {
    let kind = "Progressing";
    match goal {
        Goal::Rest(Stop::Failed { reason, message }) => word(kind, "False", reason, message.as_str()),
        Goal::Rest(Stop::Refused { message }) => word(kind, "False", "Refused", message.as_str()),
        Goal::Rest(_) | Goal::LetGo { .. } => word(kind, "True", "Settled", ""),
        Goal::Have(_) => match current.map(|worker| &worker.life) {
            Some(Life::Waiting(Some(obstacle))) => word(kind, "False", "PodNotStarting", obstacle.as_str()),
            _ => word(kind, "True", "Settled", ""),
        },
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
