//! What a run has to say: objects on standard output for programs, lines on standard error for people.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use runtime::clock::{Clock, SystemClock};
use runtime::run::{CommittableEnd, Observer, RunEvent, StopHandle};

use crate::cli::Output;
use crate::screen::{Gone, Screen, Style, thousands};

/// Events that wait for a slow reader; later ones are dropped and counted, as the run must not wait.
const BACKLOG: usize = 1 << 14;
/// Progress is redrawn this often on a terminal.
const REDRAW: Duration = Duration::from_millis(250);
/// Elsewhere a line about checkpoints comes at most this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The run's end of the channel.
pub(super) struct Reporter {
    events: SyncSender<RunEvent>,
    dropped: AtomicU64,
}

impl Reporter {
    pub(super) fn channel() -> (Self, Receiver<RunEvent>) {
        let (events, receiver) = sync_channel(BACKLOG);
        (Self { events, dropped: AtomicU64::new(0) }, receiver)
    }
}

impl Observer for Reporter {
    fn event(&self, event: RunEvent) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "events were not reported: nobody read them in time");
        }
    }
}

/// Reports until the run has dropped its end. When standard output is closed the run is asked to stop, quietly.
pub(super) fn report(name: &str, output: Output, screen: Screen, events: &Receiver<RunEvent>, stop: &StopHandle) {
    let mut teller =
        Teller { name, output, screen, progress: Progress::default(), decided_rows: 0, last_line: None, drawn: false };
    let mut gone = false;
    loop {
        let event = match events.recv_timeout(REDRAW) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => {
                teller.redraw();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if !gone && teller.tell(&event).is_err() {
            gone = true;
            stop.stop();
        }
    }
}

/// What the line that is redrawn says.
#[derive(Default)]
struct Progress {
    rows_in: u64,
    rows_out: u64,
    /// `None` until the first second has passed.
    rows_per_second: Option<u64>,
    /// Number and duration of the newest checkpoint.
    checkpoint: Option<(u64, Duration)>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}  out {}", thousands(self.rows_in), thousands(self.rows_out))?;
        if let Some(rate) = self.rows_per_second {
            write!(f, "  {} rows/s", thousands(rate))?;
        }
        match self.checkpoint {
            Some((epoch, took)) => write!(f, "  checkpoint {epoch} ({} ms)", took.as_millis()),
            None => Ok(()),
        }
    }
}

struct Teller<'a> {
    name: &'a str,
    output: Output,
    screen: Screen,
    progress: Progress,
    /// Of the checkpoints that this process has decided.
    decided_rows: u64,
    last_line: Option<Duration>,
    drawn: bool,
}

impl Teller<'_> {
    fn tell(&mut self, event: &RunEvent) -> Result<(), Gone> {
        if self.output == Output::Json {
            // All fields are numbers, strings and enums: this cannot fail.
            let line = serde_json::to_string(event).unwrap_or_default();
            self.screen.say(line)?;
        }
        match event {
            RunEvent::Claimed { attempt, pipeline_id, .. } => {
                self.line("claimed", &format!("attempt {attempt} of pipeline {pipeline_id}"));
            }
            RunEvent::Superseded { pipeline_id, rows_out, outputs, .. } => {
                let places = outputs.iter().map(|output| format!("`{}` in {}", output.sink, output.target));
                let (rows, places) = (thousands(*rows_out), places.collect::<Vec<_>>().join(", "));
                let what = format!("{rows} rows of pipeline {pipeline_id} stay visible: {places}");
                self.doubt(&format!(
                    "{what}; remove the files named *-{pipeline_id}-* if only the new ones should count"
                ));
            }
            RunEvent::Restored { epoch, handle, .. } => {
                self.line("restored", &format!("checkpoint {epoch} ({handle})"));
            }
            RunEvent::Running { tasks, .. } => self.line("running", &format!("{tasks} tasks")),
            RunEvent::CheckpointCompleted { epoch, durations, rows, rows_in, .. } => {
                self.progress.checkpoint = Some((epoch.0, durations.total()));
                self.progress.rows_in = self.progress.rows_in.max(*rows_in);
                self.decided_rows = self.decided_rows.saturating_add(*rows);
                self.progress.rows_out = self.progress.rows_out.max(self.decided_rows);
                self.drawn = true;
                self.checkpoint_line();
            }
            RunEvent::Progress { rows_in, rows_written, rows_in_per_second, .. } => {
                (self.progress.rows_in, self.progress.rows_out) = (*rows_in, *rows_written);
                self.progress.rows_per_second = Some(*rows_in_per_second);
                self.drawn = true;
                self.redraw();
            }
            RunEvent::CheckpointFailed { epoch, reason, .. } => {
                self.doubt(&format!("checkpoint {epoch} failed: {reason}"));
            }
            RunEvent::CommitRetried { sink, message, retry_in_ms, .. } => {
                self.doubt(&format!("commit to {sink} failed, next try in {retry_in_ms} ms: {message}"));
            }
            RunEvent::AttemptFailed { message, retry_in_ms, .. } => {
                self.doubt(&format!("attempt failed, next one in {retry_in_ms} ms: {message}"));
            }
            RunEvent::Stopping { .. } => self.line("stopping", "with a last checkpoint"),
            RunEvent::Stopped { .. } => self.result("stopped", "run again to go on")?,
            RunEvent::Finished { rows_in, rows_out, already } => {
                let state = if *already { "already finished" } else { "finished" };
                self.result(state, &format!("{} rows in, {} rows out", thousands(*rows_in), thousands(*rows_out)))?;
            }
            RunEvent::LeftoversAborted { sink, count, .. } => {
                self.line("aborted", &format!("{count} left open in {sink} by earlier attempts"));
            }
            RunEvent::RecoveryEnded { end: CommittableEnd::Committed, what, .. } => self.line("committed", what),
            // An unhappy end is told by whoever gets the result itself; a commit shows in the progress; what recovery
            // finds as it should be is no news; and a run never only settles.
            RunEvent::Failed { .. }
            | RunEvent::StoppedUndecided { .. }
            | RunEvent::CommitCompleted { .. }
            | RunEvent::SinkCommitted { .. }
            | RunEvent::LogRead { .. }
            | RunEvent::Begun { .. }
            | RunEvent::CheckpointRequested { .. }
            | RunEvent::CheckpointAnswered { .. }
            | RunEvent::Recovering { .. }
            | RunEvent::RecoveryEnded { .. }
            | RunEvent::Settled { .. } => {}
        }
        Ok(())
    }

    /// The end, where people look for it: on standard output, unless that belongs to a program.
    fn result(&self, state: &str, text: &str) -> Result<(), Gone> {
        if self.output == Output::Json {
            self.line(state, text);
            return Ok(());
        }
        self.screen.redraw("");
        self.screen.say(format!("{}  {}  {text}", self.name, self.screen.paint(Style::Good, state)))
    }

    fn line(&self, state: &str, text: &str) {
        self.screen.tell(format!("{}  {state:<9}  {text}", self.name));
    }

    fn doubt(&self, text: &str) {
        self.screen.doubt(format!("{}: {text}", self.name));
    }

    fn checkpoint_line(&mut self) {
        if self.screen.redraws {
            return self.redraw();
        }
        let now = SystemClock.monotonic();
        if self.last_line.is_none_or(|last| now.saturating_sub(last) >= LINE_EVERY) {
            self.last_line = Some(now);
            self.line("running", &self.progress.to_string());
        }
    }

    fn redraw(&self) {
        if self.drawn {
            self.screen.redraw(format!("{}  {:<9}  {}", self.name, "running", self.progress));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_line_shows_what_is_known() {
        let mut progress = Progress { rows_in: 1_234_567, rows_out: 89, ..Progress::default() };
        assert_eq!(progress.to_string(), "read 1,234,567  out 89");
        progress.rows_per_second = Some(50_000);
        progress.checkpoint = Some((7, Duration::from_millis(12)));
        assert_eq!(progress.to_string(), "read 1,234,567  out 89  50,000 rows/s  checkpoint 7 (12 ms)");
    }
}
