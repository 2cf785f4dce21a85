//! `kubectl onceward`: Pipelines of a cluster as people ask for them. It reads what the controller says of a Pipeline,
//! writes annotations and `spec.suspend`, and forwards a worker's port; it knows no engine and no store.
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | what can be said |
//! | [`site`] | a cluster and a namespace, and every request's error in words |
//! | [`terminal`] | what is shown, by whoever has a terminal |
//! | [`health`] | the one judgement of a Pipeline: healthy, degraded or failed |
//! | `status`, `checkpoints`, `transactions` | what is known, in lines of at most 100 columns |
//! | `requests`, `suspension`, `wait` | what is asked for, and its outcome |
//! | `logs`, `dashboard`, `worker` | workers' words, by way of the API server |
//! | `report` | all of it in one archive, without secrets |
//! | [`complete`] | what may come next on the command line |

mod checkpoints;
pub mod cli;
pub mod complete;
mod dashboard;
pub mod health;
mod layout;
mod logs;
mod report;
mod requests;
pub mod site;
mod status;
mod suspension;
pub mod terminal;
mod transactions;
mod version;
mod wait;
mod worker;

use std::pin::pin;

use futures::future::FutureExt as _;

pub use self::cli::{Reach, Verb};
pub use self::layout::WIDTH;
pub use self::site::{Error, Site, connect, now_ms};
pub use self::terminal::{Gone, Terminal, Tone};

/// Done.
pub const DONE: u8 = 0;
/// Not done. Of `status`: degraded.
pub const NOT_DONE: u8 = 1;
/// Of `status`: failed, or there is no such Pipeline.
pub const FAILED: u8 = 2;
/// Of `status`: nobody can be asked.
pub const UNREACHABLE: u8 = 3;

/// Ended by Ctrl-C before anything was shown.
pub const INTERRUPTED: u8 = 130;

/// Carries out one verb and says what comes of it; the exit code. Ends early when `stop` does, as by Ctrl-C.
pub async fn execute(reach: &Reach, verb: &Verb, terminal: &dyn Terminal, stop: impl Future<Output = ()> + Send) -> u8 {
    let mut stop = pin!(stop);
    let connected = tokio::select! {
        biased;
        connected = connect(reach) => connected,
        () = &mut stop => return INTERRUPTED,
    };
    match connected {
        Ok((client, namespace)) => {
            let site = Site { client, namespace, terminal, now_ms: &now_ms };
            carry_out(&site, verb, stop).await
        }
        Err(error) => told(terminal, verb, &error),
    }
}

/// As [`execute`], of a cluster that is there.
pub async fn carry_out(site: &Site<'_>, verb: &Verb, stop: impl Future<Output = ()> + Send) -> u8 {
    let done = match verb {
        Verb::Status(args) if args.watch => status::watch(site, args, stop.boxed()).boxed(),
        Verb::Status(args) => ended_by(stop, status::execute(site, args)).boxed(),
        Verb::Checkpoints(args) => ended_by(stop, checkpoints::execute(site, args)).boxed(),
        Verb::Transactions(args) => ended_by(stop, transactions::execute(site, args)).boxed(),
        Verb::Version(args) => ended_by(stop, version::execute(site, args)).boxed(),
        Verb::Report(args) => ended_by(stop, report::execute(site, args)).boxed(),
        Verb::Logs(args) => logs::execute(site, args, stop.boxed()).boxed(),
        Verb::Dashboard(args) => dashboard::execute(site, args, stop.boxed()).boxed(),
        Verb::Checkpoint(args) => stopped_by(stop, requests::execute(site, requests::Action::Checkpoint, args)).boxed(),
        Verb::Savepoint(args) => stopped_by(stop, requests::execute(site, requests::Action::Savepoint, args)).boxed(),
        Verb::Restart(args) => stopped_by(stop, requests::execute(site, requests::Action::Restart, args)).boxed(),
        Verb::Suspend(args) => stopped_by(stop, suspension::execute(site, true, args)).boxed(),
        Verb::Resume(args) => stopped_by(stop, suspension::execute(site, false, args)).boxed(),
        Verb::Wait(args) => stopped_by(stop, wait::execute(site, args)).boxed(),
    };
    done.await.unwrap_or_else(|error| told(site.terminal, verb, &error))
}

/// Of what only shows.
async fn ended_by(stop: impl Future<Output = ()>, act: impl Future<Output = Result<u8, Error>>) -> Result<u8, Error> {
    tokio::select! {
        biased;
        done = act => done,
        () = stop => Ok(INTERRUPTED),
    }
}

/// Of what waits: Ctrl-C takes nothing back.
async fn stopped_by(stop: impl Future<Output = ()>, act: impl Future<Output = Result<u8, Error>>) -> Result<u8, Error> {
    tokio::select! {
        biased;
        done = act => done,
        () = stop => Err(Error::NotDone("stopped waiting; what was asked for stays asked for".to_owned())),
    }
}

fn told(terminal: &dyn Terminal, verb: &Verb, error: &Error) -> u8 {
    if matches!(error, Error::Gone) {
        return DONE;
    }
    terminal.fault(&error.to_string());
    match (verb, error) {
        (Verb::Status(_), Error::Unreachable { .. } | Error::Forbidden { .. } | Error::Kubeconfig { .. }) => {
            UNREACHABLE
        }
        (Verb::Status(_), Error::Unread { .. }) => NOT_DONE,
        (Verb::Status(_), _) => FAILED,
        _ => NOT_DONE,
    }
}
