//! Pieces of state in the checkpoint store: written once under names of their own attempt, verified when read.

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, LogIndex, OperatorId, Subtask};
use checkpoint::manifest::{ContentHash, StatePart};

use crate::connectors::Retry;
use crate::store::{CheckpointStore, Created, StoreError};

/// Parts up to this size travel inside the manifest: one write for each checkpoint of a small pipeline.
pub const INLINE_BYTES: usize = 4 * 1024;

/// Names tried for one part. A create of unknown outcome is never repeated under its name: the object might be
/// there without being durable.
const TRIES: u32 = 3;

/// Why a part could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("checkpoint part {address}: object is missing")]
    Missing { address: String },
    #[error("checkpoint part {address}: {message}")]
    Corrupt { address: String, message: String },
    #[error("checkpoint part {address}: name is taken in {TRIES} tries")]
    Taken { address: String },
}

impl PartError {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry,
            Self::Taken { .. } => Retry::Backoff,
            Self::Missing { .. } | Self::Corrupt { .. } => Retry::Never,
        }
    }
}

/// The parts of one attempt.
#[derive(Clone)]
pub struct Parts {
    store: Arc<dyn CheckpointStore>,
    folder: Arc<str>,
}

/// What a part's name tells: unique within an attempt.
#[derive(Clone, Copy, Debug)]
pub struct PartName<'a> {
    pub operator: &'a OperatorId,
    pub subtask: Subtask,
    pub epoch: Epoch,
    pub index: usize,
}

/// A part before it is written. Made off the async threads when it is large: hashing takes its time.
#[derive(Clone, Debug)]
pub enum Part {
    /// Covered by the manifest's own hash.
    Inline(Bytes),
    Stored(Bytes, ContentHash),
}

impl Part {
    pub fn new(body: Bytes) -> Self {
        if body.len() <= INLINE_BYTES {
            return Self::Inline(body);
        }
        let hash = content_hash(&body);
        Self::Stored(body, hash)
    }
}

impl Parts {
    pub fn new(store: Arc<dyn CheckpointStore>, log: LogIndex, attempt: Attempt) -> Self {
        Self { store, folder: format!("{log}/attempts/{attempt}/parts/").into() }
    }

    /// Makes a part durable.
    ///
    /// # Errors
    /// When the store did not take it under any of `TRIES` names.
    pub async fn write(&self, name: PartName<'_>, part: Part) -> Result<StatePart, PartError> {
        let (body, hash) = match part {
            Part::Inline(body) => return Ok(StatePart::Inline { body: STANDARD.encode(&body) }),
            Part::Stored(body, hash) => (body, hash),
        };
        let length = body.len() as u64;
        let mut last = None;
        for attempt in 0..TRIES {
            let object = self.object_name(name, attempt);
            match self.store.create(&object, body.clone()).await {
                Ok(Created::New) => return Ok(StatePart::Stored { name: object, length, hash }),
                Ok(Created::Exists) => last = Some(PartError::Taken { address: self.store.address(&object) }),
                Err(error) => last = Some(error.into()),
            }
        }
        Err(last.unwrap_or_else(|| PartError::Taken { address: self.object_name(name, 0) }))
    }

    /// Reads and verifies a part.
    ///
    /// # Errors
    /// [`PartError::Missing`] and [`PartError::Corrupt`] are final; a store that does not answer may heal.
    pub async fn read(&self, part: &StatePart) -> Result<Bytes, PartError> {
        let (name, length, hash) = match part {
            StatePart::Inline { body } => {
                let decoded = STANDARD.decode(body).map_err(|error| PartError::Corrupt {
                    address: "inline part of the manifest".into(),
                    message: error.to_string(),
                })?;
                return Ok(decoded.into());
            }
            StatePart::Stored { name, length, hash } => (name, *length, hash),
        };
        let address = || self.store.address(name);
        let Some(body) = self.store.read(name).await? else {
            return Err(PartError::Missing { address: address() });
        };
        if body.len() as u64 != length {
            let message = format!("{} bytes instead of {length}", body.len());
            return Err(PartError::Corrupt { address: address(), message });
        }
        if content_hash(&body) != *hash {
            return Err(PartError::Corrupt { address: address(), message: "content hash differs".into() });
        }
        Ok(body)
    }

    fn object_name(&self, name: PartName<'_>, attempt: u32) -> String {
        let PartName { operator, subtask, epoch, index } = name;
        let operator = operator.0.replace('/', ".");
        let mut object = format!("{}{operator}-{subtask}-{epoch}-{index}", self.folder);
        if attempt > 0 {
            // Writing to a String cannot fail.
            let _ = write!(object, ".{attempt}");
        }
        object
    }
}

/// BLAKE3 of a part's bytes.
pub fn content_hash(body: &[u8]) -> ContentHash {
    ContentHash(blake3::hash(body).to_hex().to_string())
}
