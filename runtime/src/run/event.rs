//! What a run tells its observer, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use api::report::WorkerReport;
use checkpoint::commit::CommitOutcome;
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};
use checkpoint::recovery::AbortOutcome;
use serde::{Deserialize, Serialize};

use super::FailureReason;

/// Takes events in order. Must not block: it is called from the coordinator.
pub trait Observer: Send + Sync {
    fn event(&self, event: RunEvent);

    /// What it has made of them, if it keeps that: served at `/state`.
    fn report(&self) -> Option<WorkerReport> {
        None
    }
}

/// One event; as JSON an object whose field `event` names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
pub enum RunEvent {
    /// What the log says: read before anything is claimed, and again by each attempt once it is final.
    #[serde(rename = "log.read")]
    LogRead {
        pipeline_id: PipelineId,
        log: LogIndex,
        attempt: Attempt,
        /// Of its newest record; 0 if it has none yet.
        slot: Slot,
        newest: Option<Decided>,
        /// Pieces of its output that are not known to be visible, by sink.
        owed: BTreeMap<String, u64>,
    },
    /// The attempt owns the log; all earlier ones are sealed.
    #[serde(rename = "claimed")]
    Claimed { pipeline_id: PipelineId, log: LogIndex, attempt: Attempt },
    /// A start anew: the log before is finished with, and its output stays visible.
    #[serde(rename = "superseded")]
    Superseded { pipeline_id: PipelineId, log: LogIndex, rows_out: u64, outputs: Vec<FormerOutput> },
    /// So many pieces of output of the newest checkpoint may not be visible yet; their targets are being asked.
    #[serde(rename = "recovery.began")]
    Recovering { attempt: Attempt, committables: u64 },
    /// What became of one of them.
    #[serde(rename = "recovery.ended")]
    RecoveryEnded { attempt: Attempt, sink: String, rows: u64, end: CommittableEnd, what: String },
    /// What nobody decided, and attempts before this one had left open, is aborted.
    #[serde(rename = "leftovers.aborted")]
    LeftoversAborted { attempt: Attempt, sink: String, count: u64 },
    /// Everything that was decided is done, and that stands in the log; nothing was run.
    #[serde(rename = "settled")]
    Settled { nothing_to_do: bool },
    /// The first checkpoint of a new log is decided: where it begins, and no state.
    #[serde(rename = "begun")]
    Begun { attempt: Attempt, epoch: Epoch, slot: Slot, handle: String, size_bytes: u64 },
    /// The attempt goes on from this checkpoint; its commits are done. `decided_by`: an earlier attempt, or this one if
    /// recovery has decided what to go on from.
    #[serde(rename = "restored")]
    Restored { attempt: Attempt, decided_by: Attempt, epoch: Epoch, slot: Slot, handle: String, size_bytes: u64 },
    /// All tasks have their state; records flow.
    #[serde(rename = "running")]
    Running { attempt: Attempt, tasks: u32 },
    #[serde(rename = "checkpoint.completed")]
    CheckpointCompleted {
        attempt: Attempt,
        epoch: Epoch,
        slot: Slot,
        handle: String,
        durations: Durations,
        /// State in the checkpoint, and how much of it was written for this one.
        size_bytes: u64,
        written_bytes: u64,
        committables: u64,
        /// The same by sink.
        owed: BTreeMap<String, u64>,
        /// Rows that this decision makes visible.
        rows: u64,
        /// Rows read since the log began.
        rows_in: u64,
    },
    /// Once a second while records flow. Rows since the log began; those written become visible with the checkpoints
    /// that decide them.
    #[serde(rename = "progress")]
    Progress { attempt: Attempt, rows_in: u64, rows_written: u64, rows_in_per_second: u64 },
    /// Nothing is rolled back; the next checkpoint decides what this one would have.
    #[serde(rename = "checkpoint.failed")]
    CheckpointFailed { attempt: Attempt, epoch: Epoch, reason: String, consecutive: u32 },
    /// Somebody who may has asked for a checkpoint now; a savepoint is kept for ever.
    #[serde(rename = "checkpoint.requested")]
    CheckpointRequested { id: String, savepoint: bool },
    /// It is decided; a savepoint's commits are done, too.
    #[serde(rename = "checkpoint.answered")]
    CheckpointAnswered { id: String, savepoint: bool, attempt: Attempt, epoch: Epoch, handle: String },
    /// Everything that the epoch decided for this sink is visible.
    #[serde(rename = "sink.committed")]
    SinkCommitted { attempt: Attempt, epoch: Epoch, sink: String },
    /// Everything that the epoch decided is visible.
    #[serde(rename = "commit.completed")]
    CommitCompleted { attempt: Attempt, epoch: Epoch, committables: u64, rows: u64, duration_us: u64 },
    /// A commit failed and is tried again.
    #[serde(rename = "commit.retried")]
    CommitRetried { attempt: Attempt, epoch: Epoch, sink: String, tries: u32, message: String, retry_in_ms: u64 },
    /// The attempt ended and another one takes over. `counted`: against the restart policy.
    #[serde(rename = "attempt.failed")]
    AttemptFailed { attempt: Option<Attempt>, message: String, counted: bool, retry_in_ms: u64 },
    /// A stop was asked for; the last checkpoint is on its way.
    #[serde(rename = "stopping")]
    Stopping { attempt: Attempt },
    #[serde(rename = "stopped")]
    Stopped { handle: Option<String> },
    /// Stopped before the last checkpoint was settled (exit code 4): what the next run will do.
    #[serde(rename = "stopped.undecided")]
    StoppedUndecided { message: String },
    /// Rows since the log began.
    #[serde(rename = "finished")]
    Finished { rows_in: u64, rows_out: u64, already: bool },
    #[serde(rename = "failed")]
    Failed { reason: Option<FailureReason>, message: String, exit_code: u8 },
}

/// A decided checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub handle: String,
    pub size_bytes: u64,
}

/// How a decided piece of output ended in a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CommittableEnd {
    Committed,
    /// Found so.
    AlreadyCommitted,
    Lost,
    /// By a rewind, or by force.
    Aborted,
}

impl From<CommitOutcome> for CommittableEnd {
    fn from(outcome: CommitOutcome) -> Self {
        match outcome {
            CommitOutcome::Committed => Self::Committed,
            CommitOutcome::AlreadyCommitted => Self::AlreadyCommitted,
            CommitOutcome::Lost => Self::Lost,
        }
    }
}

impl From<AbortOutcome> for CommittableEnd {
    fn from(outcome: AbortOutcome) -> Self {
        match outcome {
            AbortOutcome::Aborted => Self::Aborted,
            AbortOutcome::Committed => Self::AlreadyCommitted,
        }
    }
}

/// Where a pipeline of before has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerOutput {
    pub sink: String,
    pub target: String,
}

/// Where a checkpoint's time went, in microseconds: of the subtasks' stages the slowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// From the barrier to the decision.
    pub total_us: u64,
    pub align_us: u64,
    pub snapshot_us: u64,
    pub upload_us: u64,
    pub pre_commit_us: u64,
    pub decide_us: u64,
}

impl Durations {
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }
}
