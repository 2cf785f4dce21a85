//! A pipeline of one task that reads `TOTAL` rows, `STEP` at each barrier, and writes each range as one committable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::control::{Acknowledgement, FailureKind, FromWorker, StageTimes, TaskId, ToWorker};
use api::pipeline::{FixedDelay, RestartStrategy};
use arrow::datatypes::{Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use checkpoint::commit::CommitPermit;
use checkpoint::ids::{Attempt, Epoch, LogIndex, OperatorId, Subtask};
use checkpoint::manifest::{Committable, Expiry, OperatorPlan, OperatorSnapshot, StatePart};
use checkpoint::paths;
use checkpoint::record::Cause;
use checkpoint::recovery::Intent;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use crate::clock::{Clock, RuntimeClock, SeededRandom};
use crate::connectors::{
    Assignment, Classification, CommitOutcome, Committer, Earlier, Retry, SinkConnector, SinkError, SinkWriter,
    SourceConnector, SourceError, SourceReader, Split, WriterContext,
};
use crate::coordinator::manifests::content_hash;
use crate::coordinator::{Context, CoordinatorError, Ended, Progress, Setup, Start, WorkerPort, run_attempt};
use crate::element::Watermark;
use crate::metrics::{Metrics, Names};
use crate::run::{Observer, Requests, RunEvent, StopSignal};
use crate::store::memory::{Faults, MemoryStore, NoFaults};
use crate::worker::source_operator;

pub(super) const TOTAL: u64 = 60;
pub(super) const STEP: u64 = 10;
const LOCKED: &str = "a test thread panicked";

/// What the sink's target holds. A handle is `from-to-attempt`.
#[derive(Default)]
pub(super) struct Target {
    /// Pre-committed ranges by handle, with the attempt that owns each.
    pub(super) prepared: BTreeMap<String, Attempt>,
    pub(super) committed: Vec<String>,
    /// Commits that fail before they succeed.
    pub(super) failing_commits: u32,
    pub(super) never_heals: bool,
    pub(super) commits_failed: u32,
    pub(super) aborted: u32,
}

#[derive(Clone, Default)]
pub(super) struct Sink(pub(super) Arc<Mutex<Target>>);

impl Sink {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Target) -> T) -> T {
        look(&mut self.0.lock().expect(LOCKED))
    }

    /// Every row exactly once, in any order.
    pub(super) fn assert_exactly_once(&self, total: u64) {
        let mut rows: Vec<u64> = self.with(|target| target.committed.iter().flat_map(|h| range(h)).collect());
        rows.sort_unstable();
        assert_eq!(rows, (0..total).collect::<Vec<_>>(), "rows lost or doubled");
    }
}

fn range(handle: &str) -> std::ops::Range<u64> {
    let mut numbers = handle.split('-').map(|number| number.parse().unwrap());
    numbers.next().unwrap()..numbers.next().unwrap()
}

impl SinkConnector for Sink {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
    fn open_writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError> {
        Err(SinkError::Row { sink: "out".into(), message: "the scripted worker writes by itself".into(), origin: None })
    }
    fn committer(&self) -> Box<dyn Committer> {
        Box::new(self.clone())
    }
    fn kind(&self) -> &'static str {
        "memory"
    }
    fn target(&self) -> String {
        "here".into()
    }
}

impl Committer for Sink {
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.with(|target| match &committable.handle {
                handle if target.committed.contains(handle) => Classification::Committed,
                handle if target.prepared.contains_key(handle) => Classification::Prepared,
                _ => Classification::Lost,
            }))
        })
    }

    fn commit<'a>(
        &'a self,
        permit: &'a CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(permit.decided_by().0 == committable.attempt, "decided by another attempt than its writer's");
            self.with(|target| {
                if target.failing_commits > 0 {
                    target.failing_commits -= 1;
                    target.commits_failed += 1;
                    let retry = if target.never_heals { Retry::Never } else { Retry::Backoff };
                    let (sink, path, message) = ("out".into(), "here".into(), "busy".into());
                    return Err(SinkError::Io { sink, path, message, retry });
                }
                Ok(if target.committed.contains(&committable.handle) {
                    CommitOutcome::AlreadyCommitted
                } else if target.prepared.remove(&committable.handle).is_some() {
                    target.committed.push(committable.handle.clone());
                    CommitOutcome::Committed
                } else {
                    CommitOutcome::Lost
                })
            })
        })
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.with(|target| target.prepared.remove(&committable.handle));
            Ok(())
        })
    }

    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        let before = earlier.before;
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.with(|target| {
                let all = target.prepared.len();
                target.prepared.retain(|_, owner| *owner >= before);
                let aborted = all - target.prepared.len();
                target.aborted += aborted as u32;
                aborted as u64
            }))
        })
    }
}

struct Source;

impl SourceConnector for Source {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::empty())
    }
    fn resolve(&self, _: u32) -> Result<Vec<Split>, SourceError> {
        Ok(vec![split(0)])
    }
    fn open(&self, _: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        Err(SourceError::DataLost { source_name: "in".into(), message: "the scripted worker reads by itself".into() })
    }
}

fn split(position: u64) -> Split {
    Split { id: "0".into(), position: position.to_string(), watermark: Watermark::START, finished: false }
}

/// The worker's part: one task that reads a step and pre-commits it at each barrier.
pub(super) struct Script {
    sink: Sink,
    out: VecDeque<FromWorker>,
    more: Notify,
    attempt: Attempt,
    restored: u64,
    position: u64,
    undecided: Vec<Committable>,
    /// Barriers that are declined, by epoch.
    pub(super) declines: BTreeSet<u64>,
    /// Barriers that are never answered.
    pub(super) ignores: BTreeSet<u64>,
    /// Fails when asked for this epoch.
    pub(super) fails: Option<(u64, FailureKind)>,
    /// Its target has a timeout, and its answers may be late.
    pub(super) timed: Option<Timed>,
    /// State is an object of its own, in here.
    pub(super) parts: Option<MemoryStore>,
    /// An earlier attempt that still writes: it begins something at the next barrier.
    pub(super) zombie: Option<Attempt>,
}

/// A target that throws away what is not committed in time.
pub(super) struct Timed {
    pub(super) clock: RuntimeClock,
    pub(super) timeout_ms: u64,
    pub(super) budget_ms: u64,
    /// How long after its barrier an epoch is acknowledged.
    pub(super) slow: BTreeMap<u64, Duration>,
    /// When the open transaction began.
    began_ms: u64,
    /// When the next words are said.
    due: Duration,
}

impl Timed {
    pub(super) fn new(clock: RuntimeClock, timeout_ms: u64, budget_ms: u64) -> Self {
        Self { clock, timeout_ms, budget_ms, slow: BTreeMap::new(), began_ms: 0, due: Duration::ZERO }
    }

    /// The next transaction begins; how long the one before may live.
    fn turn(&mut self) -> Expiry {
        let start_ms = std::mem::replace(&mut self.began_ms, self.clock.monotonic().as_millis() as u64);
        Expiry { start_ms, timeout_ms: self.timeout_ms, commit_budget_ms: self.budget_ms }
    }
}

impl Script {
    pub(super) fn new(sink: &Sink) -> Self {
        Self {
            sink: sink.clone(),
            out: VecDeque::new(),
            more: Notify::new(),
            attempt: Attempt(0),
            restored: 0,
            position: 0,
            undecided: Vec::new(),
            declines: BTreeSet::new(),
            ignores: BTreeSet::new(),
            fails: None,
            timed: None,
            parts: None,
            zombie: None,
        }
    }

    /// Rows read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    fn obey(&mut self, message: ToWorker) {
        let task = TaskId { stage: "in".into(), subtask: Subtask(0) };
        match message {
            ToWorker::Deploy(deployment) => {
                self.attempt = deployment.attempt;
                let positions = deployment.snapshots.iter().find(|s| s.operator == source_operator("in")).unwrap();
                let body = match (&positions.parts[0], &self.parts) {
                    (StatePart::Inline { body }, _) => STANDARD.decode(body).unwrap(),
                    (StatePart::Stored { name, .. }, Some(store)) => store.objects()[name].to_vec(),
                    (StatePart::Stored { .. }, None) => panic!("small state is inlined"),
                };
                let splits: Vec<Split> = serde_json::from_slice(&body).unwrap();
                self.timed.as_mut().map(Timed::turn);
                self.position = splits[0].position.parse().unwrap();
                self.restored = self.position;
                self.out.push_back(FromWorker::Deployed { attempt: self.attempt, tasks: vec![task.clone()] });
                if self.position >= TOTAL {
                    self.out.push_back(FromWorker::Ended { attempt: self.attempt, task });
                }
            }
            ToWorker::Checkpoint { attempt, epoch } if attempt == self.attempt => self.barrier(epoch, task),
            ToWorker::Decided { attempt, epoch } if attempt == self.attempt => {
                self.undecided.retain(|committable| committable.epoch > epoch);
            }
            ToWorker::Stop { attempt } => self.out.push_back(FromWorker::Stopped { attempt }),
            ToWorker::Checkpoint { .. } | ToWorker::Decided { .. } | ToWorker::Committed { .. } => {}
        }
        self.more.notify_one();
    }

    fn barrier(&mut self, epoch: Epoch, task: TaskId) {
        let attempt = self.attempt;
        if let Some(zombie) = self.zombie.take() {
            self.sink.with(|target| target.prepared.insert(format!("0-{STEP}-{zombie}"), zombie));
        }
        if let Some((_, kind)) = self.fails.filter(|(at, _)| *at == epoch.0) {
            let reason = "line 7 is malformed".to_owned();
            return self.out.push_back(FromWorker::Failed { attempt, task, reason, kind });
        }
        let expiry = self.timed.as_mut().map(Timed::turn);
        if let Some(timed) = &mut self.timed {
            timed.due = timed.clock.monotonic() + timed.slow.get(&epoch.0).copied().unwrap_or_default();
        }
        if self.position < TOTAL {
            let handle = format!("{}-{}-{attempt}", self.position, self.position + STEP);
            self.position += STEP;
            self.sink.with(|target| target.prepared.insert(handle.clone(), attempt));
            self.undecided.push(Committable {
                sink: "out".into(),
                writer: Subtask(0),
                attempt,
                epoch,
                rows: STEP,
                expiry,
                handle,
            });
        }
        if self.ignores.contains(&epoch.0) {
            return;
        }
        if self.declines.contains(&epoch.0) {
            let reason = "disk is full".to_owned();
            return self.out.push_back(FromWorker::Declined { attempt, epoch, task, reason });
        }
        let part = self.part(epoch, serde_json::to_vec(&[split(self.position)]).unwrap());
        let finished = self.position >= TOTAL;
        self.out.push_back(FromWorker::Acknowledged(Box::new(Acknowledgement {
            attempt,
            epoch,
            task: task.clone(),
            snapshots: vec![OperatorSnapshot {
                operator: source_operator("in"),
                subtask: Subtask(0),
                parts: vec![part],
            }],
            committables: self.undecided.clone(),
            times: StageTimes { upload_us: 7, ..StageTimes::default() },
            rows_in: self.position - self.restored,
            finished,
        })));
        if finished {
            self.out.push_back(FromWorker::Ended { attempt, task });
        }
    }

    fn part(&self, epoch: Epoch, body: Vec<u8>) -> StatePart {
        let Some(store) = &self.parts else { return StatePart::Inline { body: STANDARD.encode(body) } };
        let name = format!("{}state-{epoch}", paths::parts(LogIndex(0), self.attempt));
        let (length, hash) = (body.len() as u64, content_hash(&body));
        store.corrupt(&name, Some(body.into()));
        StatePart::Stored { name, length, hash }
    }
}

impl WorkerPort for Script {
    fn send(&mut self, message: ToWorker) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.obey(message);
            true
        })
    }

    fn recv(&mut self) -> BoxFuture<'_, Option<FromWorker>> {
        Box::pin(async move {
            loop {
                if let Some(timed) = self.timed.as_ref().filter(|timed| timed.due > timed.clock.monotonic()) {
                    timed.clock.sleep(timed.due.saturating_sub(timed.clock.monotonic())).await;
                }
                if let Some(message) = self.out.pop_front() {
                    return Some(message);
                }
                self.more.notified().await;
            }
        })
    }
}

#[derive(Clone, Default)]
pub(super) struct Events(pub(super) Arc<Mutex<Vec<RunEvent>>>);

impl Observer for Events {
    fn event(&self, event: RunEvent) {
        self.0.lock().expect(LOCKED).push(event);
    }
}

/// Everything that outlives a process.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) sink: Sink,
    pub(super) events: Events,
    pub(super) clock: RuntimeClock,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = RuntimeClock::start();
        Self { store: MemoryStore::new(Arc::new(clock)), sink: Sink::default(), events: Events::default(), clock }
    }

    pub(super) fn setup(&self) -> Setup {
        let sink: Arc<dyn SinkConnector> = Arc::new(self.sink.clone());
        let delay = api::pipeline::Duration::from_millis(10);
        Setup {
            sources: BTreeMap::from([("in".to_owned(), Arc::new(Source) as Arc<dyn SourceConnector>)]),
            sinks: BTreeMap::from([("out".to_owned(), sink)]),
            operators: vec![plan("in/source", "everything")],
            parallelism: 1,
            max_parallelism: 128,
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(2),
            tolerable_failures: 1,
            retain: 2,
            restart: RestartStrategy::FixedDelay(FixedDelay { attempts: 3, delay }),
            drop_state_of: BTreeSet::new(),
            former_sink: Arc::new(|_| None),
        }
    }

    pub(super) fn context(&self, setup: Setup, seed: u64, faults: Arc<dyn Faults>) -> Arc<Context> {
        let names = Names { sinks: vec!["out".into()], ..Names::default() };
        Arc::new(Context {
            setup,
            store: Arc::new(self.store.with_faults(faults)),
            clock: Arc::new(self.clock),
            random: Arc::new(SeededRandom::new(seed)),
            observer: Arc::new(self.events.clone()),
            metrics: Metrics::new(&names).unwrap(),
            progress: Progress::default(),
            requests: Requests::default(),
        })
    }

    /// One attempt of a process without faults.
    pub(super) async fn run(&self, seed: u64, intent: Intent) -> Result<Ended, CoordinatorError> {
        let context = self.context(self.setup(), seed, Arc::new(NoFaults));
        attempt(&context, intent, &mut Script::new(&self.sink), &StopSignal::never()).await
    }

    /// The same store and target, seen by an observer of one's own.
    pub(super) fn apart(&self) -> Self {
        Self { events: Events::default(), ..self.clone() }
    }

    pub(super) fn records(&self) -> Vec<String> {
        self.store.objects().into_keys().collect()
    }
}

pub(super) fn plan(operator: &str, fingerprint: &str) -> OperatorPlan {
    OperatorPlan { operator: OperatorId(operator.into()), fingerprint: fingerprint.into() }
}

pub(super) async fn attempt(
    context: &Arc<Context>,
    intent: Intent,
    script: &mut Script,
    stop: &StopSignal,
) -> Result<Ended, CoordinatorError> {
    let start = Start { log: LogIndex(0), cause: Cause::Start, intent, floor: None, identity: None, deletes: None };
    run_attempt(context, &start, script, stop).await
}

pub(super) const FINISHED: Ended = Ended::Finished { rows_in: TOTAL, rows_out: TOTAL };
