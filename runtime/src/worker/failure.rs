//! Why a subtask cannot go on.

use api::control::Cure;

use crate::connectors::{Retry, SinkError, SourceError};
use crate::crashpoint::Injected;
use crate::operators::OperatorError;
use crate::tasks::TaskError;
use crate::worker::alignment::OutOfOrder;
use crate::worker::channel::Closed;
use crate::worker::parts::PartError;

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
    /// Whether another attempt can do better with the same input and state.
    pub fn cure(&self) -> Cure {
        let retry = match self {
            Self::Source(error) => error.retry(),
            Self::Sink(error) | Self::Operator(OperatorError::Sink(error)) => error.retry(),
            Self::Part(error) => error.retry(),
            Self::Operator(OperatorError::Row { .. } | OperatorError::State { .. })
            | Self::State(_)
            | Self::Plan(_)
            | Self::Order(_) => Retry::Never,
            Self::Panic(_) | Self::Injected(_) | Self::Closed => Retry::Backoff,
        };
        match (self, retry) {
            (Self::Source(SourceError::DataLost { .. }), _) => Cure::Input,
            (_, Retry::Never) => Cure::None,
            (_, Retry::Backoff) => Cure::Restart,
        }
    }

    /// The same, with where the rows come from if one of them is to blame.
    pub(crate) fn about(mut self, place: &str) -> Self {
        if let Self::Operator(OperatorError::Row { message, .. } | OperatorError::Sink(SinkError::Row { message, .. }))
        | Self::Sink(SinkError::Row { message, .. }) = &mut self
            && !place.is_empty()
        {
            *message = format!("{message} ({place})");
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
