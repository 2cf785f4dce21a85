//! The world as a process sees it: a store that fails, a sink with two phases, a wire between coordinator and worker.

use std::sync::Arc;
use std::time::Duration;

use api::control::{FromWorker, ToWorker};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use checkpoint::commit::CommitPermit;
use checkpoint::ids::{Attempt, Epoch, PipelineId};
use checkpoint::manifest::Committable;
use futures::future::BoxFuture;
use runtime::connectors::{
    Classification, CommitOutcome, Committer, PreCommit, Retry, SinkConnector, SinkCounters, SinkError, SinkWriter,
    WriterIdentity,
};
use runtime::coordinator::{ChannelPort, WorkerPort};
use runtime::store::{CheckpointStore, Created, StoreError};

use crate::world::{Fault, PieceOutcome, Row, World};

/// Virtual time that a call to a healthy store or target takes at most.
const LATENCY_MS: u64 = 8;

async fn delay(world: &World) {
    let time = Duration::from_micros(world.below(LATENCY_MS * 1_000));
    tokio::time::sleep(time).await;
}

pub(crate) struct SimStore(pub(crate) Arc<World>);

impl SimStore {
    fn error(operation: &'static str, name: &str) -> StoreError {
        StoreError { operation, address: name.to_owned(), message: "no answer".into(), retry: Retry::Backoff }
    }

    /// Faults that every call can meet; `true`: the reply is lost.
    async fn weather(&self, operation: &'static str, name: &str) -> Result<bool, StoreError> {
        delay(&self.0).await;
        if self.0.strikes(Fault::StoreErrorBefore) {
            return Err(Self::error(operation, name));
        }
        if self.0.strikes(Fault::StoreSlow) {
            tokio::time::sleep(Duration::from_millis(self.0.below(1_500))).await;
        }
        Ok(self.0.strikes(Fault::StoreLostReply))
    }
}

impl CheckpointStore for SimStore {
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("create", name).await?;
            if name.contains("/parts/") && self.0.strikes(Fault::SlowUpload) {
                tokio::time::sleep(Duration::from_millis(1_000 + self.0.below(4_000))).await;
            }
            if self.0.strikes(Fault::StoreLateWrite) {
                self.0.send_late(name, &body);
                return Err(Self::error("create", name));
            }
            let is_new = self.0.create(name, &body);
            delay(&self.0).await;
            if is_lost {
                return Err(Self::error("create", name));
            }
            Ok(if is_new { Created::New } else { Created::Exists })
        })
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("read", name).await?;
            if is_lost { Err(Self::error("read", name)) } else { Ok(self.0.read(name)) }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("list", prefix).await?;
            if is_lost { Err(Self::error("list", prefix)) } else { Ok(self.0.list(prefix)) }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("delete", name).await?;
            self.0.delete(name);
            if is_lost { Err(Self::error("delete", name)) } else { Ok(()) }
        })
    }

    fn address(&self, name: &str) -> String {
        format!("memory:///{name}")
    }
}

pub(crate) struct SimSink {
    pub(crate) world: Arc<World>,
    pub(crate) name: &'static str,
}

fn sink_error(sink: &str, message: &str) -> SinkError {
    let (sink, path, message) = (sink.to_owned(), "memory".to_owned(), message.to_owned());
    SinkError::Io { sink, path, message, retry: Retry::Backoff }
}

impl SinkConnector for SimSink {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open_writer(&self, identity: WriterIdentity, _: SchemaRef) -> Result<Box<dyn SinkWriter>, SinkError> {
        let world = Arc::clone(&self.world);
        Ok(Box::new(SimWriter { world, identity, open: None, pieces: 0, counters: SinkCounters::default() }))
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(SimCommitter { world: Arc::clone(&self.world), sink: self.name })
    }

    fn kind(&self) -> &'static str {
        "memory"
    }

    fn target(&self) -> String {
        self.name.to_owned()
    }
}

struct SimWriter {
    world: Arc<World>,
    identity: WriterIdentity,
    open: Option<(String, Vec<Row>)>,
    pieces: u64,
    counters: SinkCounters,
}

impl SinkWriter for SimWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        let WriterIdentity { sink, attempt, subtask, .. } = &self.identity;
        if self.world.strikes(Fault::SinkWriteFailure) {
            return Err(sink_error(sink, "no space"));
        }
        if self.open.is_none() {
            let handle = format!("{sink}-{attempt}-{subtask}-{}", self.pieces);
            self.pieces += 1;
            self.world.open_piece(&handle, sink, *attempt);
            self.open = Some((handle, Vec::new()));
        }
        if let Some((_, open)) = &mut self.open {
            open.extend(rows_of(rows));
        }
        self.counters.records += rows.num_rows() as u64;
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        let sealed = self.open.take();
        let (world, identity) = (Arc::clone(&self.world), self.identity.clone());
        Ok(Box::new(move || {
            let Some((handle, rows)) = sealed else { return Ok(Vec::new()) };
            if world.strikes(Fault::PreCommitFailure) {
                return Err(sink_error(&identity.sink, "sync failed"));
            }
            let count = rows.len() as u64;
            if !world.prepare_piece(&handle, rows) {
                // A later attempt took it away: this one is a zombie and will be fenced before it decides anything.
                return Err(sink_error(&identity.sink, "the piece is gone"));
            }
            let WriterIdentity { sink, subtask: writer, attempt, .. } = identity;
            Ok(vec![Committable { sink, writer, attempt, epoch, rows: count, expiry: None, handle }])
        }))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
}

/// Every column as a number; times in microseconds.
fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<Vec<i64>> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
            DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
            other => unreachable!("a column of type {other} in the simulation"),
        })
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

struct SimCommitter {
    world: Arc<World>,
    sink: &'static str,
}

impl Committer for SimCommitter {
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        Box::pin(async move {
            delay(&self.world).await;
            if self.world.strikes(Fault::CommitErrorBefore) {
                return Err(sink_error(self.sink, "no answer"));
            }
            Ok(match self.world.piece_is(&committable.handle) {
                Some(true) => Classification::Committed,
                Some(false) => Classification::Prepared,
                None => Classification::Lost,
            })
        })
    }

    fn commit<'a>(
        &'a self,
        _: &'a CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        Box::pin(async move {
            delay(&self.world).await;
            if self.world.strikes(Fault::CommitErrorBefore) {
                return Err(sink_error(self.sink, "no answer"));
            }
            let outcome = self.world.commit_piece(&committable.handle);
            delay(&self.world).await;
            if self.world.strikes(Fault::CommitLostReply) {
                return Err(sink_error(self.sink, "answer lost"));
            }
            Ok(match outcome {
                PieceOutcome::Committed => CommitOutcome::Committed,
                PieceOutcome::Already => CommitOutcome::AlreadyCommitted,
                PieceOutcome::Gone => CommitOutcome::Lost,
            })
        })
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.world.abort_piece(&committable.handle);
            Ok(())
        })
    }

    fn abort_leftovers(&self, _: PipelineId, before: Attempt) -> BoxFuture<'_, Result<u64, SinkError>> {
        Box::pin(async move {
            delay(&self.world).await;
            Ok(self.world.abort_pieces(self.sink, before))
        })
    }
}

/// A port that encodes every message: coordinator and worker share nothing, or this would not work.
pub(crate) struct WirePort(pub(crate) ChannelPort);

fn through_the_wire<T>(message: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = serde_json::to_vec(message).expect("messages are serialisable");
    let decoded = serde_json::from_slice(&bytes).expect("messages are what they were");
    assert_eq!(*message, decoded);
    decoded
}

impl WorkerPort for WirePort {
    fn send(&mut self, message: ToWorker) -> BoxFuture<'_, bool> {
        self.0.send(through_the_wire(&message))
    }

    fn recv(&mut self) -> BoxFuture<'_, Option<FromWorker>> {
        Box::pin(async move { self.0.recv().await.as_ref().map(through_the_wire) })
    }
}
