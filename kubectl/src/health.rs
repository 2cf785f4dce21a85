//! The one judgement of a Pipeline: is it as its manifest wants it?

use api::pipeline::{Condition, Phase, Pipeline, PipelineStatus};

use crate::layout::{ms_of, span};

/// Checkpoints that may be missing before that is said.
const MOST_MISSING: u64 = 5;
/// The controller tells of checkpoints every half a minute.
const TOLD_LATE_MS: u64 = 60_000;
/// A controller that is there looks at a new Pipeline within this.
const UNSEEN_MS: u64 = 10_000;

/// Better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As the manifest wants it: it runs, is suspended, or has finished.
    Healthy,
    /// Not yet, or not quite. Nothing is lost.
    Degraded,
    /// It will not go on by itself.
    Failed,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }

    /// Of `status`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => crate::DONE,
            Self::Degraded => crate::NOT_DONE,
            Self::Failed => crate::FAILED,
        }
    }
}

/// A judgement, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub health: Health,
    /// Sentences, the weightiest first; none of what is healthy.
    pub reasons: Vec<String>,
}

/// Judges by the status and the spec; asks nobody.
pub fn judge(pipeline: &Pipeline, now_ms: u64) -> Judgement {
    let mut found = Vec::new();
    let status = pipeline.status.clone().unwrap_or_default();
    if status.phase.is_some() {
        failures(&status, &mut found);
        doubts(pipeline, &status, now_ms, &mut found);
    } else {
        found.push((Health::Degraded, unseen(pipeline, now_ms)));
    }
    let health = found.iter().map(|(health, _)| *health).max().unwrap_or(Health::Healthy);
    found.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let mut reasons: Vec<String> = vec![];
    for (_, reason) in found {
        // Several conditions may say the same.
        if !reasons.iter().any(|said| said.ends_with(&reason) || reason.is_empty()) {
            reasons.push(reason);
        }
    }
    Judgement { health, reasons }
}

/// A condition by its type.
pub(crate) fn condition<'a>(status: &'a PipelineStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn unseen(pipeline: &Pipeline, now_ms: u64) -> String {
    let made_ms = pipeline.metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
    let made_ms = made_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(now_ms);
    let text = "no controller has looked at it yet";
    if now_ms.saturating_sub(made_ms) < UNSEEN_MS {
        return text.to_owned();
    }
    format!("{text}: is one installed, and does it watch this namespace? `kubectl onceward version` shows it")
}

fn failures(status: &PipelineStatus, found: &mut Vec<(Health, String)>) {
    let mut say = |condition: &Condition| found.push((Health::Failed, words(condition)));
    if let Some(refused) = condition(status, "Accepted").filter(|accepted| accepted.status == "False") {
        say(refused);
    }
    if let Some(lost) = condition(status, "CommitsSettled").filter(|settled| settled.reason == "CommitLost") {
        say(lost);
    }
    let Some(ready) = condition(status, "Ready") else { return };
    if status.phase == Some(Phase::Failed) || ready.reason == "LeftBehind" {
        say(ready);
    }
}

fn doubts(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64, found: &mut Vec<(Health, String)>) {
    let mut doubt = |text: String| found.push((Health::Degraded, text));
    if status.observed_generation < pipeline.metadata.generation {
        doubt("the controller has not looked at the newest spec yet".to_owned());
    }
    let ready = condition(status, "Ready");
    let is_ready = ready.is_some_and(|ready| ready.status == "True");
    match status.phase {
        Some(Phase::Running) if is_ready => {
            if let Some(text) = overdue(pipeline, status, now_ms) {
                doubt(text);
            }
        }
        Some(Phase::Suspended | Phase::Finished | Phase::Failed) | None => {}
        Some(phase) => {
            let text = ready.map(words).filter(|text| !text.is_empty());
            doubt(text.unwrap_or_else(|| format!("it is {phase:?}")));
        }
    }
    for kind in ["CheckpointHealthy", "CommitsSettled", "Progressing"] {
        let Some(condition) = condition(status, kind) else { continue };
        // No checkpoint yet is no fault; not to know whether everything is visible is.
        if condition.status == "False" || condition.status == "Unknown" && kind == "CommitsSettled" {
            doubt(words(condition));
        }
    }
}

/// Of one that runs: whether checkpoints should have been told of by now.
fn overdue(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64) -> Option<String> {
    let last = status.checkpoints.last_completed.as_ref().and_then(|last| last.completed_time.as_deref());
    let began = condition(status, "Ready").map(|ready| ready.last_transition_time.as_str());
    let since_ms = [last, began].into_iter().flatten().filter_map(ms_of).max()?;
    let checkpoint = &pipeline.spec.checkpoint;
    let patience_ms = MOST_MISSING * checkpoint.interval.as_millis() + checkpoint.timeout.as_millis() + TOLD_LATE_MS;
    let late_ms = now_ms.saturating_sub(since_ms);
    (late_ms > patience_ms).then(|| {
        format!("no checkpoint was told of for {}: none is completed, or no controller is at work", span(late_ms))
    })
}

/// `Reason: message`.
fn words(condition: &Condition) -> String {
    match (condition.reason.as_str(), condition.message.as_str()) {
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}
