//! `kubectl onceward checkpoints`: those that the status names. What else the store holds is told by
//! `onceward checkpoints`, which can read it.

use api::pipeline::{Pipeline, PipelineStatus, Restored};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::DONE;
use crate::cli::{Output, ShowArgs};
use crate::layout::{bytes, completed, field, since, span};
use crate::site::{Error, Site};
use crate::terminal::say_all;

/// Shows them.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &ShowArgs) -> Result<u8, Error> {
    let pipeline = site.pipeline(&args.name).await?;
    let status = pipeline.status.clone().unwrap_or_default();
    match args.output {
        Output::Json => site.terminal.say(&as_json(&pipeline, &status).to_string())?,
        Output::Text => say_all(site.terminal, lines(&pipeline, &status, site.now_ms()))?,
    }
    Ok(DONE)
}

fn as_json(pipeline: &Pipeline, status: &PipelineStatus) -> Value {
    json!({
        "namespace": pipeline.metadata.namespace,
        "name": pipeline.metadata.name,
        "checkpoints": status.checkpoints,
        "checkpoint": status.actions.checkpoint,
        "savepoint": status.actions.savepoint,
    })
}

fn lines(pipeline: &Pipeline, status: &PipelineStatus, now_ms: u64) -> Vec<String> {
    let checkpoints = &status.checkpoints;
    let name = format!("{}/{}", pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let mut lines = field("Name", &name);
    lines.extend(field("Every", &span(pipeline.spec.checkpoint.interval.as_millis())));
    let mut section = |name: &str, text: &str, handle: Option<&str>| {
        lines.push(String::new());
        lines.extend(field(name, text));
        lines.extend(handle.into_iter().flat_map(|handle| field("  Handle", handle)));
    };
    match &checkpoints.last_completed {
        None => section("Newest", "none is completed yet", None),
        Some(last) => {
            let (took, size) = (span(last.duration_milliseconds), bytes(last.size_bytes));
            let done = completed(last.completed_time.as_deref(), now_ms);
            let what = format!("epoch {} of attempt {}, {done} in {took}, {size}", last.epoch, last.attempt);
            section("Newest", &what, Some(&last.handle));
        }
    }
    if let Some(failed) = &checkpoints.last_failed {
        let ago = since(&failed.failed_time, now_ms);
        let row = match checkpoints.consecutive_failures {
            0 => "and one was completed since".to_owned(),
            count => format!("{count} in a row"),
        };
        let (epoch, attempt, message) = (failed.epoch, failed.attempt, &failed.message);
        section("Failed", &format!("epoch {epoch} of attempt {attempt}, {ago} ago, {row}: {message}"), None);
    }
    if let Some(from) = &checkpoints.restored_from {
        section("Restored from", &decision(from), Some(&from.handle));
    }
    for (name, answer) in [("On request", &status.actions.checkpoint), ("Savepoint", &status.actions.savepoint)] {
        let Some(answer) = answer else { continue };
        let asked = format!("asked for {} ago", since(&answer.requested_at, now_ms));
        match &answer.taken {
            Some(taken) => section(name, &format!("{}, {asked}", decision(taken)), Some(&taken.handle)),
            None => section(name, &format!("{asked}, not taken: {}", answer.message.as_deref().unwrap_or("-")), None),
        }
    }
    lines.push(String::new());
    let hint = "these are the ones that the status names. All that the store holds: `onceward checkpoints FILE`, where the store \
                can be read; `dashboard` shows the last 180";
    lines.extend(field("Hint", hint));
    lines
}

fn decision(restored: &Restored) -> String {
    format!("epoch {} of attempt {}", restored.epoch, restored.attempt)
}
