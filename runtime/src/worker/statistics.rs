//! Counters of running subtasks, for metrics and the progress line. Nothing is decided by them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::control::TaskId;

use crate::connectors::{SinkCounters, SourceCounters};
use crate::element::Timestamp;
use crate::operators::OperatorCounters;

/// At most this often a subtask tells its counters while it works; also at each barrier and at its end.
pub(crate) const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Newest counters of every subtask of one worker. Cloning shares them.
#[derive(Clone, Default)]
pub struct Statistics {
    tasks: Arc<Mutex<BTreeMap<TaskId, TaskStatistics>>>,
}

/// Counters of one subtask since its attempt began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatistics {
    /// Name and counters, for a subtask that reads a source.
    pub source: Option<(String, SourceCounters)>,
    pub sinks: Vec<(String, SinkCounters)>,
    pub operators: Vec<OperatorCounters>,
    /// Time spent on records and state, and time spent waiting for input. With `backpressure` they are all the time since
    /// the subtask began.
    pub busy: Duration,
    pub idle: Duration,
    /// Time spent waiting for room downstream.
    pub backpressure: Duration,
    /// Event time that the operators were told; `Timestamp::MIN` before the first watermark.
    pub watermark: Timestamp,
    /// Bytes that wait in the input queues.
    pub queued_bytes: usize,
}

impl Statistics {
    /// A copy of everything.
    pub fn read(&self) -> BTreeMap<TaskId, TaskStatistics> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, task: &TaskId, statistics: TaskStatistics) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = tasks.get_mut(task) {
            *entry = statistics;
        } else {
            tasks.insert(task.clone(), statistics);
        }
    }

    pub(crate) fn clear(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
