//! Counters of running subtasks, for metrics and the progress line. Nothing is decided by them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::control::TaskId;
use checkpoint::ids::Attempt;

use crate::connectors::{SinkCounters, SourceCounters};
use crate::element::Timestamp;
use crate::operators::OperatorCounters;
use crate::worker::meter::{Live, Times};

/// At most this often a subtask tells its counters while it works; also at each barrier and at its end.
pub(crate) const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Newest counters of every subtask of one worker. Cloning shares them.
#[derive(Clone, Default)]
pub struct Statistics {
    tasks: Arc<Mutex<BTreeMap<TaskId, Entry>>>,
}

struct Entry {
    attempt: Attempt,
    published: TaskStatistics,
    live: Arc<Live>,
}

/// Counters of one subtask since its attempt began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatistics {
    /// Name and counters, for a subtask that reads a source.
    pub source: Option<(String, SourceCounters)>,
    pub sinks: Vec<(String, SinkCounters)>,
    pub operators: Vec<OperatorCounters>,
    /// Event time that the operators were told; `Timestamp::MIN` before the first watermark.
    pub watermark: Timestamp,
    /// Bytes that wait in the input queues.
    pub queued_bytes: usize,
}

/// All that is known of one subtask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub attempt: Attempt,
    pub counters: TaskStatistics,
    /// Up to the moment of looking.
    pub times: Times,
}

impl Statistics {
    /// A copy of everything, as of `now`.
    pub fn read(&self, now: Duration) -> BTreeMap<TaskId, Snapshot> {
        let look = |entry: &Entry| Snapshot {
            attempt: entry.attempt,
            counters: entry.published.clone(),
            times: entry.live.times(now),
        };
        self.lock().iter().map(|(task, entry)| (task.clone(), look(entry))).collect()
    }

    /// Rows that an attempt has read from sources and written to sinks, up to this moment.
    pub fn rows(&self, attempt: Attempt) -> (u64, u64) {
        let tasks = self.lock();
        let own = tasks.values().filter(|entry| entry.attempt == attempt);
        own.map(|entry| entry.live.rows()).fold((0, 0), |sum, rows| (sum.0 + rows.0, sum.1 + rows.1))
    }

    pub(crate) fn register(&self, task: &TaskId, attempt: Attempt, live: Arc<Live>) {
        self.lock().insert(task.clone(), Entry { attempt, published: TaskStatistics::default(), live });
    }

    pub(crate) fn publish(&self, task: &TaskId, statistics: TaskStatistics) {
        if let Some(entry) = self.lock().get_mut(task) {
            entry.published = statistics;
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Entry>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
