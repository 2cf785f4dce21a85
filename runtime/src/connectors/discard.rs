//! A sink that counts rows and drops them, for measuring.

use checkpoint::commit::CommitPermit;
use checkpoint::ids::Epoch;
use checkpoint::manifest::Committable;
use futures::future::{BoxFuture, ready};

use super::{
    Classification, CommitOutcome, Committer, Earlier, PreCommit, SinkConnector, SinkCounters, SinkError, SinkWriter,
    WriterContext,
};
use crate::element::Batch;

/// A configured `discard` sink: it never has anything to commit.
pub struct Discard {
    name: String,
}

impl Discard {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

impl SinkConnector for Discard {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open_writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(DiscardWriter::default()))
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(NothingToCommit { sink: self.name.clone() })
    }

    fn kind(&self) -> &'static str {
        "discard"
    }

    fn target(&self) -> String {
        String::new()
    }
}

#[derive(Default)]
struct DiscardWriter {
    counters: SinkCounters,
}

impl SinkWriter for DiscardWriter {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.counters.records += batch.rows.num_rows() as u64;
        Ok(())
    }

    fn pre_commit(&mut self, _: Epoch) -> Result<PreCommit, SinkError> {
        Ok(Box::new(|| Ok(Vec::new())))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
}

/// A committable that claims to be of this sink cannot be: it is refused, never counted as committed.
struct NothingToCommit {
    sink: String,
}

impl NothingToCommit {
    fn refuse<T: Send + 'static>(&self) -> BoxFuture<'static, Result<T, SinkError>> {
        let message = "a discard sink makes no committables".to_owned();
        Box::pin(ready(Err(SinkError::Committable { sink: self.sink.clone(), message })))
    }
}

impl Committer for NothingToCommit {
    fn classify<'a>(&'a self, _: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        self.refuse()
    }

    fn commit<'a>(
        &'a self,
        _: &'a CommitPermit,
        _: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        self.refuse()
    }

    fn abort<'a>(&'a self, _: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        self.refuse()
    }

    fn abort_leftovers<'a>(&'a self, _: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(ready(Ok(0)))
    }
}
