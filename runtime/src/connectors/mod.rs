//! Where rows come from and go to. Everything outside the process is reached through these traits.

pub mod connection;
pub mod discard;
mod error;
mod event_time;
pub mod files;
mod formats;
pub mod generator;
pub mod kafka;
mod reader;
mod record_schema;
pub mod registry;
mod transactions;
pub mod values;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use checkpoint::ids::{Attempt, Epoch, PipelineId, Subtask};
use checkpoint::manifest::Committable;
use checkpoint::record::DecisionId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use api::statistics::{Lag, SinkCounters, SourceCounters};
pub use checkpoint::commit::{Classification, CommitOutcome};

pub(crate) use self::error::retry_of;
pub use self::error::{Retry, SinkError, SourceError};
pub use self::event_time::EventTime;
pub use self::transactions::{Earlier, IdRange, Owner, Phase, Search, Stamp, Transaction};
use crate::clock::Clock;
use crate::element::{Batch, Watermark};
use crate::worker::StopSignal;

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

/// How far a split is read, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// "topic `orders` partition 3".
    pub split: String,
    /// What is read next: "offset 42".
    pub next: String,
}

/// What was read of a split, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// As in [`Reached`].
    pub split: String,
    /// What was read first, and what comes after it.
    pub from: String,
    pub to: String,
}

/// What one subtask reads of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its own splits, at their positions; none is allowed.
    pub splits: Vec<Split>,
    /// Ids of all splits of the source, whoever reads them.
    pub known: Arc<BTreeSet<String>>,
    pub subtask: Subtask,
    pub parallelism: u32,
}

/// Everything for one subtask.
impl From<Vec<Split>> for Assignment {
    fn from(splits: Vec<Split>) -> Self {
        let known = Arc::new(splits.iter().map(|split| split.id.clone()).collect());
        Self { splits, known, subtask: Subtask(0), parallelism: 1 }
    }
}

/// A configured source. Its methods may block on files and networks, and are called away from the data path.
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
    /// A reader for one subtask. Checks that what was read before is still there.
    fn open(&self, assignment: Assignment) -> Result<Box<dyn SourceReader>, SourceError>;
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
    /// What was read since somebody asked last, for a message about rows that are not in hand any more.
    fn stretches(&mut self) -> Vec<Stretch> {
        Vec::new()
    }
    /// All splits, finished ones too, with positions right after the last batch that `next` returned.
    fn snapshot(&self) -> Vec<Split>;
    /// The snapshot that was taken last belongs to this epoch.
    fn taken(&mut self, epoch: Epoch) {
        let _ = epoch;
    }
    /// The snapshot of this epoch, and all before it, will not be read again: the world may be told how far they are.
    fn decided(&mut self, epoch: Epoch) {
        let _ = epoch;
    }
    fn counters(&self) -> SourceCounters;
    /// Records that could be read and were not, where the source can tell.
    fn lag(&self) -> Vec<Lag> {
        Vec::new()
    }
}

/// Who writes: part of every name that a writer creates, so that a zombie can only touch its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterIdentity {
    pub pipeline: PipelineId,
    pub attempt: Attempt,
    pub sink: String,
    pub subtask: Subtask,
}

/// What a writer is opened with.
pub struct WriterContext {
    pub identity: WriterIdentity,
    pub schema: SchemaRef,
    /// The newest epoch of this attempt whose commits are all done: what was pre-committed up to it is final.
    pub committed: watch::Receiver<Epoch>,
    /// Whatever waits for the target gives up when the attempt is over.
    pub stop: StopSignal,
    pub clock: Arc<dyn Clock>,
}

/// A configured sink. Its methods, those of its writers aside, may block on files and networks, and are called away from
/// the data path.
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
    /// Must not block: whatever needs the target is done in the background, or by the first rows.
    fn open_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError>;
    fn committer(&self) -> Box<dyn Committer>;
    /// Kind and target as they stand in the claim (`files`, absolute path): enough to find leftovers without the manifest.
    fn kind(&self) -> &'static str;
    fn target(&self) -> String;
    /// Prefix of transactional ids and how many of them each writer may use in an attempt; `None` for targets without.
    fn transactional_ids(&self) -> Option<(String, u32)> {
        None
    }
    /// How long the target keeps a transaction that nobody ends, once [`Self::check`] has asked.
    fn transaction_timeout(&self) -> Option<Duration> {
        None
    }
}

/// The slow half of a pre-commit (flush, fsync): runs off the data path; its result travels in the acknowledgement.
pub type PreCommit = Box<dyn FnOnce() -> Result<Vec<Committable>, SinkError> + Send>;

/// Writes rows so that nobody sees them before their commit.
pub trait SinkWriter: Send {
    /// Takes all rows and never waits: whatever there is no room for is held until [`SinkWriter::room`] says so.
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError>;
    /// Asked after each input element, so that a writer holds back what one of them produced and no more.
    /// `None`: there is room, nothing is held back. Else it is asked again after this long.
    ///
    /// # Errors
    /// Rows written before that the target does not take.
    fn room(&mut self) -> Result<Option<Duration>, SinkError> {
        Ok(None)
    }
    /// Why a barrier cannot be honoured now, if so: its checkpoint is declined and rows go on into what is open.
    fn declines(&mut self) -> Option<String> {
        None
    }
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
    /// Removes what earlier attempts left open; returns how many pieces. Decided ones were committed before.
    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>>;
    /// A committable in people's words: how much it is, and where it lies.
    fn describe(&self, committable: &Committable) -> String {
        let Committable { rows, sink, epoch, .. } = committable;
        format!("{rows} rows of sink `{sink}` written in epoch {epoch}")
    }
    /// Transactions of this target, by id, with what it says of them, touching nothing; none where it has none.
    fn transactions<'a>(&'a self, search: &'a Search) -> BoxFuture<'a, Result<Vec<Transaction>, SinkError>> {
        let _ = search;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// The transaction that holds a committable: its id, and which of that id's.
    fn transaction_of(&self, committable: &Committable) -> Option<(String, Stamp)> {
        let _ = committable;
        None
    }
    /// The newest output of a pipeline that is visible, if the target can tell: by attempt, then by the epoch that it was
    /// pre-committed in. It was decided, so a log that ends earlier has lost records.
    fn newest_visible(&self, pipeline: PipelineId) -> BoxFuture<'_, Result<Option<DecisionId>, SinkError>> {
        let _ = pipeline;
        Box::pin(std::future::ready(Ok(None)))
    }
}
