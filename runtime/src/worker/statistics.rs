//! What the subtasks of one worker tell of themselves, gathered here and sent to the coordinator as messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::control::TaskId;
use api::statistics::{TaskCounters, TaskStatistics, WorkerStatistics};
use checkpoint::ids::Attempt;

use crate::worker::meter::Live;

/// At most this often a subtask tells its counters while it works; also at each barrier and at its end.
pub(crate) const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// How often the worker tells the coordinator.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Newest counters of every subtask of one worker, shared with them.
#[derive(Clone, Default)]
pub(crate) struct Board {
    tasks: Arc<Mutex<BTreeMap<TaskId, Entry>>>,
}

struct Entry {
    published: TaskCounters,
    live: Arc<Live>,
}

impl Entry {
    fn read(&self, task: &TaskId, now: Duration) -> TaskStatistics {
        let (rows_read, rows_written) = self.live.rows();
        TaskStatistics {
            task: task.clone(),
            counters: self.published.clone(),
            times: self.live.times(now),
            rows_read,
            rows_written,
        }
    }
}

impl Board {
    /// A copy of everything, as of `now`.
    pub(crate) fn read(&self, attempt: Attempt, now: Duration) -> WorkerStatistics {
        let tasks = self.lock().iter().map(|(task, entry)| entry.read(task, now)).collect();
        WorkerStatistics { attempt, tasks }
    }

    /// Of one subtask alone.
    pub(crate) fn read_task(&self, attempt: Attempt, task: &TaskId, now: Duration) -> WorkerStatistics {
        let tasks = self.lock().get(task).map(|entry| entry.read(task, now)).into_iter().collect();
        WorkerStatistics { attempt, tasks }
    }

    pub(crate) fn register(&self, task: &TaskId, live: Arc<Live>) {
        self.lock().insert(task.clone(), Entry { published: TaskCounters::default(), live });
    }

    pub(crate) fn publish(&self, task: &TaskId, counters: TaskCounters) {
        if let Some(entry) = self.lock().get_mut(task) {
            entry.published = counters;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Entry>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
