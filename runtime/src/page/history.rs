//! The newest events of a run, for those who look at it later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::report::WorkerReport;
use serde::Serialize;

use crate::clock::Clock;
use crate::run::{Observer, RunEvent};

/// Of checkpoints: at one a second and with its commit, a minute and a half.
const MOST_OF_CHECKPOINTS: usize = 180;
/// Of everything else: attempts, failures, retries.
const MOST_OTHERS: usize = 100;
/// Bytes of a message that are kept.
const MOST_MESSAGE_BYTES: usize = 2_000;

/// Keeps events, and hands every one on.
pub(crate) struct History {
    next: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    began_ms: u64,
    kept: Mutex<Kept>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct At {
    at_ms: u64,
    #[serde(flatten)]
    event: RunEvent,
}

/// Oldest first.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    checkpoints: VecDeque<At>,
    events: VecDeque<At>,
    /// Rows and rate, as of the last second.
    progress: Option<At>,
}

/// What is told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    now_ms: u64,
    began_ms: u64,
    #[serde(flatten)]
    kept: Kept,
}

impl History {
    pub(crate) fn new(clock: Arc<dyn Clock>, next: Arc<dyn Observer>) -> Self {
        let began_ms = clock.wall_ms();
        Self { next, clock, began_ms, kept: Mutex::default() }
    }

    pub(super) fn told(&self) -> Told {
        Told { now_ms: self.clock.wall_ms(), began_ms: self.began_ms, kept: self.lock().clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, mut at: At) {
        match &mut at.event {
            RunEvent::Progress { .. } => self.progress = Some(at),
            RunEvent::CheckpointCompleted { .. } | RunEvent::CommitCompleted { .. } => {
                push(&mut self.checkpoints, at, MOST_OF_CHECKPOINTS);
            }
            RunEvent::CheckpointFailed { reason, .. } => {
                cut(reason);
                push(&mut self.checkpoints, at, MOST_OF_CHECKPOINTS);
            }
            // The commit of all sinks is told.
            RunEvent::SinkCommitted { .. } => {}
            RunEvent::CommitRetried { message, .. }
            | RunEvent::AttemptFailed { message, .. }
            | RunEvent::StoppedUndecided { message }
            | RunEvent::Failed { message, .. } => {
                cut(message);
                push(&mut self.events, at, MOST_OTHERS);
            }
            _ => push(&mut self.events, at, MOST_OTHERS),
        }
    }
}

fn push(ring: &mut VecDeque<At>, at: At, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(at);
}

fn cut(message: &mut String) {
    message.truncate(message.floor_char_boundary(MOST_MESSAGE_BYTES));
}

impl Observer for History {
    fn event(&self, event: RunEvent) {
        let at_ms = self.clock.wall_ms();
        self.lock().take(At { at_ms, event: event.clone() });
        self.next.event(event);
    }

    fn report(&self) -> Option<WorkerReport> {
        self.next.report()
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::{Attempt, Epoch};

    use super::*;
    use crate::clock::SystemClock;

    struct Nobody;

    impl Observer for Nobody {
        fn event(&self, _: RunEvent) {}
    }

    fn failed(epoch: u64) -> RunEvent {
        let reason = "é".repeat(MOST_MESSAGE_BYTES);
        RunEvent::CheckpointFailed { attempt: Attempt(1), epoch: Epoch(epoch), reason, consecutive: 1 }
    }

    #[test]
    fn the_newest_are_kept_within_bounds_whatever_comes() {
        let history = History::new(Arc::new(SystemClock), Arc::new(Nobody));
        for number in 0..1_000 {
            history.event(failed(number));
            history.event(RunEvent::Stopping { attempt: Attempt(number) });
            let (rows_in, rows_written, rows_in_per_second) = (number, number, 1);
            history.event(RunEvent::Progress { attempt: Attempt(1), rows_in, rows_written, rows_in_per_second });
        }
        let text = serde_json::to_string(&history.told()).unwrap();
        assert!(text.len() < (MOST_OF_CHECKPOINTS + MOST_OTHERS) * (MOST_MESSAGE_BYTES + 200), "{} bytes", text.len());
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["checkpoints"].as_array().unwrap().len(), MOST_OF_CHECKPOINTS);
        assert_eq!(told["events"].as_array().unwrap().len(), MOST_OTHERS);
        assert_eq!(told["events"][MOST_OTHERS - 1]["attempt"], 999);
        assert_eq!(told["checkpoints"][0]["event"], "checkpoint.failed");
        assert_eq!(told["progress"]["rowsIn"], 999);
    }
}
