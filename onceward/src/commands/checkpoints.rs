//! `onceward checkpoints`: what a pipeline could be restored from, and whether it could.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::clock::SystemRandom;
use runtime::coordinator::inspect::{CheckpointSummary, LogSummary, inspect};
use runtime::store::LocalStore;
use serde_json::json;

use super::{DONE, Error, FAILED, REFUSED, io, manifest};
use crate::cli::{CheckpointsArgs, Output};
use crate::screen::{Screen, Style, thousands, with_causes};

/// Lists the checkpoints, newest first; exit code 1 if something is damaged, 2 if there is no such manifest.
///
/// # Errors
/// A store that does not answer, [`Error::Gone`].
pub fn execute(args: &CheckpointsArgs, screen: Screen) -> Result<u8, Error> {
    let Some(path) = store_path(&args.target, screen)? else { return Ok(REFUSED) };
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().map_err(io("start threads"))?;
    let store = Arc::new(LocalStore::new(&path, Arc::new(SystemRandom)));
    let summary = threads.block_on(inspect(store, args.verify));
    let Some(log) = summary.map_err(|error| Error::Other(with_causes(&error)))? else {
        if args.output == Output::Text {
            screen.say(format!("no checkpoints in {}", path.display()))?;
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

/// The store of a manifest, or a store's own folder; `None` if the manifest was refused.
fn store_path(target: &Path, screen: Screen) -> Result<Option<PathBuf>, Error> {
    let folder = target.to_str().and_then(|text| text.strip_prefix("file://")).map_or(target, Path::new);
    if folder.is_dir() {
        return std::path::absolute(folder).map(Some).map_err(io(format!("find the folder {}", folder.display())));
    }
    let loaded = manifest::load(target, &[])?;
    manifest::show(&loaded.findings, screen);
    Ok(loaded.manifest.map(|manifest| PathBuf::from(manifest.pipeline.spec.checkpoint.storage.local.path)))
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
