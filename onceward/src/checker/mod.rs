//! An independent judge: reads input and output files and says what is missing, doubled or wrong.
//!
//! Straight loops and `serde_json`, no code of the engine, so that a mistake over there cannot hide here.
//! What it must know of the engine is written down in one place each: lateness and windows in [`expected`],
//! the spelling of a timestamp in [`time`].

pub mod expected;
pub mod input;
pub mod output;
pub mod time;
pub mod verdict;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use expected::{Expected, Rules};
use verdict::Verdict;

/// What names a row of a result: window and key, or the order's number.
pub type Identity = Vec<i64>;
/// What a row says: aggregates, or the order's fields.
pub type Content = Vec<i128>;

/// Compares the windowed result in `folder` with what `rules` make of `inputs`.
///
/// # Errors
/// A file that cannot be read or that is not what it should be, by path and line.
pub fn check_windows(inputs: &[PathBuf], rules: &Rules, folder: &Path) -> Result<(Expected, Verdict), Error> {
    let expected = expected::windows(inputs, rules)?;
    let found = output::windows(folder)?;
    let verdict = verdict::compare(&expected.rows, found);
    Ok((expected, verdict))
}

/// Compares a copy of all rows in `folder` with `inputs`: every order once, whatever its time.
///
/// # Errors
/// A file that cannot be read or that is not what it should be, by path and line.
pub fn check_copy(inputs: &[PathBuf], folder: &Path) -> Result<Verdict, Error> {
    let expected = expected::copy(inputs)?;
    let found = output::copy(folder)?;
    Ok(verdict::compare(&expected, found))
}

/// A file that the judge cannot judge.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}:{line}: {what}")]
    Line { path: PathBuf, line: u64, what: String },
    #[error("order {id} is in the input twice")]
    DoubleInput { id: i64 },
}
