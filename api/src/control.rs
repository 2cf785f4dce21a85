//! What coordinator and workers say to each other. Serialisable, so that the port between them can be a channel or a network.

use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Subtask};
use checkpoint::manifest::{Committable, OperatorSnapshot};
use serde::{Deserialize, Serialize};

use crate::statistics::WorkerStatistics;

/// One subtask of one stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub stage: String,
    pub subtask: Subtask,
}

/// Coordinator to worker. Every message names its attempt; a worker ignores those of another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Build all tasks and restore them. `snapshots` is the whole manifest's list: each task takes its share.
    Deploy(Box<Deployment>),
    /// Sources emit the barrier of `epoch` at their next batch boundary.
    Checkpoint { attempt: Attempt, epoch: Epoch },
    /// `Completed(epoch)` is in the log: tasks forget the committables that they acknowledged up to it.
    Decided { attempt: Attempt, epoch: Epoch },
    /// Everything that `Completed(epoch)` decided is visible.
    Committed { attempt: Attempt, epoch: Epoch },
    /// Drop everything without abort: only a later attempt aborts what this one left.
    Stop { attempt: Attempt },
}

/// What a worker needs to run an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub attempt: Attempt,
    /// The log that the attempt was claimed in: first part of the names of its state parts.
    pub log: LogIndex,
    pub pipeline: PipelineId,
    pub parallelism: u32,
    /// Parallelism at which `snapshots` were taken: tells which of them hold key groups of a subtask.
    pub snapshot_parallelism: u32,
    pub snapshots: Vec<OperatorSnapshot>,
}

/// Worker to coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// All tasks are restored; no record has been read. `tasks` is everybody who must acknowledge a checkpoint.
    Deployed {
        attempt: Attempt,
        tasks: Vec<TaskId>,
    },
    Acknowledged(Box<Acknowledgement>),
    /// This task cannot take part in `epoch`; the checkpoint fails, the data flow goes on.
    Declined {
        attempt: Attempt,
        epoch: Epoch,
        task: TaskId,
        reason: String,
    },
    /// The task has emitted or passed on its last watermark: nothing but barriers will come from it.
    Ended {
        attempt: Attempt,
        task: TaskId,
    },
    /// The attempt cannot go on.
    Failed {
        attempt: Attempt,
        task: TaskId,
        reason: String,
        kind: FailureKind,
    },
    /// Of all tasks a few times a second and last before `Stopped` (left out when the line is full: nothing depends on
    /// it), of one before its `Ended`.
    Statistics(WorkerStatistics),
    Stopped {
        attempt: Attempt,
    },
}

/// What the end of a task means for the attempts after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Another attempt may do better.
    Transient,
    /// A bug, caught. Another attempt may do better, but the same panic again and again is given up.
    Panic,
    /// The same would happen again.
    Final(FailureReason),
}

/// Why a pipeline failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// The restart policy gave up on something that might have healed.
    RestartsExhausted,
    /// The same would happen again: a malformed row, a row no sink can take, output in the way.
    CannotHeal,
    SourceDataLost,
    CommitLost,
    CorruptCheckpoint,
    /// The store does not keep what the protocol rests on, or cannot be used at all.
    Store,
    Metrics,
    /// A task panicked in the same way, at the same checkpoint, too often.
    Panic,
    /// The log holds what the protocol never leaves behind.
    Violation,
}

/// A task's durable part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub task: TaskId,
    pub snapshots: Vec<OperatorSnapshot>,
    /// All committables of this task that are not known to be decided, oldest first: not only those of `epoch`.
    pub committables: Vec<Committable>,
    pub times: StageTimes,
    /// Rows that this task's sources have read since the attempt began, up to the barrier.
    pub rows_in: u64,
    /// Everything that the task will ever have to write is in `committables` or committed already.
    pub finished: bool,
}

/// Where a checkpoint's time went in one task, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimes {
    pub align_us: u64,
    pub snapshot_us: u64,
    pub upload_us: u64,
    pub pre_commit_us: u64,
}
