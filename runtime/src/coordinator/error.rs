//! Why an attempt ended otherwise than it was meant to.

use api::control::FailureKind;
use checkpoint::ids::Attempt;
use checkpoint::invariants::Violation;
use checkpoint::paths;
use checkpoint::record::DecisionId;
use checkpoint::recovery::Refusal;

use super::log::Log;
use crate::connectors::{Retry, SinkError, SourceError};
use crate::crashpoint::Injected;
use crate::store::StoreError;

/// What the supervisor does next is in [`CoordinatorError::next`].
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{address}: {reason}")]
    Corrupt { address: String, reason: String },
    #[error("attempt {by} has taken over")]
    Fenced { by: Attempt },
    #[error("attempt {by} was claimed at the same time")]
    Outrun { by: Attempt },
    #[error("{0}")]
    Refused(String),
    #[error(
        "output of checkpoint {}/{} is lost (CommitLost): {detail}{}",
        decision.attempt, decision.epoch,
        advice(*decision, *rewind_may_help)
    )]
    Lost { decision: DecisionId, detail: String, rewind_may_help: bool },
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("{0}")]
    Sink(#[from] SinkError),
    #[error("{0}")]
    Task(#[from] crate::tasks::TaskError),
    #[error("{stage} {subtask}: {reason}")]
    Worker { stage: String, subtask: u32, reason: String, kind: FailureKind },
    #[error("the worker is gone")]
    WorkerGone,
    #[error("more checkpoints failed in a row than tolerableFailedCheckpoints allows ({last})")]
    CheckpointsFailed { last: String },
    #[error("commits of the checkpoint before did not end within the commit budget (CommitBlocked)")]
    CommitBlocked,
    #[error("the decision could not be sent within the commit budget; undecided work is done again")]
    BudgetExhausted,
    #[error("protocol violated, nothing more was done: {0}")]
    Broken(#[from] Violation),
    #[error("{0}")]
    Injected(#[from] Injected),
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, by the restart policy.
    Restart,
    /// Another attempt, outside of the restart policy's count.
    RestartUncounted,
    /// Leave; a newer run owns the pipeline.
    Leave,
    /// The manifest or an option does not fit the log.
    Refuse,
    Stop(crate::run::FailureReason),
}

impl CoordinatorError {
    /// A refusal of recovery, in the words of a run.
    pub fn refused(log: &Log, refusal: &Refusal) -> Self {
        match refusal {
            Refusal::BelowFloor { .. } => log.corrupt(
                &paths::attempts(log.index),
                &format!(
                    "{refusal}; put back what is missing, or go on with `--accept-rewind`: output of what came after \
                     is written a second time"
                ),
            ),
            Refusal::Superseded
            | Refusal::NothingDecided
            | Refusal::RewindOfCommitted { .. }
            | Refusal::RewindOfRewind { .. }
            | Refusal::NoPrevious { .. }
            | Refusal::OtherLoss { .. }
            | Refusal::NotNewest { .. }
            | Refusal::AbortOfCommitted { .. }
            | Refusal::NoSuchCheckpoint { .. }
            | Refusal::OutputGone { .. } => Self::Refused(refusal.to_string()),
        }
    }

    /// The message of a task's panic.
    pub fn panic(&self) -> Option<&str> {
        match self {
            Self::Worker { kind: FailureKind::Panic, reason, .. } => Some(reason),
            _ => None,
        }
    }

    pub fn next(&self) -> Next {
        use crate::run::FailureReason;
        let by_retry = |retry, reason| match retry {
            Retry::Backoff => Next::Restart,
            Retry::Never => Next::Stop(reason),
        };
        match self {
            Self::Store(error) => by_retry(error.retry, FailureReason::Store),
            Self::Task(_)
            | Self::WorkerGone
            | Self::CheckpointsFailed { .. }
            | Self::BudgetExhausted
            | Self::Worker { kind: FailureKind::Transient | FailureKind::Panic, .. }
            | Self::Injected(_) => Next::Restart,
            Self::CommitBlocked => Next::RestartUncounted,
            Self::Fenced { .. } | Self::Outrun { .. } => Next::Leave,
            Self::Refused(_) => Next::Refuse,
            Self::Corrupt { .. } => Next::Stop(FailureReason::CorruptCheckpoint),
            Self::Lost { .. } => Next::Stop(FailureReason::CommitLost),
            Self::Broken(_) => Next::Stop(FailureReason::Violation),
            Self::Source(SourceError::DataLost { .. }) => Next::Stop(FailureReason::SourceDataLost),
            Self::Source(error) => by_retry(error.retry(), FailureReason::CannotHeal),
            Self::Sink(error) => by_retry(error.retry(), FailureReason::CannotHeal),
            Self::Worker { kind: FailureKind::Final(reason), .. } => Next::Stop(*reason),
        }
    }
}

fn advice(decision: DecisionId, rewind_may_help: bool) -> String {
    let DecisionId { attempt, epoch } = decision;
    let rewind = if rewind_may_help {
        "; nothing of it is visible, so going back one checkpoint may lose nothing: `--rewind`"
    } else {
        ""
    };
    format!("{rewind}; to go on without it: `--accept-loss {attempt}/{epoch} --reason TEXT`")
}
