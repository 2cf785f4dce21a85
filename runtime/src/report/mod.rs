//! What a worker tells of itself: a report made of a run's events, for whoever asks at `/state` and for the last words of
//! the process.

use std::sync::{Arc, Mutex, PoisonError};

use api::report::{REPORT_VERSION, WorkerReport, WorkerState};

use crate::clock::Clock;
use crate::run::{Observer, RunEvent};

pub use apply::apply;

mod apply;
#[cfg(test)]
mod tests;

/// Keeps the report, and hands every event on.
pub struct Reporting {
    next: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    report: Mutex<WorkerReport>,
}

/// What a report says from its first moment on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Of the binary.
    pub version: String,
    /// Of the configuration that is run.
    pub configuration: String,
}

impl Reporting {
    /// A worker that has not begun.
    pub fn new(about: About, clock: Arc<dyn Clock>, next: Arc<dyn Observer>) -> Self {
        let About { version, configuration } = about;
        let report = WorkerReport { report_version: REPORT_VERSION, version, configuration, ..WorkerReport::default() };
        Self { next, clock, report: Mutex::new(report) }
    }

    /// As of now; small enough for a termination message.
    pub fn now(&self) -> WorkerReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone().bounded()
    }

    /// Subtasks of each operator, once the manifest is read.
    pub fn is_to_run(&self, parallelism: u32) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).parallelism = parallelism;
    }

    /// An end that no event tells of.
    pub fn ended(&self, state: WorkerState, reason: &str, message: &str) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        apply::end(&mut report, state, Some(reason), Some(message));
    }
}

impl Observer for Reporting {
    fn event(&self, event: RunEvent) {
        let now_ms = self.clock.wall_ms();
        apply(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner), &event, now_ms);
        self.next.event(event);
    }

    fn report(&self) -> Option<WorkerReport> {
        Some(self.now())
    }
}
