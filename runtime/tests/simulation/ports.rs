//! The world as a process sees it: a store that fails, a sink with two phases, a wire between coordinator and worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::control::{FromWorker, ToWorker};
use bytes::Bytes;
use checkpoint::commit::CommitPermit;
use checkpoint::ids::Epoch;
use checkpoint::manifest::Committable;
use futures::future::BoxFuture;
use runtime::connectors::{
    Classification, CommitOutcome, Committer, Earlier, PreCommit, Retry, SinkConnector, SinkCounters, SinkError,
    SinkWriter, WriterContext, WriterIdentity,
};
use runtime::coordinator::WorkerPort;
use runtime::element::Batch;
use runtime::run::{Employed, InProcess, Workers};
use runtime::store::{CheckpointStore, Created, StoreError};
use runtime::tasks;
use runtime::worker::{Environment, Plan, Rules};

use crate::kinds::Fault;
use crate::mutants::{self, Mutant, State};
use crate::oracle::PieceOutcome;
use crate::source::numbers;
use crate::world::{Row, World};

/// Virtual time that a call to a healthy store or target takes at most.
const LATENCY_MS: u64 = 8;

async fn delay(world: &World) {
    let time = Duration::from_micros(world.below(LATENCY_MS * 1_000));
    tokio::time::sleep(time).await;
}

/// What a process had to bear: only that excuses how it ends.
#[derive(Default)]
pub(crate) struct Trouble {
    pub(crate) unanswered: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

pub(crate) struct SimStore {
    pub(crate) world: Arc<World>,
    pub(crate) trouble: Arc<Trouble>,
}

impl SimStore {
    fn error(&self, operation: &'static str, name: &str) -> StoreError {
        self.trouble.unanswered.fetch_add(1, Ordering::Relaxed);
        StoreError { operation, address: name.to_owned(), message: "no answer".into(), retry: Retry::Backoff }
    }

    /// Faults that every call can meet; `true`: the reply is lost.
    async fn weather(&self, operation: &'static str, name: &str) -> Result<bool, StoreError> {
        delay(&self.world).await;
        if self.world.strikes(Fault::StoreErrorBefore) {
            return Err(self.error(operation, name));
        }
        if self.world.strikes(Fault::StoreSlow) {
            tokio::time::sleep(Duration::from_millis(self.world.below(1_500))).await;
        }
        Ok(self.world.strikes(Fault::StoreLostReply))
    }
}

impl CheckpointStore for SimStore {
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("create", name).await?;
            let is_part = name.contains("/parts/");
            if is_part && self.world.lasts(Fault::PartOutage) {
                return Err(self.error("create", name));
            }
            if is_part && self.world.strikes(Fault::SlowUpload) {
                tokio::time::sleep(Duration::from_millis(1_000 + self.world.below(4_000))).await;
            }
            if self.world.strikes(Fault::StoreLateWrite) {
                self.world.send_late(name, &body);
                return Err(self.error("create", name));
            }
            if self.world.answers_early(name) {
                self.world.send_late(name, &body);
                return Ok(Created::New);
            }
            let is_new = self.world.create(name, &body);
            delay(&self.world).await;
            if is_lost {
                return Err(self.error("create", name));
            }
            Ok(if is_new { Created::New } else { Created::Exists })
        })
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("read", name).await?;
            if is_lost {
                return Err(self.error("read", name));
            }
            let body = self.world.read(name);
            if body.is_some() && self.world.is_damaged_object(name) {
                self.trouble.damaged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(match body {
                Some(body) if self.world.strikes(Fault::CorruptRead) => {
                    self.trouble.corrupt.fetch_add(1, Ordering::Relaxed);
                    Some(self.world.flip(&body))
                }
                body => body,
            })
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("list", prefix).await?;
            if is_lost { Err(self.error("list", prefix)) } else { Ok(self.world.list(prefix)) }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let is_lost = self.weather("delete", name).await?;
            self.world.delete(name);
            if is_lost { Err(self.error("delete", name)) } else { Ok(()) }
        })
    }

    fn address(&self, name: &str) -> String {
        format!("memory:///{name}")
    }
}

/// What an injected panic says; it is raised past the hook that would print it.
pub(crate) const INJECTED: &str = "injected panic";

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

    fn open_writer(&self, WriterContext { identity, .. }: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError> {
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
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let WriterIdentity { sink, attempt, subtask, .. } = &self.identity;
        if self.world.strikes(Fault::SinkWriteFailure) {
            return Err(sink_error(sink, "no space"));
        }
        if self.world.strikes(Fault::TaskPanic) {
            std::panic::resume_unwind(Box::new(INJECTED));
        }
        if self.open.is_none() {
            let attempt_in_name = if self.world.is(Mutant::NameWithoutAttempt) { 0 } else { attempt.0 };
            let handle = format!("{sink}-{attempt_in_name}-{subtask}-{}", self.pieces);
            self.pieces += 1;
            self.world.open_piece(&handle, sink, *attempt);
            self.open = Some((handle, Vec::new()));
        }
        if let Some((_, open)) = &mut self.open {
            open.extend(numbers(&batch.rows));
        }
        self.counters.records += batch.rows.num_rows() as u64;
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
            if world.is(Mutant::CommitBeforeDecision) {
                world.commit_piece(&handle);
            }
            let WriterIdentity { sink, subtask: writer, attempt, .. } = identity;
            Ok(vec![Committable { sink, writer, attempt, epoch, rows: count, expiry: None, handle }])
        }))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
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
            if self.world.is(Mutant::ForgetPending) {
                return Ok(Classification::Committed);
            }
            Ok(match self.world.look_at_piece(&committable.handle) {
                PieceOutcome::Committed | PieceOutcome::Already => Classification::Committed,
                PieceOutcome::Prepared => Classification::Prepared,
                PieceOutcome::Gone => Classification::Lost,
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
            if self.world.lasts(Fault::CommitOutage) || self.world.strikes(Fault::CommitErrorBefore) {
                return Err(sink_error(self.sink, "no answer"));
            }
            if self.world.look_at_piece(&committable.handle) == PieceOutcome::Prepared
                && self.world.strikes(Fault::TargetLoss)
            {
                self.world.lose_piece(&committable.handle);
            }
            let outcome = self.world.commit_piece(&committable.handle);
            delay(&self.world).await;
            if self.world.strikes(Fault::CommitLostReply) {
                return Err(sink_error(self.sink, "answer lost"));
            }
            Ok(match outcome {
                PieceOutcome::Committed => CommitOutcome::Committed,
                PieceOutcome::Already => CommitOutcome::AlreadyCommitted,
                PieceOutcome::Gone | PieceOutcome::Prepared => CommitOutcome::Lost,
            })
        })
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            delay(&self.world).await;
            self.world.take_back_piece(&committable.handle);
            Ok(())
        })
    }

    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        let before = earlier.before;
        Box::pin(async move {
            delay(&self.world).await;
            Ok(self.world.abort_pieces(self.sink, before))
        })
    }
}

/// Workers behind a port that encodes every message: coordinator and worker share nothing, or this would not work.
pub(crate) struct WiredWorkers(pub(crate) Arc<World>);

impl Workers for WiredWorkers {
    fn start(&self, plan: Arc<Plan>, environment: Environment) -> Employed {
        let world = Arc::clone(&self.0);
        let rules = world.mutant().map_or_else(Rules::default, Mutant::rules);
        let Employed { port, worker } = InProcess.start(plan, Environment { rules, ..environment });
        let watched = tasks::spawn("watched worker", {
            let world = Arc::clone(&world);
            async move {
                if let Err(panic) = worker.await {
                    world.violation(format!("a worker did not end as it should: {panic}"));
                }
            }
        });
        Employed { port: Box::new(WirePort { port, world }), worker: watched }
    }
}

struct WirePort {
    port: Box<dyn WorkerPort>,
    world: Arc<World>,
}

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
        let mut message = through_the_wire(&message);
        if let ToWorker::Deploy(deployment) = &mut message {
            let State { parallelism, snapshots } = self.world.keep_state(deployment);
            if self.world.is(Mutant::StaleState) && parallelism == deployment.snapshot_parallelism {
                mutants::put_back(&mut deployment.snapshots, &snapshots);
            }
        }
        self.port.send(message)
    }

    fn recv(&mut self) -> BoxFuture<'_, Option<FromWorker>> {
        Box::pin(async move { self.port.recv().await.as_ref().map(through_the_wire) })
    }
}
