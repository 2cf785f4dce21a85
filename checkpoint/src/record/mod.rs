//! What stands in the log: claims and records, and their one encoding.
//!
//! The encoding is JSON with a fixed field order, so the same value is the same bytes every time: "same bytes" and
//! "equal value" are one question, and the machines of this crate ask it of values. A reader refuses a newer format
//! by name, never skips a field that it does not know, and refuses bytes that do not match their checksum.

use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Epoch, Nonce, PipelineId, Slot};
use crate::manifest::{ContentHash, Manifest};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// A claim or record is never larger; a manifest above [`INLINE_MANIFEST_BYTES`] becomes an object of its own.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// Manifests up to this encoded size travel inside their record: one write for each checkpoint.
pub const INLINE_MANIFEST_BYTES: usize = 64 << 10;
/// A manifest object is never larger.
pub const MAX_MANIFEST_BYTES: usize = 256 << 20;
/// Free text (reasons, addresses) is cut to this many bytes by [`bounded`].
pub const MAX_TEXT_BYTES: usize = 1024;

/// `attempts/<a>/claim`: who owns an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Claim {
    pub pipeline: PipelineId,
    pub cause: Cause,
    /// Drawn at each process start: two claimants of one name are two.
    pub nonce: Nonce,
    /// Enough to find and abort leftovers without the manifest.
    pub sinks: Vec<SinkClaim>,
}

/// One sink as its attempt knew it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SinkClaim {
    pub name: String,
    pub kind: String,
    pub target: String,
    /// Prefix of transactional ids, where the target has them.
    pub prefix: Option<String>,
    pub writers: u32,
    /// Ids per writer.
    pub slots: u32,
}

/// Why an attempt was begun. Only `Failure` counts against the restart policy; `Start` resets its count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Cause {
    Start,
    Failure { reason: String },
    CommitBlocked,
    Stopped,
    SpecChange,
    CommitOnly,
    Forced,
}

/// `attempts/<a>/<slot>`: a record with the nonce of its append, by which a writer knows its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Entry {
    pub nonce: Nonce,
    pub record: Record,
}

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// The decision of an epoch: before it nothing of it may become visible, after it all of it must.
    Completed(Completed),
    /// How the commits of a decision ended.
    Settled(Settled),
    /// The attempt left by itself.
    Released(Released),
    /// Nothing after this is part of the sequence; `by` claimed later.
    Sealed { by: Attempt },
}

/// The decision of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Completed {
    pub epoch: Epoch,
    /// Owned by the user; retention never deletes it.
    pub savepoint: bool,
    /// Barriers overtook batches: snapshots hold what was in flight.
    pub unaligned: bool,
    pub origin: Origin,
    pub manifest: ManifestRef,
}

/// Where the content of a decision comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Origin {
    /// A checkpoint of the running pipeline.
    Checkpoint,
    /// The first decision of a log: resolved start positions, empty state.
    First,
    /// The first decision of a log, from a savepoint or checkpoint of another one.
    Restored { handle: String },
    /// `taken_back` and everything it had decided was proven aborted; the content is that of `base`.
    Rewind { taken_back: DecisionId, base: DecisionId },
    /// The content of the older `base`, on demand: output after it appears twice.
    Older { base: DecisionId },
}

/// Names a decision for ever: the attempt in whose sequence it stands, and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DecisionId {
    pub attempt: Attempt,
    pub epoch: Epoch,
}

/// A manifest, inside the record or as an object of its own that was written before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ManifestRef {
    Inline(Box<Manifest>),
    /// `name` is relative to the log's root.
    Stored {
        name: String,
        length: u64,
        hash: ContentHash,
    },
}

/// How the commits of `decision` ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settled {
    pub decision: DecisionId,
    pub outcome: Outcome,
    /// The attempt that found it out (the one in whose sequence this stands).
    pub by: Attempt,
    pub reason: Option<String>,
}

/// How commits end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything is visible: recovery need not commit again.
    Committed,
    /// The target threw pre-committed output away: recovery stops again.
    Lost,
    /// A person accepted the loss; what was still pre-committed has been committed.
    LossAccepted,
}

/// Why an attempt left by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Released {
    /// Bounded, and everything is committed.
    Finished,
    /// Asked to stop; the last checkpoint is committed.
    Stopped,
    /// Claimed only to finish the commits.
    Settled,
    /// The next log of this store path takes over.
    Superseded,
    Failed {
        reason: String,
    },
}

/// Content that is not what it should be. The caller adds the object's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("format version {found} is newer than {FORMAT_VERSION}, the newest this version reads")]
    Newer { found: u32 },
    #[error("{length} bytes are more than the {limit} that can be valid")]
    TooLarge { length: usize, limit: usize },
    #[error("not readable: {message}")]
    Malformed { message: String },
}

/// A value too large to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{length} encoded bytes are more than the limit of {limit}")]
pub struct TooLarge {
    pub length: usize,
    pub limit: usize,
}

/// Things that are stored as objects of their own.
pub trait Stored: Serialize + for<'a> Deserialize<'a> {
    const LIMIT: usize;
}

impl Stored for Claim {
    const LIMIT: usize = MAX_RECORD_BYTES;
}
impl Stored for Entry {
    const LIMIT: usize = MAX_RECORD_BYTES;
}
impl Stored for Manifest {
    const LIMIT: usize = MAX_MANIFEST_BYTES;
}

/// The bytes of a value: the same for the same value, always.
///
/// # Errors
/// [`TooLarge`] above the limit of its kind: nothing may be written that could not be read again.
pub fn encode<T: Stored>(value: &T) -> Result<Vec<u8>, TooLarge> {
    let mut bytes = format!("{{\"version\":{FORMAT_VERSION},\"content\":").into_bytes();
    serde_json::to_writer(&mut bytes, value).expect("plain data with string keys always encodes");
    let sum = checksum::crc32c(&bytes);
    bytes.extend_from_slice(format!("{SUM_FIELD}{sum:08x}\"}}\n").as_bytes());
    if bytes.len() > T::LIMIT { Err(TooLarge { length: bytes.len(), limit: T::LIMIT }) } else { Ok(bytes) }
}

/// The value of stored bytes.
///
/// # Errors
/// [`DecodeError`]: a newer format, an unknown field, anything damaged. Never a partial value.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, DecodeError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Envelope<T> {
        #[serde(rename = "version")]
        _version: u32,
        content: T,
        #[serde(rename = "crc32c")]
        _sum: String,
    }
    if bytes.len() > T::LIMIT {
        return Err(DecodeError::TooLarge { length: bytes.len(), limit: T::LIMIT });
    }
    let malformed = |e: serde_json::Error| DecodeError::Malformed { message: bounded(&e.to_string()) };
    // The version first: what a newer format holds is not this version's to judge.
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.version > FORMAT_VERSION {
        return Err(DecodeError::Newer { found: head.version });
    }
    if head.version == 0 {
        return Err(DecodeError::Malformed { message: "format version 0 never existed".to_owned() });
    }
    check_sum(bytes)?;
    serde_json::from_slice::<Envelope<T>>(bytes).map(|envelope| envelope.content).map_err(malformed)
}

/// Begins the last field of every stored value: the checksum of all bytes before it.
const SUM_FIELD: &str = ",\"crc32c\":\"";

/// A flipped bit may leave good JSON with another number in it: only the sum tells.
fn check_sum(bytes: &[u8]) -> Result<(), DecodeError> {
    let damaged = |message: &str| DecodeError::Malformed { message: message.to_owned() };
    let whole = bytes.strip_suffix(b"\"}\n").ok_or_else(|| damaged("its end is missing"))?;
    let (rest, sum) = whole.split_last_chunk::<8>().ok_or_else(|| damaged("it is too short"))?;
    let content = rest.strip_suffix(SUM_FIELD.as_bytes()).ok_or_else(|| damaged("it has no checksum at its end"))?;
    if format!("{:08x}", checksum::crc32c(content)).as_bytes() == sum {
        Ok(())
    } else {
        Err(damaged("the checksum does not match: the bytes are not those that were written"))
    }
}

/// Cuts free text to [`MAX_TEXT_BYTES`] at a character boundary.
pub fn bounded(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Entry {
    /// The decision in this entry, if it is one.
    pub fn completed(&self) -> Option<&Completed> {
        match &self.record {
            Record::Completed(completed) => Some(completed),
            Record::Settled(_) | Record::Released(_) | Record::Sealed { .. } => None,
        }
    }

    pub fn is_sealed(&self) -> bool {
        matches!(self.record, Record::Sealed { .. })
    }
}

/// Where a record stands. Ordered by attempt, then slot: the highest `Completed` is the newest decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub attempt: Attempt,
    pub slot: Slot,
}

mod checksum;
#[cfg(test)]
mod tests;
