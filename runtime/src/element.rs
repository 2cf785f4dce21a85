//! What travels on an edge: batches, watermarks and barriers, in band and as one type.

use arrow::record_batch::RecordBatch;
use checkpoint::ids::{Attempt, Epoch};

use crate::origin::Origin;

/// Event time: microseconds since 1970-01-01T00:00:00Z (Arrow `Timestamp(Microsecond, None)`).
pub type Timestamp = i64;

/// Rows of one split between two of its watermarks.
#[derive(Clone, Debug)]
pub struct Batch {
    pub rows: RecordBatch,
    /// The watermark of the *split* that these rows came from, before the first of them. A row is late when its
    /// window ended at or before it: lateness depends on the input alone, never on timing or parallelism.
    pub late_before: Timestamp,
    /// Where each row comes from; None once several make one, or where the source cannot tell.
    pub origin: Option<Origin>,
}

impl From<RecordBatch> for Batch {
    /// None of them is late, and none is one row of a source.
    fn from(rows: RecordBatch) -> Self {
        Self { rows, late_before: Timestamp::MIN, origin: None }
    }
}

/// How far event time has come on one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Watermark {
    /// No row with a timestamp below this comes any more. [`Watermark::END`] follows the last row.
    At(Timestamp),
    /// The edge has nothing to say for now and must not hold others back.
    Idle,
}

impl Watermark {
    pub const START: Self = Self::At(Timestamp::MIN);
    pub const END: Self = Self::At(Timestamp::MAX);
}

/// The marker of an epoch in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    pub attempt: Attempt,
    pub epoch: Epoch,
}

/// One element of an edge.
#[derive(Clone, Debug)]
pub enum Element {
    Batch(Batch),
    Watermark(Watermark),
    Barrier(Barrier),
}
