//! `kubectl onceward transactions`: decided output that is not visible yet, by sink, as the status has it. What is open
//! in the brokers themselves is asked of them by `onceward transactions`.

use api::pipeline::{Pipeline, PipelineStatus, SinkTarget};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::DONE;
use crate::cli::{Output, ShowArgs};
use crate::health::condition;
use crate::layout::{Cell, Table, field, ms_of, since, span, time_of};
use crate::site::{Error, Site};
use crate::terminal::{Tone, say_all};

/// What one sink owes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) name: String,
    /// Where it writes, for people.
    pub(crate) target: String,
    /// How long the broker keeps a transaction, where the manifest says so.
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) pieces: u64,
    /// The newest of the checkpoints that decided them: attempt and epoch.
    pub(crate) decision: Option<(u64, u64)>,
    /// When the oldest was decided; RFC 3339.
    pub(crate) oldest: Option<String>,
    pub(crate) tries: u32,
    pub(crate) last_error: Option<String>,
}

impl Owed {
    /// When the broker may abort what is not committed by then: the transaction began before its decision, so it may be
    /// earlier.
    fn deadline(&self) -> Option<String> {
        Some(time_of(ms_of(self.oldest.as_deref()?)?.saturating_add(self.timeout_ms?)))
    }
}

/// Every sink of the spec in its order, and then what is owed by all together or by sinks of before.
pub(crate) fn owed(pipeline: &Pipeline, status: &PipelineStatus) -> Vec<Owed> {
    let mut all: Vec<Owed> = pipeline
        .spec
        .sinks
        .iter()
        .map(|sink| {
            let (target, timeout) = match sink.target() {
                Some(SinkTarget::Kafka(kafka)) => (format!("Kafka topic {}", kafka.topic), kafka.transaction_timeout),
                Some(SinkTarget::Files(files)) => (format!("files {}", files.path), None),
                Some(SinkTarget::Discard(_)) => ("nowhere".to_owned(), None),
                None => ("-".to_owned(), None),
            };
            let timeout_ms = timeout.map(api::pipeline::Duration::as_millis);
            Owed { name: sink.name.clone(), target, timeout_ms, ..Owed::default() }
        })
        .collect();
    for pending in &status.pending_commits {
        let name = if pending.sink.is_empty() { "(all sinks)" } else { &pending.sink };
        let index = all.iter().position(|one| one.name == name).unwrap_or_else(|| {
            all.push(Owed { name: name.to_owned(), target: "-".to_owned(), ..Owed::default() });
            all.len() - 1
        });
        let Some(one) = all.get_mut(index) else { continue };
        one.pieces = one.pieces.saturating_add(pending.committables);
        one.tries = one.tries.max(pending.attempts);
        one.decision = one.decision.max(Some((pending.attempt, pending.epoch)));
        let is_older = one.oldest.as_ref().is_none_or(|oldest| ms_of(&pending.since_time) < ms_of(oldest));
        if is_older {
            one.oldest = Some(pending.since_time.clone());
        }
        one.last_error = pending.last_error.clone().or(one.last_error.take());
    }
    all
}

/// Shows them.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &ShowArgs) -> Result<u8, Error> {
    let pipeline = site.pipeline(&args.name).await?;
    let status = pipeline.status.clone().unwrap_or_default();
    let owed = owed(&pipeline, &status);
    match args.output {
        Output::Json => site.terminal.say(&as_json(&pipeline, &status, &owed).to_string())?,
        Output::Text => say_all(site.terminal, lines(site, &pipeline, &status, &owed))?,
    }
    Ok(DONE)
}

fn as_json(pipeline: &Pipeline, status: &PipelineStatus, owed: &[Owed]) -> Value {
    let sinks = owed.iter().map(|one| {
        json!({
            "sink": one.name, "target": one.target, "pending": one.pieces, "tries": one.tries, "sinceTime": one.oldest,
            "attempt": one.decision.map(|(attempt, _)| attempt), "epoch": one.decision.map(|(_, epoch)| epoch),
            "transactionTimeoutMilliseconds": one.timeout_ms, "deadline": one.deadline(), "lastError": one.last_error,
        })
    });
    json!({
        "namespace": pipeline.metadata.namespace,
        "name": pipeline.metadata.name,
        "commitsSettled": condition(status, "CommitsSettled").map(|settled| settled.status.clone()),
        "pending": status.pending_committables,
        "sinks": sinks.collect::<Vec<_>>(),
    })
}

fn lines(site: &Site<'_>, pipeline: &Pipeline, status: &PipelineStatus, owed: &[Owed]) -> Vec<String> {
    let now_ms = site.now_ms();
    let settled = condition(status, "CommitsSettled");
    let verdict = match settled.map(|settled| (settled.status.as_str(), settled.message.as_str())) {
        Some(("True", _)) if status.pending_committables == 0 => "settled: everything decided is visible".to_owned(),
        Some((_, message)) if !message.is_empty() => message.to_owned(),
        Some(_) | None => "not known yet".to_owned(),
    };
    let name = format!("{}/{}", pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let mut lines = field("Name", &name);
    lines.extend(field("Commits", &verdict));
    lines.push(String::new());
    let mut table = Table::new(&[
        ("SINK", 20),
        ("TARGET", 22),
        ("PENDING", 7),
        ("DECIDED BY", 12),
        ("AGE", 6),
        ("TRIES", 5),
        ("DEADLINE", 13),
    ]);
    for one in owed {
        let dash = || "-".to_owned();
        let left = one.deadline().as_deref().and_then(ms_of).map(|deadline_ms| match deadline_ms.checked_sub(now_ms) {
            Some(left_ms) => format!("in {}", span(left_ms)),
            None => "over".to_owned(),
        });
        table.row([
            one.name.as_str().into(),
            one.target.as_str().into(),
            Cell { text: one.pieces.to_string(), tone: (one.pieces > 0).then_some(Tone::Doubtful) },
            one.decision.map_or_else(dash, |(attempt, epoch)| format!("{attempt}/{epoch}")).into(),
            one.oldest.as_deref().map_or_else(dash, |time| since(time, now_ms)).into(),
            if one.pieces == 0 { dash() } else { one.tries.to_string() }.into(),
            left.unwrap_or_else(dash).into(),
        ]);
    }
    lines.extend(table.lines(site.terminal));
    let errors = owed.iter().filter_map(|one| Some((&one.name, one.last_error.as_ref()?)));
    for (name, error) in errors {
        lines.push(String::new());
        lines.extend(field("Last error", &format!("sink `{name}`: {error}")));
    }
    if status.pending_committables > 0 {
        lines.push(String::new());
        let hint = "commits are tried again until they succeed. What the brokers know of them: `onceward transactions list \
                    FILE`, with the manifest's file and its secrets";
        lines.extend(field("Hint", hint));
    }
    lines
}
