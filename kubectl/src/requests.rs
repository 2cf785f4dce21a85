//! `kubectl onceward checkpoint`, `savepoint` and `restart`: a time in an annotation names the request, and the controller
//! answers in the status.

use api::names;
use api::pipeline::{ActionStatus, Phase, Pipeline, Restored};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::DONE;
use crate::cli::AskArgs;
use crate::health::condition;
use crate::layout::time_of;
use crate::site::{Error, Site};
use crate::wait::{Look, is_seen, never, now_in_words, until};

/// Somebody else may write between reading and writing: the controller does, every half a minute.
const MOST_TRIES: u32 = 5;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Checkpoint,
    Savepoint,
    Restart,
}

impl Action {
    fn annotation(self) -> &'static str {
        match self {
            Self::Checkpoint => names::CHECKPOINT_REQUESTED_AT,
            Self::Savepoint => names::SAVEPOINT_REQUESTED_AT,
            Self::Restart => names::RESTART_REQUESTED_AT,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Savepoint => "savepoint",
            Self::Restart => "restart",
        }
    }

    /// The newest request, obeyed or not.
    pub(crate) fn asked(self, pipeline: &Pipeline) -> Option<String> {
        let annotation = pipeline.annotations().get(self.annotation()).filter(|text| moment(text).is_some());
        annotation.cloned().into_iter().chain(self.answered(pipeline)).max_by_key(|text| moment(text))
    }

    /// The newest request that the status has an answer to.
    fn answered(self, pipeline: &Pipeline) -> Option<String> {
        match self {
            Self::Restart => pipeline.status.as_ref()?.actions.restart_requested_at.clone(),
            Self::Checkpoint | Self::Savepoint => Some(self.answer(pipeline)?.requested_at.clone()),
        }
    }

    fn answer(self, pipeline: &Pipeline) -> Option<&ActionStatus> {
        let actions = &pipeline.status.as_ref()?.actions;
        match self {
            Self::Checkpoint => actions.checkpoint.as_ref(),
            Self::Savepoint => actions.savepoint.as_ref(),
            Self::Restart => None,
        }
    }

    /// What came of the request of this time, or of one that was made later; None: nothing yet.
    pub(crate) fn outcome(self, pipeline: &Pipeline, asked: &str) -> Option<Result<Restored, String>> {
        let answer = self.answer(pipeline).filter(|answer| moment(&answer.requested_at) >= moment(asked))?;
        Some(answer.taken.clone().ok_or_else(|| {
            let why = answer.message.as_deref().unwrap_or("the status does not say why");
            format!("the {} is not taken: {why}", self.word())
        }))
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Asks, and waits for what comes of it. A checkpoint's handle is the answer on standard output.
///
/// # Errors
/// [`Error::NotDone`], and those of requests.
pub(crate) async fn execute(site: &Site<'_>, action: Action, args: &AskArgs) -> Result<u8, Error> {
    let asked = ask(site, action, args).await?;
    let name = format!("{}/{}", site.namespace, args.name);
    if args.no_wait {
        site.terminal.say(&format!("{name}: {} asked for", action.word()))?;
        return Ok(DONE);
    }
    site.terminal.tell(&format!("{name}: {} asked for", action.word()));
    let now_ms = site.now_ms();
    let said = until(site, &args.name, args.timeout, |now| match now {
        None => Look::Never(format!("there is no Pipeline `{}` any more", args.name)),
        Some(now) if action == Action::Restart => restarted(now, &asked, now_ms),
        Some(now) => taken(now, action, &asked, now_ms),
    });
    site.terminal.say(&said.await?)?;
    Ok(DONE)
}

/// Writes the annotation, on top of what was read: two who ask at once do not undo each other. The request's time.
async fn ask(site: &Site<'_>, action: Action, args: &AskArgs) -> Result<String, Error> {
    let what = format!("ask for a {} of `{}`", action.word(), args.name);
    for _ in 0..MOST_TRIES {
        let pipeline = site.pipeline(&args.name).await?;
        refuse_what_is_in_vain(&pipeline, action, args.no_wait)?;
        let time = newer(site.now_ms(), action.asked(&pipeline).as_deref());
        let patch = annotation(&pipeline, action, &time);
        let pipelines = site.pipelines();
        let params = PatchParams::default();
        let merge = Patch::Merge(&patch);
        match site.answer(&what, pipelines.patch(&args.name, &params, &merge)).await {
            Ok(_) => return Ok(time),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict { what })
}

fn annotation(pipeline: &Pipeline, action: Action, time: &str) -> Value {
    json!({ "metadata": {
        "resourceVersion": pipeline.metadata.resource_version,
        "annotations": { action.annotation(): time },
    } })
}

/// A time that is newer than the last request's, whosever clock that was.
fn newer(now_ms: u64, last: Option<&str>) -> String {
    let last_ms = last.and_then(moment).and_then(|last| u64::try_from(last.as_millisecond()).ok());
    time_of(now_ms.max(last_ms.map_or(0, |last_ms| last_ms.saturating_add(1))))
}

fn refuse_what_is_in_vain(pipeline: &Pipeline, action: Action, no_wait: bool) -> Result<(), Error> {
    let Some(phase) = pipeline.status.as_ref().and_then(|status| status.phase) else { return Ok(()) };
    let name = pipeline.name_any();
    let word = action.word();
    let why = match (phase, action) {
        (Phase::Deleting, _) => format!("`{name}` is being deleted"),
        (Phase::Finished, _) => format!("`{name}` has finished: everything is committed, and nothing runs"),
        (Phase::Failed, Action::Checkpoint | Action::Savepoint) => {
            format!("`{name}` has failed, and nothing runs; `kubectl onceward restart {name}` starts it again")
        }
        (Phase::Suspended | Phase::Suspending, Action::Restart) => {
            format!("`{name}` is suspended; `kubectl onceward resume {name}` starts it")
        }
        (Phase::Suspended | Phase::Suspending, Action::Checkpoint | Action::Savepoint) if !no_wait => {
            format!(
                "`{name}` is suspended, and nothing runs; resume it first, or leave the request for then with --no-wait"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::NotDone(format!("no {word} was asked for: {why}")))
}

fn taken(pipeline: &Pipeline, action: Action, asked: &str, now_ms: u64) -> Look {
    match action.outcome(pipeline, asked) {
        Some(Ok(taken)) => Look::Done(taken.handle),
        Some(Err(why)) => Look::Never(why),
        None => {
            let phase = pipeline.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending);
            never(
                phase,
                &[Phase::Finished, Phase::Failed, Phase::Suspended, Phase::Deleting],
                now_in_words(pipeline, now_ms),
            )
        }
    }
}

fn restarted(pipeline: &Pipeline, asked: &str, now_ms: u64) -> Look {
    let obeyed = Action::Restart.answered(pipeline).as_deref().and_then(moment) >= moment(asked);
    let now = now_in_words(pipeline, now_ms);
    let Some(status) = pipeline.status.as_ref().filter(|_| obeyed && is_seen(pipeline)) else {
        return Look::NotYet(format!("{now}; the controller has not seen the request yet"));
    };
    let is_ready = condition(status, "Ready").is_some_and(|ready| ready.status == "True");
    // The worker of before runs on until its last checkpoint, and is none of the newest configuration.
    if is_ready && status.workers.updated > 0 {
        return Look::Done(format!("{}: restarted", pipeline.name_any()));
    }
    let phase = status.phase.unwrap_or(Phase::Pending);
    never(phase, &[Phase::Finished, Phase::Failed, Phase::Deleting], now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_newer_than_the_last_one_whatever_the_clocks_say() {
        let now_ms = crate::layout::ms_of("2026-01-01T10:00:00Z").expect("a time");
        assert_eq!(newer(now_ms, None), "2026-01-01T10:00:00Z");
        assert_eq!(newer(now_ms, Some("2025-01-01T10:00:00Z")), "2026-01-01T10:00:00Z");
        assert_eq!(newer(now_ms, Some("2026-01-01T10:00:00Z")), "2026-01-01T10:00:00.001Z");
        assert_eq!(newer(now_ms, Some("2027-01-01T12:00:00+02:00")), "2027-01-01T10:00:00.001Z");
    }
}
