//! `onceward checkpoints`: what a pipeline could be restored from, and whether it could.

use std::path::Path;
use std::sync::Arc;

use runtime::clock::{SystemClock, SystemRandom};
use runtime::coordinator::inspect::{CheckpointSummary, LogSummary, inspect};
use runtime::secrets::Secrets;
use runtime::store::Place;
use serde_json::json;

use super::settle::block_on;
use super::{DONE, Error, FAILED, REFUSED, io, manifest};
use crate::cli::{CheckpointsArgs, Output, secrets_dir};
use crate::screen::{Screen, Style, thousands, with_causes};

/// Lists the checkpoints, newest first; exit code 1 if something is damaged, 2 if there is no such manifest.
///
/// # Errors
/// [`Error::Gone`], threads that cannot be had.
pub fn execute(args: &CheckpointsArgs, screen: Screen) -> Result<u8, Error> {
    let Some(place) = place(args, screen)? else { return Ok(REFUSED) };
    let store = match place.open(Arc::new(SystemClock), Arc::new(SystemRandom)) {
        Ok(store) => store,
        Err(error) => return Ok(refuse(&error, screen)),
    };
    // A bucket's client lives in these threads, as long as its answers are read.
    let summary = block_on(inspect(store, args.verify))?;
    let Some(log) = summary.map_err(|error| Error::Other(with_causes(&error)))? else {
        if args.output == Output::Text {
            screen.say(format!("no checkpoints in {place}"))?;
        }
        return Ok(DONE);
    };
    let shown = match args.output {
        Output::Json => show_json(&log, screen),
        Output::Text => show_text(&log, args.verify, screen),
    };
    let code = if log.faults.is_empty() { DONE } else { FAILED };
    for fault in &log.faults {
        screen.fault(format!("{}: {}", fault.address, fault.reason));
    }
    shown.map_err(|error| error.or(code))?;
    Ok(code)
}

fn refuse(error: &dyn std::error::Error, screen: Screen) -> u8 {
    screen.fault(with_causes(error));
    REFUSED
}

/// The store of a manifest, or a store's own folder; `None` if the manifest was refused.
fn place(args: &CheckpointsArgs, screen: Screen) -> Result<Option<Place>, Error> {
    let target = &args.target;
    let in_bucket = |text: &str| ["s3://", "gs://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if target.to_str().is_some_and(in_bucket) {
        screen.fault("a bucket is found through a manifest, which knows endpoint and credentials; name that instead");
        return Ok(None);
    }
    let folder = target.to_str().and_then(|text| text.strip_prefix("file://")).map_or(target.as_path(), Path::new);
    if folder.is_dir() {
        let absolute = std::path::absolute(folder);
        return absolute
            .map(|path| Some(Place::Local(path)))
            .map_err(io(format!("find the folder {}", folder.display())));
    }
    let loaded = manifest::load(target, &[])?;
    manifest::show(&loaded.findings, screen);
    let Some(manifest) = loaded.manifest else { return Ok(None) };
    let secrets = Secrets::new(secrets_dir(target, args.secrets_dir.as_deref()));
    match Place::of(&manifest.pipeline.spec.checkpoint.storage, &secrets) {
        Ok(place) => Ok(Some(place)),
        Err(error) => {
            refuse(&error, screen);
            Ok(None)
        }
    }
}

fn show_json(log: &LogSummary, screen: Screen) -> Result<(), Error> {
    for checkpoint in &log.checkpoints {
        // Numbers, strings and enums: this cannot fail.
        screen.say(serde_json::to_string(checkpoint).unwrap_or_default())?;
    }
    for fault in &log.faults {
        screen.say(json!({"fault": fault.reason, "address": fault.address}).to_string())?;
    }
    Ok(())
}

fn show_text(log: &LogSummary, verified: bool, screen: Screen) -> Result<(), Error> {
    let state = if log.finished { ", finished" } else { "" };
    screen.say(format!("pipeline {}, log {}, {} attempts{state}", log.pipeline_id, log.log, log.attempts))?;
    for checkpoint in &log.checkpoints {
        screen.say(line(checkpoint))?;
    }
    if verified && log.faults.is_empty() {
        screen.say(screen.paint(Style::Good, "every record, manifest and part is as it was written"))?;
    }
    Ok(())
}

fn line(checkpoint: &CheckpointSummary) -> String {
    let CheckpointSummary { handle, attempt, epoch, .. } = checkpoint;
    let state = match (checkpoint.settled, checkpoint.finished) {
        (true, true) => "settled, last",
        (true, false) => "settled",
        (false, _) => "commits pending",
    };
    format!(
        "attempt {attempt:<4} epoch {epoch:<6} read {:<14} out {:<12} {:>12} bytes  {state:<15}  {handle}",
        thousands(checkpoint.rows_in),
        thousands(checkpoint.rows_out),
        thousands(checkpoint.size_bytes)
    )
}
