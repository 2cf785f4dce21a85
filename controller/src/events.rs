//! What becomes an event of a Pipeline: the difference of two statuses. Plain; published after the newer one was written.

use api::pipeline::{ActionStatus, Condition, Phase, PipelineStatus};

use crate::status::restarts::{REASONS, REQUESTED, SPEC_CHANGED};

/// So many failed checkpoints in a row are worth an event; one that fails now and then is not.
pub(crate) const WORTH_TELLING: u32 = 3;
/// Kubernetes takes 1 kB.
const MOST_NOTE_BYTES: usize = 1_000;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub is_warning: bool,
    /// One word for programs.
    pub reason: &'static str,
    /// What was being done.
    pub action: &'static str,
    pub note: String,
}

/// What has happened between two statuses. Bounded: each kind comes at most once, workers that ended once for each reason.
pub fn events(before: &PipelineStatus, after: &PipelineStatus) -> Vec<Told> {
    let mut all = of_workers(before, after);
    all.extend(of_the_end(before, after));
    all.extend(of_conditions(before, after));
    let actions = [
        (
            before.actions.checkpoint.as_ref(),
            after.actions.checkpoint.as_ref(),
            ("CheckpointTaken", "CheckpointNotTaken"),
        ),
        (before.actions.savepoint.as_ref(), after.actions.savepoint.as_ref(), ("SavepointTaken", "SavepointNotTaken")),
    ];
    all.extend(actions.into_iter().filter_map(|(before, after, reasons)| of_action(before, after, reasons)));
    for told in &mut all {
        told.note.truncate(told.note.floor_char_boundary(MOST_NOTE_BYTES));
    }
    all
}

fn normal(reason: &'static str, action: &'static str, note: impl Into<String>) -> Told {
    Told { is_warning: false, reason, action, note: note.into() }
}

fn warning(reason: &'static str, action: &'static str, note: impl Into<String>) -> Told {
    Told { is_warning: true, ..normal(reason, action, note) }
}

fn of_workers(before: &PipelineStatus, after: &PipelineStatus) -> Vec<Told> {
    let mut all = vec![];
    let last = after.restarts.last_reason.clone().unwrap_or_default();
    let count = |status: &PipelineStatus, reason: &str| status.restarts.reasons.get(reason).copied().unwrap_or(0);
    // What went wrong is the action, too: events of one reason and action are counted in the first of them.
    for reason in REASONS.into_iter().filter(|reason| count(after, reason) > count(before, reason)) {
        all.push(match reason {
            SPEC_CHANGED | REQUESTED => {
                normal("WorkerReplaced", reason, format!("{reason}: the worker takes a last checkpoint first"))
            }
            "Evicted" | "NodeLost" | "Disrupted" => warning("WorkerDisrupted", reason, last.as_str()),
            _ => warning("WorkerFailed", reason, last.as_str()),
        });
    }
    if after.restarts.attempts.total > before.restarts.attempts.total {
        all.push(warning("AttemptFailed", "Run", format!("the worker begins anew by itself: {last}")));
    }
    if after.workers.serial > before.workers.serial {
        all.push(normal("WorkerMade", "Create", "a pod for the worker"));
    }
    all
}

fn of_the_end(before: &PipelineStatus, after: &PipelineStatus) -> Option<Told> {
    if before.phase == after.phase {
        return None;
    }
    let ready = condition(after, "Ready");
    match after.phase? {
        Phase::Suspended => Some(normal("Suspended", "Suspend", "everything decided is visible")),
        Phase::Finished => Some(normal("Finished", "Run", "every source has come to its end, everything is committed")),
        Phase::Failed => {
            let why = ready.map(|ready| (ready.reason.as_str(), ready.message.clone()));
            let (reason, message) = why.unwrap_or_default();
            Some(match reason {
                "CommitLost" => warning("CommitLost", "Commit", message),
                "RestartLimitReached" | "RestartsExhausted" => warning("RestartLimitReached", "Run", message),
                other => warning("PipelineFailed", "Run", format!("{other}: {message}")),
            })
        }
        Phase::Pending | Phase::Starting | Phase::Running | Phase::Restarting | Phase::Suspending | Phase::Deleting => {
            None
        }
    }
}

fn of_conditions(before: &PipelineStatus, after: &PipelineStatus) -> Vec<Told> {
    let is_new = |kind: &str, status: &str, reason: Option<&str>| {
        let is_it = |found: &&Condition| found.status == status && reason.is_none_or(|reason| found.reason == reason);
        let now = condition(after, kind).filter(is_it)?;
        let is_known = condition(before, kind).as_ref().is_some_and(is_it);
        (!is_known).then(|| now.message.clone())
    };
    let mut all = vec![];
    if let Some(message) = is_new("Accepted", "False", None) {
        all.push(warning("Refused", "Accept", message));
    }
    if let Some(message) = is_new("Progressing", "False", Some("PodNotStarting")) {
        all.push(warning("PodNotStarting", "Create", message));
    }
    if let Some(message) = is_new("Progressing", "False", Some("PodNotCreated")) {
        all.push(warning("PodNotCreated", "Create", message));
    }
    for reason in ["CommitsPending", "CommitsUnknown"] {
        if let Some(message) = is_new("CommitsSettled", "False", Some(reason)) {
            all.push(warning("CommitsPending", "Commit", message));
        }
    }
    if condition(before, "CommitsSettled").is_some_and(|known| known.status != "True")
        && is_new("CommitsSettled", "True", None).is_some()
    {
        all.push(normal("CommitsSettled", "Commit", "everything decided is visible"));
    }
    if let Some(message) = is_new("Ready", "False", Some("LeftBehind")) {
        all.push(warning("LeftBehind", "Delete", message));
    }
    let failures = |status: &PipelineStatus| status.checkpoints.consecutive_failures;
    if failures(before) < WORTH_TELLING && failures(after) >= WORTH_TELLING {
        let why = after.checkpoints.last_failed.as_ref().map(|failed| failed.message.clone());
        let note = format!("{WORTH_TELLING} and more in a row; the last: {}", why.unwrap_or_default());
        all.push(warning("CheckpointsFail", "Checkpoint", note));
    }
    all
}

fn of_action(
    before: Option<&ActionStatus>,
    after: Option<&ActionStatus>,
    (taken, not_taken): (&'static str, &'static str),
) -> Option<Told> {
    let answer = after.filter(|_| before != after)?;
    Some(match &answer.taken {
        Some(checkpoint) => normal(taken, "Checkpoint", checkpoint.handle.clone()),
        None => warning(not_taken, "Checkpoint", answer.message.clone().unwrap_or_default()),
    })
}

fn condition<'a>(status: &'a PipelineStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}
