//! `onceward worker`: one pipeline in a pod. What it does is served while it lives, and written down when it ends.

use std::sync::Arc;

use api::pipeline::Pipeline;
use api::report::WorkerState;
use checkpoint::ids::{Attempt, Epoch};
use runtime::clock::SystemClock;
use runtime::report::{About, Reporting};
use runtime::run::{AcceptLoss, Control, Observer, Outcome, RunOptions, StartFrom, stop_channel};
use runtime::{crashpoint, tasks};

use self::last_words::LastWords;
use self::narrator::Narrator;
use super::signals::Signals;
use super::{Error, FAILED, REFUSED, io, manifest};
use crate::cli::{Purpose, WorkerArgs, secrets_dir};
use crate::screen::with_causes;

mod last_words;
mod narrator;

/// Runs the pipeline until it ends or is stopped; everything is told by the log and the report.
///
/// # Errors
/// None: a worker that cannot start is told like one that fails.
pub fn execute(args: &WorkerArgs) -> Result<u8, Error> {
    let about = About { version: env!("CARGO_PKG_VERSION").to_owned(), configuration: args.configuration.clone() };
    let report = Arc::new(Reporting::new(about, Arc::new(SystemClock), Arc::new(Narrator)));
    let _last_words = LastWords { file: args.termination_log.as_deref(), report: Arc::clone(&report) };
    Ok(work(args, &report).unwrap_or_else(|error| {
        let message = with_causes(&error);
        tracing::error!("{message}");
        report.ended(WorkerState::Failed, "CannotStart", &message);
        FAILED
    }))
}

fn work(args: &WorkerArgs, report: &Arc<Reporting>) -> Result<u8, Error> {
    if let Err(error) = crashpoint::arm_from_environment() {
        return Ok(refuse(report, &format!("{}: {error}", crashpoint::VARIABLE)));
    }
    let loaded = match manifest::load(&args.pipeline, &[]) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(refuse(report, &with_causes(&error))),
    };
    let Some(manifest) = loaded.manifest else {
        let faults: Vec<String> = loaded.findings.iter().map(manifest::describe).collect();
        return Ok(refuse(report, &faults.join("; ")));
    };
    loaded.findings.iter().for_each(|finding| tracing::warn!("{}", manifest::describe(finding)));
    report.is_to_run(manifest.pipeline.spec.parallelism);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("onceward").build();
    let threads = threads.map_err(io("start threads"))?;
    let code = threads.block_on(drive(manifest.pipeline, args, report));
    // A second signal must end the process whatever its threads are waiting for.
    threads.shutdown_background();
    code
}

fn refuse(report: &Reporting, message: &str) -> u8 {
    tracing::error!("{message}");
    report.ended(WorkerState::Refused, "Refused", message);
    REFUSED
}

/// The run and the signals, side by side.
async fn drive(pipeline: Pipeline, args: &WorkerArgs, report: &Arc<Reporting>) -> Result<u8, Error> {
    let mut signals = Signals::listen()?;
    let (stop, stopped) = stop_channel();
    let (options, observer) = (options(args, &pipeline), Arc::clone(report) as Arc<dyn Observer>);
    // A task of its own, so that this one stays free for signals whatever the run does.
    let mut run = tasks::spawn("run", async move { runtime::run::run(&pipeline, options, observer, stopped).await });
    let ended = tokio::select! {
        ended = &mut run => ended,
        code = signals.obey(&stop, || tracing::info!("told to stop")) => {
            report.ended(WorkerState::StoppedUndecided, "Interrupted", "told twice to stop");
            return Ok(code);
        }
    };
    Ok(match ended {
        Ok(Ok(outcome)) => {
            if let Outcome::StoppedUndecided { message } = &outcome {
                tracing::warn!("{message}");
            }
            outcome.exit_code()
        }
        // Told by an event.
        Ok(Err(error)) => error.exit_code(),
        Err(panic) => {
            let message = format!("this is a bug in onceward: {panic}; nothing is lost");
            tracing::error!("{message}");
            report.ended(WorkerState::Failed, "Panic", &message);
            FAILED
        }
    })
}

fn options(args: &WorkerArgs, pipeline: &Pipeline) -> RunOptions {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let metadata = &pipeline.metadata;
    let called = format!("{}/{}", name(&metadata.namespace), name(&metadata.name));
    let start = match (args.purpose, &args.restore) {
        (Purpose::Run, Some(handle)) => StartFrom::Handle(handle.clone()),
        (Purpose::Run, None) => StartFrom::Newest,
        (Purpose::Delete, _) => StartFrom::Farewell { claimed: Attempt(args.claimed.unwrap_or_default()) },
        (Purpose::Commit, _) => StartFrom::CommitOnly { always: true },
    };
    let accept_loss = args.accept_loss.map(|(attempt, epoch)| AcceptLoss {
        attempt: Attempt(attempt),
        epoch: Epoch(epoch),
        reason: args.reason.clone().unwrap_or_default(),
    });
    RunOptions {
        start,
        accept_rewind: args.accept_rewind,
        accept_loss,
        // A log that a handle names is taken whosever it is, also by those who only finish its commits.
        identity: args.identity.filter(|_| args.restore.is_none() || args.purpose == Purpose::Delete),
        floor: args.floor,
        grace: args.grace,
        secrets: secrets_dir(&args.pipeline, args.secrets_dir.as_deref()),
        metrics: args.listen,
        control: args.controller_key.clone().map(|verifier| Control { verifier, pipeline: called }),
        ..RunOptions::default()
    }
}
