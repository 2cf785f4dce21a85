//! `kubectl onceward suspend` and `resume`: one field of the spec, and what comes of it.

use api::pipeline::{Phase, Pipeline};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::DONE;
use crate::cli::AskArgs;
use crate::health::condition;
use crate::site::{Error, Site};
use crate::wait::{Look, is_seen, never, now_in_words, until};

/// Sets `spec.suspend` and waits until it is obeyed.
///
/// # Errors
/// [`Error::NotDone`], and those of requests.
pub(crate) async fn execute(site: &Site<'_>, suspend: bool, args: &AskArgs) -> Result<u8, Error> {
    let name = &args.name;
    let verb = if suspend { "suspend" } else { "resume" };
    let pipeline = site.pipeline(name).await?;
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Err(Error::NotDone(format!("cannot {verb} `{name}`: it is being deleted")));
    }
    // One field, which does not depend on what the others are.
    let patch = json!({ "spec": { "suspend": suspend } });
    let (pipelines, params, merge) = (site.pipelines(), PatchParams::default(), Patch::Merge(&patch));
    site.answer(&format!("{verb} `{name}`"), pipelines.patch(name, &params, &merge)).await?;
    let called = format!("{}/{name}", site.namespace);
    if args.no_wait {
        site.terminal.say(&format!("{called}: spec.suspend is {suspend}"))?;
        return Ok(DONE);
    }
    site.terminal.tell(&format!("{called}: spec.suspend is {suspend}"));
    let now_ms = site.now_ms();
    let said = until(site, name, args.timeout, |now| match now {
        None => Look::Never(format!("there is no Pipeline `{name}` any more")),
        Some(now) if now.spec.suspend != suspend => {
            Look::Never(format!("somebody else has set spec.suspend to {}", now.spec.suspend))
        }
        Some(now) => obeyed(now, suspend, now_ms),
    });
    let said = said.await?;
    site.terminal.say(&format!("{called}: {said}"))?;
    Ok(DONE)
}

fn obeyed(pipeline: &Pipeline, suspend: bool, now_ms: u64) -> Look {
    let now = now_in_words(pipeline, now_ms);
    let Some(status) = pipeline.status.as_ref().filter(|_| is_seen(pipeline)) else { return Look::NotYet(now) };
    let phase = status.phase.unwrap_or(Phase::Pending);
    let is_ready = condition(status, "Ready").is_some_and(|ready| ready.status == "True");
    match (suspend, phase) {
        (true, Phase::Suspended) => Look::Done("suspended; everything decided is visible".to_owned()),
        // There is nothing more to stop, or to start.
        (_, Phase::Finished) => Look::Done("finished".to_owned()),
        (false, Phase::Running) if is_ready => Look::Done("running".to_owned()),
        _ => never(phase, &[Phase::Failed, Phase::Deleting], now),
    }
}
