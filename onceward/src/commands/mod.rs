//! One file per command. Each returns the exit code; what it has to say it has said.

pub mod checkpoints;
pub mod completion;
pub mod controller;
pub mod crashpoints;
pub mod demo;
pub mod kubectl;
pub mod lint;
pub(crate) mod manifest;
pub mod run;
pub mod settle;
mod signals;
pub mod transactions;
pub mod worker;

use crate::checker;
use crate::screen::Gone;

/// Done.
pub const DONE: u8 = 0;
/// The pipeline failed, or a check did not pass.
pub const FAILED: u8 = 1;
/// The manifest or the command line was refused.
pub const REFUSED: u8 = 2;

/// Why a command could not give its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody reads standard output any more: end quietly, with the exit code that was known by then.
    #[error("standard output was closed")]
    Gone(u8),
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Child(#[from] crate::child::Error),
    #[error(transparent)]
    Check(#[from] checker::Error),
    /// A sentence that says all.
    #[error("{0}")]
    Other(String),
}

/// What was to be said was all there was to do.
impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Gone(DONE)
    }
}

impl Error {
    /// The same, where a reader that has gone does not make the answer a good one.
    pub(crate) fn or(self, code: u8) -> Self {
        match self {
            Self::Gone(_) => Self::Gone(code),
            other => other,
        }
    }
}

/// Names what was tried when the system said no.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
