//! Why a subtask cannot go on.

use api::control::{FailureKind, FailureReason, TaskId};

use crate::connectors::{Retry, SinkError, SourceError};
use crate::crashpoint::Injected;
use crate::operators::OperatorError;
use crate::tasks::TaskError;
use crate::worker::alignment::OutOfOrder;
use crate::worker::channel::Closed;
use crate::worker::parts::PartError;
use crate::worker::trail::Trails;

/// Which rows are meant where a row is what a source has read, and where it is made of several.
const OF_ROWS: &str = "one of the rows since the newest completed checkpoint";
const OF_STATE: &str = "made of rows since the newest completed checkpoint, or of state before it";

/// The end of a subtask before its attempt's.
#[derive(Debug, thiserror::Error)]
pub enum TaskFailure {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("state: {0}")]
    State(String),
    #[error(transparent)]
    Panic(#[from] TaskError),
    #[error(transparent)]
    Injected(#[from] Injected),
    #[error(transparent)]
    Order(#[from] OutOfOrder),
    #[error("plan does not fit: {0}")]
    Plan(String),
    /// A neighbour ended first; it says why, this subtask has nothing to add.
    #[error("a neighbour has ended")]
    Closed,
}

impl TaskFailure {
    /// Whether another attempt can do better with the same input and state, and if not, why the pipeline ends.
    pub fn kind(&self) -> FailureKind {
        let by_retry = |retry, reason| match retry {
            Retry::Backoff => FailureKind::Transient,
            Retry::Never => FailureKind::Final(reason),
        };
        match self {
            Self::Source(SourceError::DataLost { .. }) => FailureKind::Final(FailureReason::SourceDataLost),
            Self::Source(error) => by_retry(error.retry(), FailureReason::CannotHeal),
            Self::Sink(error) | Self::Operator(OperatorError::Sink(error)) => {
                by_retry(error.retry(), FailureReason::CannotHeal)
            }
            Self::Part(PartError::Store(error)) => by_retry(error.retry, FailureReason::Store),
            Self::Part(error) => by_retry(error.retry(), FailureReason::CorruptCheckpoint),
            Self::State(_) | Self::Operator(OperatorError::State { .. }) => {
                FailureKind::Final(FailureReason::CorruptCheckpoint)
            }
            Self::Operator(OperatorError::Row { .. }) | Self::Plan(_) | Self::Order(_) => {
                FailureKind::Final(FailureReason::CannotHeal)
            }
            Self::Panic(TaskError::Panicked { .. }) => FailureKind::Panic,
            Self::Panic(TaskError::Aborted { .. }) | Self::Injected(_) | Self::Closed => FailureKind::Transient,
        }
    }

    /// The same, with where the rows come from if one of them is to blame.
    pub(crate) fn about(mut self, place: &str) -> Self {
        if let Self::Operator(
            OperatorError::Row { message, .. } | OperatorError::Sink(SinkError::Row { message, origin: None, .. }),
        )
        | Self::Sink(SinkError::Row { message, origin: None, .. }) = &mut self
            && !place.is_empty()
        {
            *message = format!("{message} ({place})");
        }
        self
    }

    /// The same, with the rows that may be to blame where the batch in hand is not what they came from.
    pub(crate) fn among(mut self, trails: &Trails, task: &TaskId) -> Self {
        match &mut self {
            Self::Sink(SinkError::Refused { message, epoch, origin, .. })
            | Self::Operator(OperatorError::Sink(SinkError::Refused { message, epoch, origin, .. })) => {
                let what = if trails.is_of_source(task) { OF_ROWS } else { OF_STATE };
                let range = || format!("{what}: {}", trails.describe(task, *epoch));
                *message = format!("{message} ({})", origin.take().unwrap_or_else(range));
            }
            Self::Operator(OperatorError::Sink(SinkError::Row { message, origin: Some(origin), .. }))
            | Self::Sink(SinkError::Row { message, origin: Some(origin), .. }) => {
                *message = format!("{message} ({origin})");
            }
            // A source's subtask has named the batch.
            Self::Operator(
                OperatorError::Row { message, .. } | OperatorError::Sink(SinkError::Row { message, .. }),
            )
            | Self::Sink(SinkError::Row { message, .. })
                if !trails.is_of_source(task) =>
            {
                *message = format!("{message} ({OF_STATE}: {})", trails.describe(task, None));
            }
            _ => {}
        }
        self
    }

    /// Whether only the checkpoint fails: nothing was lost but the upload.
    pub(crate) fn declines(&self) -> bool {
        matches!(self, Self::Part(_))
    }
}

impl From<Closed> for TaskFailure {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
