//! Recoveries that run nothing: `onceward commit`, and the aborts of `onceward transactions`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use api::pipeline::Pipeline;
use runtime::clock::{Clock, SystemClock};
use runtime::run::{CommittableEnd, Observer, Outcome, RunError, RunEvent, RunOptions, StartFrom, stop_channel};
use runtime::{crashpoint, tasks};

use super::{Error, FAILED, REFUSED, io, manifest};
use crate::cli::{CommitArgs, Output, Reach};
use crate::screen::{Screen, Style, thousands, with_causes};

/// After a stop at the deadline a recovery ends between two steps; one that does not is dropped, which is a crash: safe.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finishes the commits of the newest checkpoint.
///
/// # Errors
/// What keeps it from starting at all; everything else is told, and is an exit code.
pub fn execute(args: &CommitArgs, screen: Screen) -> Result<u8, Error> {
    let Some(pipeline) = load(&args.reach, screen) else { return Ok(REFUSED) };
    let settle =
        Settle { start: StartFrom::CommitOnly { always: false }, secrets: args.reach.secrets(), timeout: args.timeout };
    block_on(settle.run(pipeline, args.reach.output, screen))?
}

/// The manifest; None if it is refused, which is told. Arms crash points, too.
pub(super) fn load(reach: &Reach, screen: Screen) -> Option<Pipeline> {
    if let Err(error) = crashpoint::arm_from_environment() {
        screen.fault(format!("{}: {error}", crashpoint::VARIABLE));
        return None;
    }
    match manifest::load(&reach.file, &reach.set) {
        Ok(loaded) => {
            manifest::show(&loaded.findings, screen);
            loaded.manifest.map(|manifest| manifest.pipeline)
        }
        Err(error) => {
            screen.fault(with_causes(&error));
            None
        }
    }
}

/// Threads for one command.
///
/// # Errors
/// The system has none.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("onceward").build();
    let threads = threads.map_err(io("start threads"))?;
    let done = threads.block_on(future);
    threads.shutdown_background();
    Ok(done)
}

/// A recovery to carry out.
pub(super) struct Settle {
    pub(super) start: StartFrom,
    pub(super) secrets: PathBuf,
    pub(super) timeout: Duration,
}

impl Settle {
    /// Carries it out and tells what it does; the exit code.
    ///
    /// # Errors
    /// [`Error::Gone`], with the exit code.
    pub(super) async fn run(self, pipeline: Pipeline, output: Output, screen: Screen) -> Result<u8, Error> {
        let name = pipeline.metadata.name.clone().unwrap_or_default();
        let (sender, events) = channel();
        let told = tasks::spawn_blocking("report", move || Teller::new(name, output, screen).tell_all(&events));
        let ended = self.settle(pipeline, sender).await;
        let gone = told.await.unwrap_or(true);
        let code = match &ended {
            Ok(Outcome::StoppedUndecided { message }) => {
                screen.fault(format!("not done within {:?}: {message}; nothing is lost, try again", self.timeout));
                FAILED
            }
            Ok(outcome) => outcome.exit_code(),
            Err(error) => {
                screen.fault(with_causes(error));
                error.exit_code()
            }
        };
        if gone { Err(Error::Gone(code)) } else { Ok(code) }
    }

    async fn settle(&self, pipeline: Pipeline, sender: Sender<RunEvent>) -> Result<Outcome, RunError> {
        let (stop, stopped) = stop_channel();
        let options = RunOptions {
            start: self.start.clone(),
            grace: Duration::ZERO,
            secrets: self.secrets.clone(),
            ..RunOptions::default()
        };
        let observer = Arc::new(Events(sender));
        let mut run =
            tasks::spawn("settle", async move { runtime::run::run(&pipeline, options, observer, stopped).await });
        let ended = tokio::select! {
            biased;
            ended = &mut run => ended,
            () = SystemClock.sleep(self.timeout) => {
                stop.stop();
                tokio::select! {
                    biased;
                    ended = &mut run => ended,
                    () = SystemClock.sleep(PATIENCE) => {
                        let message = "the target or the store did not answer".to_owned();
                        return Ok(Outcome::StoppedUndecided { message });
                    }
                }
            }
        };
        ended.unwrap_or_else(|panic| {
            let message = format!("this is a bug in onceward: {panic}; nothing is lost, try again");
            Err(RunError::Failed { reason: runtime::run::FailureReason::Panic, message })
        })
    }
}

/// Events of one recovery: a few for each committable of one checkpoint, so they are not bounded here again.
struct Events(Sender<RunEvent>);

impl Observer for Events {
    fn event(&self, event: RunEvent) {
        // Whoever listened has gone: nothing to tell.
        let _ = self.0.send(event);
    }
}

/// Says what a recovery does.
struct Teller {
    name: String,
    output: Output,
    screen: Screen,
    /// Of the committables that may not be visible yet: how many there are, and how many have ended.
    progress: (u64, u64),
    committed: (u64, u64),
    already: u64,
    /// Decided, and aborted by force; with their rows.
    forced: (u64, u64),
    leftovers: u64,
    gone: bool,
}

impl Teller {
    fn new(name: String, output: Output, screen: Screen) -> Self {
        let (progress, committed, forced) = ((0, 0), (0, 0), (0, 0));
        Self { name, output, screen, progress, committed, already: 0, forced, leftovers: 0, gone: false }
    }

    /// Until the recovery has ended; whether standard output was closed by then.
    fn tell_all(mut self, events: &Receiver<RunEvent>) -> bool {
        for event in events {
            if self.output == Output::Json {
                // Numbers, strings and enums: this cannot fail.
                let line = serde_json::to_string(&event).unwrap_or_default();
                self.gone = self.gone || self.screen.say(line).is_err();
            }
            self.tell(event);
        }
        self.gone
    }

    fn tell(&mut self, event: RunEvent) {
        match event {
            RunEvent::Claimed { attempt, pipeline_id, .. } => {
                let fenced = if attempt.0 > 1 { "; whoever ran before is fenced" } else { "" };
                self.line("claimed", &format!("attempt {attempt} of pipeline {pipeline_id}{fenced}"));
            }
            RunEvent::Recovering { committables, .. } => {
                self.progress = (committables, 0);
                self.line("owed", &format!("{committables} pieces of decided output; asking what became of them"));
            }
            RunEvent::RecoveryEnded { end, what, rows, .. } => self.ended(end, &what, rows),
            RunEvent::LeftoversAborted { sink, count, .. } => {
                self.leftovers += count;
                self.line("aborted", &format!("{count} left open in {sink}, which nobody decided"));
            }
            RunEvent::CommitRetried { sink, message, retry_in_ms, .. } => {
                let (all, done) = self.progress;
                let text = format!("{sink}: next try in {retry_in_ms} ms ({done} of {all} done): {message}");
                self.screen.doubt(format!("{}: {text}", self.name));
            }
            RunEvent::AttemptFailed { message, retry_in_ms, .. } => {
                self.screen.doubt(format!("{}: next try in {retry_in_ms} ms: {message}", self.name));
            }
            RunEvent::Settled { nothing_to_do } => self.settled(nothing_to_do),
            // Told by whoever gets the result, or not of a recovery.
            _ => {}
        }
    }

    fn ended(&mut self, end: CommittableEnd, what: &str, rows: u64) {
        self.progress.1 += 1;
        let word = match end {
            CommittableEnd::Committed => {
                self.committed = (self.committed.0 + 1, self.committed.1 + rows);
                "committed"
            }
            CommittableEnd::AlreadyCommitted => {
                self.already += 1;
                "visible"
            }
            CommittableEnd::Lost => "lost",
            CommittableEnd::Aborted => {
                self.forced = (self.forced.0 + 1, self.forced.1 + rows);
                "aborted"
            }
        };
        let (all, done) = self.progress;
        self.line(word, &format!("{done} of {all}: {what}"));
    }

    /// The end, where people look for it: on standard output, unless that belongs to a program.
    fn settled(&mut self, nothing_to_do: bool) {
        let state = self.screen.paint(Style::Good, "settled");
        let text = if nothing_to_do {
            "nothing to settle: everything decided is visible, and nobody is at work".to_owned()
        } else {
            self.summary()
        };
        if self.output == Output::Json {
            self.line("settled", &text);
        } else {
            self.gone = self.gone || self.screen.say(format!("{}  {state}  {text}", self.name)).is_err();
        }
    }

    /// What was done, in one line.
    fn summary(&self) -> String {
        let (committed, forced) = (self.committed, self.forced);
        let mut parts = vec![format!("{} committed ({} rows)", committed.0, thousands(committed.1))];
        if self.already > 0 {
            parts.push(format!("{} visible already", self.already));
        }
        if self.leftovers > 0 {
            parts.push(format!("{} undecided aborted", self.leftovers));
        }
        if forced.0 > 0 {
            parts.push(format!("{} aborted by force ({} rows are lost)", forced.0, thousands(forced.1)));
        }
        parts.join(", ")
    }

    fn line(&self, state: &str, text: &str) {
        self.screen.tell(format!("{}  {state:<9}  {text}", self.name));
    }
}
