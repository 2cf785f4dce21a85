//! What can go wrong at the edges, with the retry class as data.

use checkpoint::ids::Epoch;

/// What the supervisor may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Retry {
    /// Transient: restart the attempt by the restart policy.
    Backoff,
    /// The same input would fail again: stop with the reason, state intact.
    Never,
}

/// A source cannot go on. Messages name the source and the position.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("source `{source_name}`: {path}: {message}")]
    Io { source_name: String, path: String, message: String, retry: Retry },
    /// A system that is reached over a network.
    #[error("source `{source_name}`: {target}: {message}")]
    Remote { source_name: String, target: String, message: String, retry: Retry },
    #[error("source `{source_name}`: {position}: {message}")]
    Malformed { source_name: String, position: String, message: String },
    #[error("source `{source_name}`: input was lost: {message}")]
    DataLost { source_name: String, message: String },
    #[error("source `{source_name}`: stored position is not usable: {message}")]
    Position { source_name: String, message: String },
}

impl SourceError {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { retry, .. } | Self::Remote { retry, .. } => *retry,
            Self::Malformed { .. } | Self::DataLost { .. } | Self::Position { .. } => Retry::Never,
        }
    }
}

/// A sink cannot go on. Messages name the sink and the target.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("sink `{sink}`: {path}: {message}")]
    Io { sink: String, path: String, message: String, retry: Retry },
    #[error("sink `{sink}`: row cannot be written: {message}")]
    Row { sink: String, message: String, origin: Option<String> },
    /// The target refuses a row that was sent to it some time ago: one of those read up to the barrier of this epoch, or
    /// since then. `origin`: source and place of that very row, where it is known.
    #[error("sink `{sink}`: {message}")]
    Refused { sink: String, message: String, epoch: Option<Epoch>, origin: Option<String> },
    #[error("sink `{sink}`: {message}")]
    Schema { sink: String, message: String },
    #[error(
        "sink `{sink}`: {path} exists with other content (OutputConflict); move it away or write to another folder"
    )]
    OutputConflict { sink: String, path: String },
    /// A system that is reached over a network.
    #[error("sink `{sink}`: {target}: {message}")]
    Remote { sink: String, target: String, message: String, retry: Retry },
    /// What became of decided output cannot be found out: neither proven there nor proven lost.
    #[error("sink `{sink}`: whether decided output is committed cannot be told: {message}")]
    Unknown { sink: String, message: String },
    #[error("sink `{sink}`: committable is not usable: {message}")]
    Committable { sink: String, message: String },
}

impl SinkError {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { retry, .. } | Self::Remote { retry, .. } => *retry,
            Self::Row { .. }
            | Self::Refused { .. }
            | Self::Schema { .. }
            | Self::OutputConflict { .. }
            | Self::Unknown { .. }
            | Self::Committable { .. } => Retry::Never,
        }
    }
}

/// Whether the world may heal from an I/O error without a person: rights and shapes of paths do not change by waiting.
pub(crate) fn retry_of(error: &std::io::Error) -> Retry {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => Retry::Never,
        _ => Retry::Backoff,
    }
}
