//! Where rows come from and go to. Everything outside the process is reached through these traits.

pub mod connection;
pub mod discard;
mod error;
mod event_time;
pub mod files;
pub mod generator;
pub mod kafka;
mod reader;
mod record_schema;
pub mod registry;
pub mod values;

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use checkpoint::ids::{Attempt, Epoch, PipelineId, Subtask};
use checkpoint::manifest::Committable;
use checkpoint::record::DecisionId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use api::statistics::{SinkCounters, SourceCounters};
pub use checkpoint::commit::{Classification, CommitOutcome};

pub(crate) use self::error::retry_of;
pub use self::error::{Retry, SinkError, SourceError};
pub use self::event_time::EventTime;
use crate::element::{Batch, Watermark};

/// A unit of input that one subtask reads in order: a file, a slice of the generator, a partition.
/// The whole of it is state: a restored reader continues from exactly here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Stable for the life of a log; unique within its source.
    pub id: String,
    /// Connector's own encoding (JSON) of bounds and position.
    pub position: String,
    /// Split watermark at `position` (`Watermark::START` before the first row, `END` when finished).
    pub watermark: Watermark,
    pub finished: bool,
}

/// A configured source.
pub trait SourceConnector: Send + Sync {
    /// Columns that readers yield, after projection.
    fn schema(&self) -> SchemaRef;
    /// Start positions and bounds, resolved once per log, before its first epoch. `parallelism` is a hint for divisible sources.
    fn resolve(&self, parallelism: u32) -> Result<Vec<Split>, SourceError>;
    /// Whether all splits go through the same stretch of event time at once. Their subtasks are then kept close to each
    /// other, so that windows can fire; splits of different times (a file for each day) are better read side by side.
    fn is_parallel_in_time(&self) -> bool {
        false
    }
    /// A reader for the splits of one subtask (none is allowed: it ends at once).
    fn open(&self, splits: Vec<Split>) -> Result<Box<dyn SourceReader>, SourceError>;
}

/// What a reader has to say next.
#[derive(Debug)]
pub enum Next {
    Batch(Batch),
    /// The minimum over this reader's splits moved (or all of them went idle).
    Watermark(Watermark),
    /// Nothing now; ask again after this long, or earlier.
    Wait(Duration),
    /// All splits are finished; `Watermark::END` was emitted before.
    Ended,
}

/// Reads the splits of one subtask.
pub trait SourceReader: Send {
    /// `now`: monotonic time since an arbitrary origin. Never blocks longer than reading one batch from a local file.
    fn next(&mut self, now: Duration) -> Result<Next, SourceError>;
    /// Source, split and rows of the last batch that `next` returned, for a message about one of its rows.
    fn last_batch(&self) -> String {
        String::new()
    }
    /// All splits, finished ones too, with positions right after the last batch that `next` returned.
    fn snapshot(&self) -> Vec<Split>;
    fn counters(&self) -> SourceCounters;
}

/// Who writes: part of every name that a writer creates, so that a zombie can only touch its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterIdentity {
    pub pipeline: PipelineId,
    pub attempt: Attempt,
    pub sink: String,
    pub subtask: Subtask,
}

/// A configured sink.
pub trait SinkConnector: Send + Sync {
    /// Checks that need the target (folder writable, broker limits), before anything is claimed. Makes nothing: what
    /// is missing may be somewhere else for the moment, with decided output in it.
    fn check(&self) -> Result<(), SinkError>;
    /// Whether the target is there at all, asked when decided output may wait in it.
    ///
    /// # Errors
    /// It is not: nothing can be said of what was written there.
    fn check_present(&self) -> Result<(), SinkError> {
        Ok(())
    }
    /// Makes the target ready for writers. Everything decided before is committed.
    ///
    /// # Errors
    /// The target.
    fn prepare(&self) -> Result<(), SinkError> {
        Ok(())
    }
    /// Whether rows of this schema can be written.
    fn check_schema(&self, schema: &SchemaRef) -> Result<(), SinkError> {
        let _ = schema;
        Ok(())
    }
    fn open_writer(&self, identity: WriterIdentity, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, SinkError>;
    fn committer(&self) -> Box<dyn Committer>;
    /// Kind and target as they stand in the claim (`files`, absolute path): enough to find leftovers without the manifest.
    fn kind(&self) -> &'static str;
    fn target(&self) -> String;
}

/// The slow half of a pre-commit (flush, fsync): runs off the data path; its result travels in the acknowledgement.
pub type PreCommit = Box<dyn FnOnce() -> Result<Vec<Committable>, SinkError> + Send>;

/// Writes rows so that nobody sees them before their commit.
pub trait SinkWriter: Send {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError>;
    /// Seals everything before the barrier and starts anew for the rows after it. Cheap. An empty one yields no committable.
    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError>;
    fn counters(&self) -> SinkCounters;
}

/// Makes decided output visible. Needs no live writer: any process with the permit does it.
pub trait Committer: Send + Sync {
    /// What the target says of a committable, touching nothing.
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>>;
    fn commit<'a>(
        &'a self,
        permit: &'a checkpoint::commit::CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>>;
    /// Takes back a pre-committed, never to be decided committable (rewind); `Ok` only when proven gone.
    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>>;
    /// Removes what attempts below `before` left open; returns how many pieces. Decided ones were committed before.
    fn abort_leftovers(&self, pipeline: PipelineId, before: Attempt) -> BoxFuture<'_, Result<u64, SinkError>>;
    /// The newest output of a pipeline that is visible, if the target can tell: by attempt, then by the epoch that it was
    /// pre-committed in. It was decided, so a log that ends earlier has lost records.
    fn newest_visible(&self, pipeline: PipelineId) -> BoxFuture<'_, Result<Option<DecisionId>, SinkError>> {
        let _ = pipeline;
        Box::pin(std::future::ready(Ok(None)))
    }
}
