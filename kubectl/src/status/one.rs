//! Everything about one Pipeline, in lines.

use std::fmt::Write as _;

use api::pipeline::{ActionStatus, Condition, Pipeline, PipelineStatus};
use kube::ResourceExt as _;

use super::tone;
use crate::health::{Judgement, condition};
use crate::layout::{Cell, Table, bytes, completed, field, since, span};
use crate::terminal::{Terminal, Tone};
use crate::transactions::owed;

/// The lines.
pub(crate) fn lines(pipeline: &Pipeline, judged: &Judgement, now_ms: u64, terminal: &dyn Terminal) -> Vec<String> {
    let status = pipeline.status.clone().unwrap_or_default();
    let mut lines = field("Name", &format!("{}/{}", pipeline.namespace().unwrap_or_default(), pipeline.name_any()));
    lines.extend(health(judged, terminal));
    lines.extend(field("Phase", &phase(pipeline, &status, now_ms)));
    lines.extend(field("Guarantee", if status.guarantee.is_empty() { "-" } else { &status.guarantee }));
    lines.extend(field("Workers", &workers(pipeline, &status)));
    lines.extend(checkpoint(pipeline, &status, now_ms));
    lines.extend(field("Commits", &commits(&status)));
    lines.extend(field("Restarts", &restarts(&status, now_ms)));
    lines.extend(requests(&status, now_ms));
    if !status.conditions.is_empty() {
        lines.push(String::new());
        lines.extend(conditions(&status, now_ms, terminal));
    }
    lines.push(String::new());
    lines.extend(sinks(pipeline, &status, now_ms, terminal));
    lines
}

fn health(judged: &Judgement, terminal: &dyn Terminal) -> Vec<String> {
    let word = judged.health.word();
    let mut lines = field("Health", word);
    for line in &mut lines {
        // Painted after it was laid out: escapes have no width.
        *line = line.replace(word, &terminal.paint(tone(judged.health), word));
    }
    let reasons = judged.reasons.iter().enumerate();
    lines.extend(reasons.flat_map(|(index, reason)| {
        let mut lines = field("Because", reason);
        if index > 0
            && let Some(first) = lines.first_mut()
        {
            *first = first.replacen("Because:", "        ", 1);
        }
        lines
    }));
    lines
}

fn phase(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64) -> String {
    let Some(phase) = status.phase else { return "-".to_owned() };
    let mut text = format!("{phase:?}");
    if let Some(ready) = condition(status, "Ready") {
        let word = if ready.status == "True" { "ready" } else { "not ready" };
        let _ = write!(text, ", {word} for {}", since(&ready.last_transition_time, now_ms));
    }
    if let (Some(newest), Some(seen)) = (pipeline.metadata.generation, status.observed_generation)
        && seen < newest
    {
        let _ = write!(text, "; of spec {seen}, the newest is {newest}");
    }
    text
}

fn workers(pipeline: &Pipeline, status: &PipelineStatus) -> String {
    let workers = &status.workers;
    let (spec, running) = (&pipeline.spec, status.parallelism);
    let mut text = format!("{}/{} ready", workers.ready, workers.desired);
    if workers.updated < workers.ready {
        text += ", of an older spec";
    }
    let _ = write!(text, "; parallelism {} of at most {}", spec.parallelism, spec.max_parallelism);
    if running != 0 && running != spec.parallelism {
        let _ = write!(text, ", {running} now");
    }
    text
}

fn checkpoint(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64) -> Vec<String> {
    let checkpoints = &status.checkpoints;
    let every = span(pipeline.spec.checkpoint.interval.as_millis());
    let Some(last) = &checkpoints.last_completed else {
        return field("Checkpoint", &format!("none yet; every {every}"));
    };
    let failed = match checkpoints.consecutive_failures {
        0 => "none failed since".to_owned(),
        count => format!("{count} failed since"),
    };
    let text = format!(
        "epoch {} of attempt {}, {} in {}, {}; every {every}, {failed}",
        last.epoch,
        last.attempt,
        completed(last.completed_time.as_deref(), now_ms),
        span(last.duration_milliseconds),
        bytes(last.size_bytes),
    );
    let mut lines = field("Checkpoint", &text);
    lines.extend(field("Handle", &last.handle));
    if let Some(from) = &checkpoints.restored_from {
        lines.extend(field("Restored", &format!("from epoch {} of attempt {}", from.epoch, from.attempt)));
    }
    lines
}

fn commits(status: &PipelineStatus) -> String {
    let settled = condition(status, "CommitsSettled");
    match (status.pending_committables, settled) {
        (0, Some(settled)) if settled.status == "True" => "settled: everything decided is visible".to_owned(),
        (0, Some(settled)) if settled.status == "False" => "not settled".to_owned(),
        (0, _) => "not known yet".to_owned(),
        (count, _) => format!("{count} pieces of output are decided and not visible yet"),
    }
}

fn restarts(status: &PipelineStatus, now_ms: u64) -> String {
    let restarts = &status.restarts;
    let mut text = restarts.total.to_string();
    let reasons: Vec<_> = restarts.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if !reasons.is_empty() {
        let _ = write!(text, " (pods replaced: {})", reasons.join(", "));
    }
    if let Some(last) = &restarts.last_time {
        let _ = write!(text, ", the last {} ago", since(last, now_ms));
    }
    if let Some(reason) = &restarts.last_reason {
        let _ = write!(text, ": {reason}");
    }
    if let Some(next) = &restarts.next_time {
        let _ = write!(text, "; the next start is at {next}");
    }
    text
}

/// What was asked for by annotation, and what came of it.
fn requests(status: &PipelineStatus, now_ms: u64) -> Vec<String> {
    let answered = |name: &str, answer: &Option<ActionStatus>| {
        let Some(answer) = answer else { return vec![] };
        let outcome = match (&answer.taken, &answer.message) {
            (Some(taken), _) => format!("epoch {} of attempt {}, {}", taken.epoch, taken.attempt, taken.handle),
            (None, message) => format!("not taken: {}", message.as_deref().unwrap_or("it is not said why")),
        };
        field(name, &format!("asked for {} ago: {outcome}", since(&answer.requested_at, now_ms)))
    };
    let mut lines = answered("On request", &status.actions.checkpoint);
    lines.extend(answered("Savepoint", &status.actions.savepoint));
    lines
}

fn conditions(status: &PipelineStatus, now_ms: u64, terminal: &dyn Terminal) -> Vec<String> {
    let mut table = Table::new(&[("CONDITION", 17), ("STATUS", 7), ("REASON", 20), ("SINCE", 6), ("MESSAGE", 42)]);
    for one in &status.conditions {
        table.row([
            one.kind.as_str().into(),
            Cell { text: one.status.clone(), tone: tone_of(one) },
            one.reason.as_str().into(),
            since(&one.last_transition_time, now_ms).into(),
            one.message.as_str().into(),
        ]);
    }
    table.lines(terminal)
}

/// `Ready` may be false for good reasons: the health says whether.
fn tone_of(condition: &Condition) -> Option<Tone> {
    match (condition.status.as_str(), condition.kind.as_str()) {
        ("True", _) => Some(Tone::Good),
        (_, "Ready") => None,
        ("False", _) => Some(Tone::Bad),
        _ => Some(Tone::Doubtful),
    }
}

fn sinks(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64, terminal: &dyn Terminal) -> Vec<String> {
    let mut table =
        Table::new(&[("SINK", 24), ("TARGET", 30), ("PENDING", 8), ("OLDEST", 7), ("TRIES", 5), ("TIMEOUT", 9)]);
    for sink in owed(pipeline, status) {
        let dash = || "-".to_owned();
        table.row([
            sink.name.into(),
            sink.target.into(),
            Cell { text: sink.pieces.to_string(), tone: (sink.pieces > 0).then_some(Tone::Doubtful) },
            sink.oldest.map_or_else(dash, |time| since(&time, now_ms)).into(),
            if sink.pieces == 0 { dash() } else { sink.tries.to_string() }.into(),
            sink.timeout_ms.map_or_else(dash, span).into(),
        ]);
    }
    table.lines(terminal)
}
