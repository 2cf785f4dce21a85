//! Where a reader is in a file, and how the file is known again.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::connectors::error::retry_of;
use crate::connectors::{Reached, SourceError};

/// How many of a file's first bytes tell it from another one.
const HEAD_BYTES: u64 = 4096;

/// A split's bounds and position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) file: Identity,
    pub(super) at: At,
}

/// The next record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum At {
    /// `line` counts from 0.
    Text {
        offset: u64,
        line: u64,
    },
    Parquet {
        row_group: usize,
        row: u64,
    },
}

/// What a file was when it was resolved. `length` bounds what is read of it: what is appended later is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) modified_ns: u64,
    /// BLAKE3 of its first bytes (all within `length`), shortened to 16 digits: enough to notice, not to prove.
    pub(super) head: String,
}

impl Position {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under fixed names always encode")
    }

    pub(super) fn decode(source: &str, text: &str) -> Result<Self, SourceError> {
        serde_json::from_str(text).map_err(|error| SourceError::Position {
            source_name: source.to_owned(),
            message: format!("{text}: {error}"),
        })
    }

    /// Lines are counted from 1, as editors do.
    pub(super) fn reached(&self) -> Reached {
        let next = match self.at {
            At::Text { line, .. } => format!("line {}", line + 1),
            At::Parquet { row_group, row } => format!("row {row} of row group {row_group}"),
        };
        Reached { split: self.file.path.clone(), next }
    }
}

impl Identity {
    /// Looks at a file for the first time.
    pub(super) fn resolve(source: &str, path: &Path) -> Result<Self, SourceError> {
        let Some(name) = path.to_str() else {
            let not_text = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8; rename it");
            return Err(io_error(source, &path.to_string_lossy(), &not_text));
        };
        let examine = || -> io::Result<Self> {
            let metadata = fs::metadata(path)?;
            let length = metadata.len();
            Ok(Self { path: name.to_owned(), length, modified_ns: modified_ns(&metadata), head: head(path, length)? })
        };
        examine().map_err(|error| io_error(source, name, &error))
    }

    /// Proves that what was resolved is still there: same first bytes, and the same length and time of change, or longer
    /// (rows appended later are behind `length`).
    pub(super) fn verify(&self, source: &str) -> Result<(), SourceError> {
        let lost = |message: &str| SourceError::DataLost {
            source_name: source.to_owned(),
            message: format!("{}: {message}; put the original back, or start anew with --fresh", self.path),
        };
        let path = Path::new(&self.path);
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost("the file has vanished")),
            Err(error) => return Err(io_error(source, &self.path, &error)),
        };
        if !metadata.is_file() {
            return Err(lost("it is no file any more"));
        }
        if metadata.len() < self.length {
            let message = format!("the file has shrunk from {} to {} bytes", self.length, metadata.len());
            return Err(lost(&message));
        }
        if head(path, self.length).map_err(|error| io_error(source, &self.path, &error))? != self.head {
            return Err(lost("the file's first bytes have changed"));
        }
        if metadata.len() == self.length && modified_ns(&metadata) != self.modified_ns {
            return Err(lost("the file was modified since the pipeline started to read it"));
        }
        Ok(())
    }

    /// The file, if it is still the one that was resolved.
    pub(super) fn open(&self, source: &str) -> Result<File, SourceError> {
        self.verify(source)?;
        File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::DataLost {
                source_name: source.to_owned(),
                message: format!("{}: the file has vanished", self.path),
            },
            _ => io_error(source, &self.path, &error),
        })
    }
}

pub(super) fn io_error(source: &str, path: &str, error: &io::Error) -> SourceError {
    SourceError::Io {
        source_name: source.to_owned(),
        path: path.to_owned(),
        message: error.to_string(),
        retry: retry_of(error),
    }
}

fn modified_ns(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

fn head(path: &Path, length: u64) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES as usize);
    File::open(path)?.take(HEAD_BYTES.min(length)).read_to_end(&mut bytes)?;
    let hash = blake3::hash(&bytes).to_hex();
    Ok(hash.get(..16).unwrap_or_default().to_owned())
}
