//! Counters of running subtasks, as a worker tells them to the coordinator a few times a second: for metrics and the
//! progress line. Nothing is decided by them, and one that is lost is made good by the next.

use checkpoint::ids::Attempt;
use serde::{Deserialize, Serialize};

use crate::control::TaskId;

/// Subtasks of a worker. Counters begin at 0 with the attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatistics {
    pub attempt: Attempt,
    pub tasks: Vec<TaskStatistics>,
}

/// All that is known of one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatistics {
    pub task: TaskId,
    /// As of the subtask's last words, which may be a moment ago.
    pub counters: TaskCounters,
    /// As of the message, like the rows.
    pub times: Times,
    pub rows_read: u64,
    pub rows_written: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounters {
    /// Name and counters, for a subtask that reads a source.
    pub source: Option<(String, SourceCounters)>,
    pub sinks: Vec<(String, SinkCounters)>,
    pub operators: Vec<OperatorCounters>,
    /// Of the source, where it can tell.
    pub lag: Vec<Lag>,
    /// Event time that the operators were told, in microseconds; `i64::MIN` before the first watermark.
    pub watermark: i64,
    /// Bytes that wait in the input queues.
    pub queued_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCounters {
    pub records: u64,
    pub bytes: u64,
    pub decode_errors: u64,
}

/// Records of one partition that could be read and were not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    pub topic: String,
    pub partition: u32,
    pub records: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkCounters {
    pub records: u64,
    pub bytes: u64,
    /// Calls to the target that failed and were repeated, beside commits.
    pub errors: u64,
    /// When the oldest transaction of this subtask began that has no end yet, in milliseconds since 1970.
    pub open_since_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCounters {
    pub operator: String,
    pub records_in: u64,
    pub records_out: u64,
    pub late_dropped: u64,
    pub windows_fired: u64,
    pub state_keys: u64,
    pub state_bytes: u64,
}

impl OperatorCounters {
    pub fn new(operator: &str) -> Self {
        Self {
            operator: operator.to_owned(),
            records_in: 0,
            records_out: 0,
            late_dropped: 0,
            windows_fired: 0,
            state_keys: 0,
            state_bytes: 0,
        }
    }
}

/// A subtask's time so far, in microseconds. Busy is all that is not a wait; waiting for a processor counts as busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub busy_us: u64,
    pub idle_us: u64,
    pub backpressured_us: u64,
}
