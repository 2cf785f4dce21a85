//! `kubectl onceward logs`: of all pods that there are, oldest first, and with `--follow` of those that come.

use std::time::Duration;

use api::names::CONTAINER;
use api::pipeline::Phase;
use futures::future::BoxFuture;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::LogParams;

use crate::DONE;
use crate::cli::LogsArgs;
use crate::layout::printable;
use crate::site::{Error, Site, refused, serial};

/// Between two looks for a pod that can be followed.
const LOOK: Duration = Duration::from_secs(1);
/// Looks for the next pod before that is said.
const MOST_QUIET_LOOKS: u32 = 10;

/// Prints them; with `--follow` until `stop`, or until nothing will run any more.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &LogsArgs, mut stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    site.pipeline(&args.name).await?;
    tokio::select! {
        biased;
        () = &mut stop => Ok(DONE),
        done = print(site, args) => done,
    }
}

async fn print(site: &Site<'_>, args: &LogsArgs) -> Result<u8, Error> {
    let pods = site.workers(&args.name).await?;
    if pods.is_empty() && !args.follow {
        return Err(Error::NotDone(format!("`{0}` has no worker's pod; see `kubectl onceward status {0}`", args.name)));
    }
    let is_prefixed = args.prefix || pods.len() > 1;
    // The newest is followed, the others have said everything; or almost, and then they are on their way out.
    let (last, others) = match pods.split_last() {
        Some((last, others)) => (Some(last), others),
        None => (None, &[][..]),
    };
    for pod in others {
        stream(site, args, pod, is_prefixed, false).await?;
    }
    let Some(last) = last else { return follow(site, args, None).await };
    if !args.follow {
        stream(site, args, last, is_prefixed, false).await?;
        return Ok(DONE);
    }
    let seen = if has_begun(last) {
        stream(site, args, last, is_prefixed, true).await?;
        serial(last)
    } else {
        others.last().and_then(serial)
    };
    follow(site, args, seen).await
}

/// Goes on with every pod that is newer than `seen`.
async fn follow(site: &Site<'_>, args: &LogsArgs, mut seen: Option<u64>) -> Result<u8, Error> {
    let mut quiet = 0;
    loop {
        let pods = site.workers(&args.name).await?;
        let next = pods.iter().find(|pod| serial(pod) > seen && has_begun(pod));
        if let Some(pod) = next {
            quiet = 0;
            site.terminal.tell(&format!("following pod {}", pod.name_any()));
            stream(site, args, pod, args.prefix, true).await?;
            seen = serial(pod);
            continue;
        }
        let is_coming = pods.iter().any(|pod| serial(pod) > seen);
        let phase = site.pipeline(&args.name).await?.status.and_then(|status| status.phase);
        if let Some(phase @ (Phase::Finished | Phase::Failed | Phase::Suspended)) = phase
            && !is_coming
        {
            site.terminal.tell(&format!("no worker will come by itself: `{}` is {phase:?}", args.name));
            return Ok(DONE);
        }
        quiet += 1;
        if quiet == MOST_QUIET_LOOKS {
            site.terminal.tell("waiting for a worker's pod; Ctrl-C ends this");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether its container was ever started: before, there is no log.
fn has_begun(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase != "Pending")
}

async fn stream(site: &Site<'_>, args: &LogsArgs, pod: &Pod, is_prefixed: bool, follow: bool) -> Result<(), Error> {
    if !has_begun(pod) {
        site.terminal.tell(&format!("pod {} has not begun: no log yet", pod.name_any()));
        return Ok(());
    }
    let name = pod.name_any();
    let what = format!("read the log of pod `{name}`");
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        follow,
        tail_lines: args.tail.map(i64::from),
        since_seconds: args.since.and_then(|since| i64::try_from(since.as_secs().max(1)).ok()),
        ..LogParams::default()
    };
    let pods = site.pods();
    let mut lines = match site.answer(&what, pods.log_stream(&name, &params)).await {
        Ok(lines) => lines.lines(),
        // It went in this moment, or its kubelet is out of reach: others may be read.
        Err(error @ (Error::Refused { .. } | Error::Unreachable { .. })) => {
            site.terminal.tell(&error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    loop {
        match lines.try_next().await {
            Ok(Some(line)) => {
                let line = printable(&line);
                site.terminal.say(&if is_prefixed { format!("{name} {line}") } else { line })?;
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let error = refused(&what, &kube::Error::ReadEvents(error));
                site.terminal.tell(&format!("{error}; some lines may be missing"));
                return Ok(());
            }
        }
    }
}
