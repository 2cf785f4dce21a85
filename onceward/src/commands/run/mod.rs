//! `onceward run`: one pipeline in this process, from the manifest to the exit code.

use std::sync::Arc;

use api::pipeline::Pipeline;
use checkpoint::ids::{Attempt, Epoch};
use runtime::dataflow::{self, Definition};
use runtime::run::{AcceptLoss, Outcome, RunError, RunOptions, StartFrom, stop_channel};
use runtime::{crashpoint, tasks};
use serde_json::json;

use super::signals::Signals;
use super::{DONE, Error, FAILED, REFUSED, io, manifest};
use crate::cli::{Output, RunArgs, secrets_dir};
use crate::screen::{Screen, with_causes};
use reporter::{Reporter, report};

mod reporter;

/// Runs the pipeline until it ends or is stopped.
///
/// # Errors
/// What keeps it from starting at all; a pipeline that fails is told here, and is an exit code.
pub fn execute(args: &RunArgs, screen: Screen) -> Result<u8, Error> {
    if let Err(error) = crashpoint::arm_from_environment() {
        screen.fault(format!("{}: {error}", crashpoint::VARIABLE));
        return Ok(REFUSED);
    }
    let loaded = match manifest::load(&args.file, &args.set) {
        Ok(loaded) => loaded,
        Err(error) => {
            screen.fault(with_causes(&error));
            return Ok(REFUSED);
        }
    };
    manifest::show(&loaded.findings, screen);
    let Some(manifest) = loaded.manifest else {
        if args.output == Output::Json {
            let findings: Vec<_> = loaded.findings.iter().map(manifest::as_json).collect();
            let line = json!({"event": "refused", "findings": findings}).to_string();
            screen.say(line).map_err(|_| Error::Gone(REFUSED))?;
        }
        return Ok(REFUSED);
    };
    if args.explain {
        return explain(&manifest.pipeline, screen);
    }
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("onceward").build();
    let threads = threads.map_err(io("start threads"))?;
    let code = threads.block_on(drive(manifest.pipeline, args, screen));
    // A second signal must end the process whatever its threads are waiting for.
    threads.shutdown_background();
    code
}

fn explain(pipeline: &Pipeline, screen: Screen) -> Result<u8, Error> {
    let spec = &pipeline.spec;
    // The loader has planned it once already and found no fault.
    let graph = dataflow::plan(&Definition::of(spec)).map_err(|refused| Error::Other(refused.to_string()))?;
    screen.say(dataflow::explain(&graph, spec.parallelism, spec.max_parallelism).trim_end())?;
    Ok(DONE)
}

/// The run, its reporter and the signals, side by side.
async fn drive(pipeline: Pipeline, args: &RunArgs, screen: Screen) -> Result<u8, Error> {
    let name = pipeline.metadata.name.clone().unwrap_or_default();
    let mut signals = Signals::listen()?;
    let (stop, stopped) = stop_channel();
    let (reporter, events) = Reporter::channel();
    let output = args.output;
    let stopping =
        || screen.tell("stopping with a last checkpoint; once more ends it at once, and nothing is lost either way");
    let told = {
        let (name, stop) = (name.clone(), stop.clone());
        tasks::spawn_blocking("report", move || report(&name, output, screen, &events, &stop))
    };
    let options = options(args);
    // A task of its own, so that this one stays free for signals whatever the run does.
    let mut run =
        tasks::spawn("run", async move { runtime::run::run(&pipeline, options, Arc::new(reporter), stopped).await });
    let ended = tokio::select! {
        ended = &mut run => ended,
        code = signals.obey(&stop, stopping) => return Ok(code),
    };
    let code = match ended {
        Ok(ended) => conclude(ended, screen),
        Err(panic) => {
            screen.fault(format!("this is a bug in onceward: {panic}; nothing is lost, run again to go on"));
            FAILED
        }
    };
    // The reporter ends with the run, which held its only sender; a reader that does not read can keep it.
    tokio::select! {
        _ = told => Ok(code),
        code = signals.obey(&stop, stopping) => Ok(code),
    }
}

fn conclude(ended: Result<Outcome, RunError>, screen: Screen) -> u8 {
    match ended {
        Ok(outcome) => {
            if let Outcome::StoppedUndecided { message } = &outcome {
                screen.doubt(message);
            }
            outcome.exit_code()
        }
        Err(error) => {
            screen.fault(with_causes(&error));
            error.exit_code()
        }
    }
}

fn options(args: &RunArgs) -> RunOptions {
    let start = match &args.restore {
        Some(handle) => StartFrom::Handle(handle.clone()),
        None if args.rewind => StartFrom::Rewind,
        None if args.fresh => StartFrom::Fresh,
        None => StartFrom::Newest,
    };
    let accept_loss = args.accept_loss.map(|(attempt, epoch)| AcceptLoss {
        attempt: Attempt(attempt),
        epoch: Epoch(epoch),
        reason: args.reason.clone().unwrap_or_default(),
    });
    RunOptions {
        start,
        accept_duplicates: args.accept_duplicates,
        accept_rewind: args.accept_rewind,
        accept_loss,
        grace: args.grace,
        secrets: secrets_dir(&args.file, args.secrets_dir.as_deref()),
        metrics: args.metrics,
        ..RunOptions::default()
    }
}
