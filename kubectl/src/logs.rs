//! `kubectl onceward logs`: of all pods that there are, oldest first, and with `--follow` of those that come.

use std::cmp::Ordering;
use std::pin::pin;
use std::time::Duration;

use api::names::CONTAINER;
use api::pipeline::Phase;
use futures::AsyncBufReadExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::LogParams;

use crate::cli::LogsArgs;
use crate::layout::printable;
use crate::site::{Error, PATIENCE, Site, refused, serial};
use crate::{DONE, NOT_DONE};

/// Between two looks for what can be followed.
const LOOK: Duration = Duration::from_secs(1);
/// Looks for the next pod before that is said.
const MOST_QUIET_LOOKS: u32 = 10;

/// Prints them; with `--follow` until `stop`, or until nothing will run any more.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &LogsArgs, mut stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    tokio::select! {
        biased;
        () = &mut stop => Ok(DONE),
        done = print(site, args) => done,
    }
}

async fn print(site: &Site<'_>, args: &LogsArgs) -> Result<u8, Error> {
    site.pipeline(&args.name).await?;
    let pods = site.workers(&args.name).await?;
    if pods.is_empty() && !args.follow {
        return Err(Error::NotDone(format!("`{0}` has no worker's pod; see `kubectl onceward status {0}`", args.name)));
    }
    let is_prefixed = args.prefix || pods.len() > 1;
    // The newest is followed, the others have said everything; or almost, and then they are on their way out.
    let (followed, others) = match pods.split_last() {
        Some((last, others)) if args.follow => (Some(last), others),
        _ => (None, &pods[..]),
    };
    let mut is_whole = true;
    for pod in others {
        if has_begun(pod) {
            is_whole &= Log::of(site, args, pod, is_prefixed).read(false).await?;
        } else {
            site.terminal.tell(&format!("pod {} has not begun: no log yet", pod.name_any()));
        }
    }
    if !args.follow {
        return Ok(if is_whole { DONE } else { NOT_DONE });
    }
    let followed = followed.filter(|pod| has_begun(pod));
    let log = followed.map(|pod| Log::of(site, args, pod, is_prefixed));
    let seen = followed.or(others.last()).and_then(serial);
    Follower { site, args, log, seen, quiet: 0 }.follow().await
}

/// Whether its container was ever started: before, there is no log.
fn has_begun(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase != "Pending")
}

/// Whether its worker may say more: containers beside it may outlive it.
fn is_at_work(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let worker = status.container_statuses.iter().flatten().find(|one| one.name == CONTAINER);
    let has_ended = worker.and_then(|worker| worker.state.as_ref()).is_some_and(|state| state.terminated.is_some());
    status.phase.as_deref() == Some("Running") && !has_ended
}

/// Goes from pod to pod.
struct Follower<'a> {
    site: &'a Site<'a>,
    args: &'a LogsArgs,
    /// What is followed.
    log: Option<Log<'a>>,
    /// The pod whose log that is or was.
    seen: Option<u64>,
    /// Looks in which there was nothing to follow.
    quiet: u32,
}

impl Follower<'_> {
    async fn follow(mut self) -> Result<u8, Error> {
        let mut told = None;
        loop {
            match self.step().await {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => told = None,
                Err(error @ Error::Unreachable { .. }) => {
                    tell_once(self.site, &mut told, format!("{error}; trying again"));
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads what there is, for as long as it comes; the exit code once nothing will come any more.
    async fn step(&mut self) -> Result<Option<u8>, Error> {
        let pods = self.site.workers(&self.args.name).await?;
        let newer = pods.iter().find(|pod| serial(pod) > self.seen && has_begun(pod));
        if let Some(mut log) = self.log.take()
            && let Some(pod) = pods.iter().find(|pod| pod.name_any() == log.name)
        {
            // A connection may break at any time: of a pod that is over, too, something may not have been read.
            let goes_on = is_at_work(pod) && newer.is_none();
            log.read(goes_on).await?;
            if goes_on {
                self.log = Some(log);
                return Ok(None);
            }
        }
        if let Some(pod) = newer {
            self.site.terminal.tell(&format!("following pod {}", pod.name_any()));
            let mut log = Log::of(self.site, self.args, pod, self.args.prefix);
            let is_whole = log.read(is_at_work(pod)).await?;
            (self.seen, self.quiet) = (serial(pod), 0);
            self.log = (is_at_work(pod) || !is_whole).then_some(log);
            return Ok(None);
        }
        let is_coming = pods.iter().any(|pod| serial(pod) > self.seen);
        self.wait(is_coming).await
    }

    /// For the next pod.
    async fn wait(&mut self, is_coming: bool) -> Result<Option<u8>, Error> {
        let name = &self.args.name;
        let phase = self.site.pipeline(name).await?.status.and_then(|status| status.phase);
        if let Some(phase @ (Phase::Finished | Phase::Failed | Phase::Suspended)) = phase
            && !is_coming
        {
            self.site.terminal.tell(&format!("no worker will come by itself: `{name}` is {phase:?}"));
            return Ok(Some(DONE));
        }
        self.quiet += 1;
        if self.quiet == MOST_QUIET_LOOKS {
            self.site.terminal.tell("waiting for a worker's pod; Ctrl-C ends this");
        }
        Ok(None)
    }
}

fn tell_once(site: &Site<'_>, told: &mut Option<String>, text: String) {
    if told.as_ref() != Some(&text) {
        site.terminal.tell(&text);
        *told = Some(text);
    }
}

/// A pod's log, as far as it was read.
struct Log<'a> {
    site: &'a Site<'a>,
    args: &'a LogsArgs,
    name: String,
    is_prefixed: bool,
    place: Option<Place>,
    told: Option<String>,
}

impl<'a> Log<'a> {
    fn of(site: &'a Site<'a>, args: &'a LogsArgs, pod: &Pod, is_prefixed: bool) -> Self {
        Self { site, args, name: pod.name_any(), is_prefixed, place: None, told: None }
    }

    /// Prints what was not read before; whether it could be read to its end.
    async fn read(&mut self, follow: bool) -> Result<bool, Error> {
        match self.lines(follow).await {
            Ok(()) => Ok(true),
            // It went in this moment, or its kubelet is out of reach: others may be read.
            Err(error @ (Error::Refused { .. } | Error::Unreachable { .. })) => {
                let rest = if follow { "trying again" } else { "some lines may be missing" };
                tell_once(self.site, &mut self.told, format!("{error}; {rest}"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn lines(&mut self, follow: bool) -> Result<(), Error> {
        let what = format!("read the log of pod `{}`", self.name);
        let (pods, params) = (self.site.pods(), self.params(follow));
        let mut bytes = pin!(self.site.answer(&what, pods.log_stream(&self.name, &params)).await?);
        let (mut before, mut line) = (self.place, vec![]);
        loop {
            line.clear();
            let read = bytes.read_until(b'\n', &mut line);
            // Who follows waits for as long as the worker has nothing to say.
            let read = if follow { Ok(read.await) } else { tokio::time::timeout(PATIENCE, read).await };
            let late = || Error::Unreachable { what: what.clone(), why: format!("no more of it within {PATIENCE:?}") };
            let count = read.map_err(|_| late())?.map_err(|error| refused(&what, &kube::Error::ReadEvents(error)))?;
            // Half a line is read again when it is whole.
            if count == 0 || follow && !line.ends_with(b"\n") {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line);
            let (time, text) = timed(line.trim_end_matches(['\r', '\n']));
            if let Some(time) = time {
                if before.as_mut().is_some_and(|before| before.has(time)) {
                    continue;
                }
                self.place = Some(Place::after(self.place, time));
            }
            let text = printable(text);
            self.site.terminal.say(&if self.is_prefixed { format!("{} {text}", self.name) } else { text })?;
        }
    }

    /// Every line with its time, and from the last one on: of that second, as no less can be asked for.
    fn params(&self, follow: bool) -> LogParams {
        let params =
            LogParams { container: Some(CONTAINER.to_owned()), follow, timestamps: true, ..LogParams::default() };
        if let Some(Place { time, .. }) = self.place {
            return LogParams { since_time: Timestamp::from_second(time.as_second()).ok(), ..params };
        }
        LogParams {
            tail_lines: self.args.tail.map(i64::from),
            since_seconds: self.args.since.and_then(|since| i64::try_from(since.as_secs().max(1)).ok()),
            ..params
        }
    }
}

/// A line's time, and the line itself.
fn timed(line: &str) -> (Option<Timestamp>, &str) {
    let (time, text) = line.split_once(' ').unwrap_or((line, ""));
    time.parse().map_or((None, line), |time| (Some(time), text))
}

/// The newest time of a line, and how many lines of that time there were.
#[derive(Clone, Copy)]
struct Place {
    time: Timestamp,
    count: usize,
}

impl Place {
    /// With one more line.
    fn after(place: Option<Self>, time: Timestamp) -> Self {
        match place {
            Some(place) if place.time > time => place,
            Some(place) if place.time == time => Self { time, count: place.count + 1 },
            _ => Self { time, count: 1 },
        }
    }

    /// Whether a line that comes again is one of those; they come in the same order.
    fn has(&mut self, time: Timestamp) -> bool {
        match time.cmp(&self.time) {
            Ordering::Less => true,
            Ordering::Equal if self.count > 0 => {
                self.count -= 1;
                true
            }
            Ordering::Equal | Ordering::Greater => false,
        }
    }
}
