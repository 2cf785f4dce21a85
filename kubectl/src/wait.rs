//! `kubectl onceward wait`, and what every other verb waits with: a watch of one Pipeline, bounded in time.

use std::pin::pin;
use std::time::Duration;

use api::pipeline::{Phase, Pipeline};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;

use crate::DONE;
use crate::cli::{Awaited, WaitArgs};
use crate::health::{condition, judge};
use crate::layout::span;
use crate::requests::Action;
use crate::site::{Error, Site};
use crate::status::endured;

/// What a look at a Pipeline comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is so.
    Done(String),
    /// It will not be so by itself, and why.
    Never(String),
    /// Not yet; what it is like now.
    NotYet(String),
}

/// Waits until `look` is done; what it said. `look` is shown every change, and None where there is no such Pipeline.
///
/// # Errors
/// [`Error::NotDone`] in the end, or at once where nothing can come of it.
pub(crate) async fn until(
    site: &Site<'_>,
    name: &str,
    timeout: Duration,
    mut look: impl FnMut(Option<&Pipeline>) -> Look,
) -> Result<String, Error> {
    let mut last = String::new();
    let looked = tokio::time::timeout(timeout, async {
        let mut changes = pin!(watch_object(site.pipelines(), name).default_backoff().fuse());
        loop {
            let now = match changes.try_next().await {
                Ok(Some(now)) => now,
                Ok(None) => return Err(Error::NotDone("the watch has ended; ask again".to_owned())),
                Err(error) => {
                    endured(site, &error)?;
                    continue;
                }
            };
            match look(now.as_ref()) {
                Look::Done(text) => return Ok(text),
                Look::Never(why) => return Err(Error::NotDone(why)),
                Look::NotYet(text) if text != last => {
                    site.terminal.tell(&format!("waiting: {text}"));
                    last = text;
                }
                Look::NotYet(_) => {}
            }
        }
    });
    if let Ok(done) = looked.await {
        return done;
    }
    let timeout = span(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let last = if last.is_empty() { "nothing was heard of it".to_owned() } else { last };
    Err(Error::NotDone(format!(
        "not so within {timeout}: {last}; wait longer with --timeout, or see `kubectl onceward status {name}`"
    )))
}

/// Waits for one thing and says that it is so.
///
/// # Errors
/// [`Error::NotDone`], and those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &WaitArgs) -> Result<u8, Error> {
    let first = match args.what {
        Awaited::Deleted => None,
        _ => Some(site.pipeline(&args.name).await?),
    };
    let begun = first.as_ref().and_then(newest);
    let now_ms = site.now_ms();
    let said = until(site, &args.name, args.timeout, |now| match now {
        None if args.what == Awaited::Deleted => Look::Done("gone".to_owned()),
        None => Look::Never(format!("there is no Pipeline `{}` any more", args.name)),
        Some(now) => look(now, args.what, begun, now_ms),
    })
    .await?;
    site.terminal.say(&format!("{}/{}: {said}", site.namespace, args.name))?;
    Ok(DONE)
}

/// Attempt and epoch of the newest checkpoint.
fn newest(pipeline: &Pipeline) -> Option<(u64, u64)> {
    let last = pipeline.status.as_ref()?.checkpoints.last_completed.as_ref()?;
    Some((last.attempt, last.epoch))
}

fn look(pipeline: &Pipeline, what: Awaited, begun: Option<(u64, u64)>, now_ms: u64) -> Look {
    let Some(status) = pipeline.status.as_ref().filter(|_| is_seen(pipeline)) else {
        return Look::NotYet("the controller has not looked at the newest spec yet".to_owned());
    };
    let is_true = |kind: &str| condition(status, kind).is_some_and(|condition| condition.status == "True");
    let phase = status.phase.unwrap_or(Phase::Pending);
    let now = now_in_words(pipeline, now_ms);
    match what {
        Awaited::Ready if is_true("Ready") && status.workers.updated >= status.workers.desired => {
            Look::Done("ready".to_owned())
        }
        Awaited::Checkpoint => match newest(pipeline).filter(|newest| Some(*newest) > begun) {
            Some((attempt, epoch)) => Look::Done(format!("epoch {epoch} of attempt {attempt} is completed")),
            None => never(phase, &[Phase::Finished, Phase::Failed, Phase::Suspended, Phase::Deleting], now),
        },
        Awaited::Savepoint => savepoint(pipeline, phase, now),
        Awaited::Settled if is_true("CommitsSettled") && status.pending_committables == 0 => {
            Look::Done("everything decided is visible".to_owned())
        }
        Awaited::Settled if condition(status, "CommitsSettled").is_some_and(|one| one.reason == "CommitLost") => {
            Look::Never(now)
        }
        Awaited::Suspended if phase == Phase::Suspended => Look::Done("suspended".to_owned()),
        Awaited::Suspended if !pipeline.spec.suspend && phase != Phase::Suspending => {
            let name = pipeline.metadata.name.as_deref().unwrap_or_default();
            Look::Never(format!("nobody has asked for it: `kubectl onceward suspend {name}` does"))
        }
        Awaited::Finished if phase == Phase::Finished => Look::Done("finished".to_owned()),
        Awaited::Settled | Awaited::Deleted => Look::NotYet(now),
        Awaited::Ready | Awaited::Suspended => {
            never(phase, &[Phase::Finished, Phase::Failed, Phase::Suspended, Phase::Deleting], now)
        }
        Awaited::Finished => never(phase, &[Phase::Failed, Phase::Suspended, Phase::Deleting], now),
    }
}

fn savepoint(pipeline: &Pipeline, phase: Phase, now: String) -> Look {
    let Some(asked) = Action::Savepoint.asked(pipeline) else {
        let name = pipeline.metadata.name.as_deref().unwrap_or_default();
        return Look::Never(format!("nobody has asked for one: `kubectl onceward savepoint {name}` does"));
    };
    match Action::Savepoint.outcome(pipeline, &asked) {
        Some(Ok(taken)) => Look::Done(format!("savepoint {}", taken.handle)),
        Some(Err(why)) => Look::Never(why),
        None => never(phase, &[Phase::Finished, Phase::Failed, Phase::Deleting], now),
    }
}

/// In these phases nothing comes of it.
pub(crate) fn never(phase: Phase, ends: &[Phase], now: String) -> Look {
    if ends.contains(&phase) { Look::Never(now) } else { Look::NotYet(now) }
}

/// Whether the status is about the newest spec.
pub(crate) fn is_seen(pipeline: &Pipeline) -> bool {
    let seen = pipeline.status.as_ref().and_then(|status| status.observed_generation);
    seen >= pipeline.metadata.generation
}

/// Phase and the weightiest reason.
pub(crate) fn now_in_words(pipeline: &Pipeline, now_ms: u64) -> String {
    let phase = pipeline.status.as_ref().and_then(|status| status.phase);
    let phase = phase.map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"));
    match judge(pipeline, now_ms).reasons.into_iter().next() {
        Some(reason) => format!("it is {phase}: {reason}"),
        None => format!("it is {phase}"),
    }
}
