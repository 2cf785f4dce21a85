//! Commits that are stuck for longer than the commit budget cost attempts that the restart policy does not count.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use checkpoint::commit::CommitPermit;
use checkpoint::manifest::{Committable, Expiry};
use checkpoint::record::{self, Cause, Claim};
use futures::future::{BoxFuture, ready};

use super::*;
use crate::connectors::{
    Classification, CommitOutcome, Committer, Earlier, PreCommit, SinkConnector, SinkCounters, SinkError, SinkWriter,
    WriterContext, WriterIdentity,
};
use crate::element::Batch;

/// So long after a transaction began it may still be decided.
const SECONDS_TO_DECIDE: u64 = 5;

#[derive(Default)]
pub(super) struct Target {
    /// Rows by handle, with the attempt that wrote them.
    pub(super) prepared: BTreeMap<String, (Attempt, Vec<i64>)>,
    pub(super) committed: BTreeMap<String, Vec<i64>>,
    pub(super) refused: u32,
    /// What it says of itself, of whatever pipeline.
    pub(super) newest_visible: Option<DecisionId>,
}

/// A target that takes no commit for a while, again and again.
#[derive(Clone)]
pub(super) struct Stuck {
    pub(super) clock: RuntimeClock,
    pub(super) seconds: Vec<Range<u64>>,
    pub(super) target: Arc<Mutex<Target>>,
}

impl SinkConnector for Stuck {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
    fn open_writer(&self, WriterContext { identity, .. }: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Writer { sink: self.clone(), identity, rows: Vec::new(), began: None }))
    }
    fn committer(&self) -> Box<dyn Committer> {
        Box::new(self.clone())
    }
    fn kind(&self) -> &'static str {
        "stuck"
    }
    fn target(&self) -> String {
        "here".into()
    }
}

struct Writer {
    sink: Stuck,
    identity: WriterIdentity,
    rows: Vec<i64>,
    began: Option<u64>,
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let now = self.sink.clock.monotonic().as_millis() as u64;
        self.began.get_or_insert(now);
        self.rows.extend(batch.rows.column(0).as_primitive::<Int64Type>().values());
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        let Some(start_ms) = self.began.take() else { return Ok(Box::new(|| Ok(Vec::new()))) };
        let (attempt, rows) = (self.identity.attempt, std::mem::take(&mut self.rows));
        let committable = Committable {
            sink: self.identity.sink.clone(),
            writer: self.identity.subtask,
            attempt,
            epoch,
            rows: rows.len() as u64,
            expiry: Some(Expiry {
                start_ms,
                timeout_ms: 600_000,
                commit_budget_ms: 600_000 - SECONDS_TO_DECIDE * 1_000,
            }),
            handle: format!("{}/{attempt}/{epoch}/{}", self.identity.pipeline, self.identity.subtask.0),
        };
        self.sink.target.lock().unwrap().prepared.insert(committable.handle.clone(), (attempt, rows));
        Ok(Box::new(|| Ok(vec![committable])))
    }

    fn counters(&self) -> SinkCounters {
        SinkCounters::default()
    }
}

impl Committer for Stuck {
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        let target = self.target.lock().unwrap();
        Box::pin(ready(Ok(match &committable.handle {
            handle if target.committed.contains_key(handle) => Classification::Committed,
            handle if target.prepared.contains_key(handle) => Classification::Prepared,
            _ => Classification::Lost,
        })))
    }

    fn commit<'a>(
        &'a self,
        _: &'a CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        let (mut target, now) = (self.target.lock().unwrap(), self.clock.monotonic().as_secs());
        if self.seconds.iter().any(|stuck| stuck.contains(&now)) {
            target.refused += 1;
            let (sink, path, message) = ("out".into(), "here".into(), "stuck".into());
            return Box::pin(ready(Err(SinkError::Io { sink, path, message, retry: Retry::Backoff })));
        }
        let outcome = match target.prepared.remove(&committable.handle) {
            Some((_, rows)) => {
                target.committed.insert(committable.handle.clone(), rows);
                CommitOutcome::Committed
            }
            None if target.committed.contains_key(&committable.handle) => CommitOutcome::AlreadyCommitted,
            None => CommitOutcome::Lost,
        };
        Box::pin(ready(Ok(outcome)))
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        self.target.lock().unwrap().prepared.remove(&committable.handle);
        Box::pin(ready(Ok(())))
    }

    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        let (before, of) = (earlier.before, earlier.pipeline.to_string());
        let mut target = self.target.lock().unwrap();
        let all = target.prepared.len();
        target.prepared.retain(|handle, (attempt, _)| *attempt >= before || !handle.starts_with(&of));
        Box::pin(ready(Ok((all - target.prepared.len()) as u64)))
    }

    fn newest_visible(&self, _: PipelineId) -> BoxFuture<'_, Result<Option<DecisionId>, SinkError>> {
        Box::pin(ready(Ok(self.target.lock().unwrap().newest_visible)))
    }
}

#[tokio::test(start_paused = true)]
async fn commit_blocked_neither_counts_as_a_failure_nor_forgives_one() {
    let clock = RuntimeClock::start();
    let policy = json!({"fixedDelay": {"attempts": 1, "delay": "1s"}});
    let mut assembled = assemble(&pipeline(&policy), &Secrets::new("/nowhere")).unwrap();
    assembled.setup.interval = Duration::from_secs(1);
    // The first attempt fails, the next two are blocked, and the second failure is one more than the policy bears.
    let runs = Mutex::new([2, NEVER, NEVER, 40].into());
    let source = Arc::clone(&assembled.setup.sources["ticks"]);
    let failing: Arc<dyn SourceConnector> = Arc::new(Failing { source, runs, retry: Retry::Backoff });
    let stuck = Stuck { clock, seconds: vec![5..20, 30..45], target: Arc::default() };
    let sink: Arc<dyn SinkConnector> = Arc::new(stuck.clone());
    assembled.setup.sources.insert("ticks".into(), Arc::clone(&failing));
    assembled.setup.sinks.insert("out".into(), Arc::clone(&sink));
    let mut plan: Plan = Arc::into_inner(assembled.plan).unwrap();
    plan.sources.insert("ticks".into(), failing);
    plan.sinks.insert("out".into(), sink);
    assembled.plan = Arc::new(plan);
    let store = MemoryStore::new(Arc::new(clock));
    let world = World {
        store: Arc::new(store.clone()),
        clock: Arc::new(clock),
        random: Arc::new(SeededRandom::new(7)),
        workers: Arc::new(InProcess),
    };
    let witness = Arc::new(Witness { clock, events: Mutex::default() });
    let observer = Arc::clone(&witness) as Arc<dyn Observer>;
    let ended = run_in(world, assembled, RunOptions::default(), observer, StopSignal::never()).await;
    assert_exhausted(ended, "fixedDelay.attempts: 1");

    assert_eq!(witness.pauses(), [1_000; 3]);
    let events = witness.events.lock().unwrap();
    let failed: Vec<_> = events
        .iter()
        .filter_map(|(at, event)| match event {
            RunEvent::AttemptFailed { message, .. } => Some((at.as_secs(), message.contains("CommitBlocked"))),
            _ => None,
        })
        .collect();
    // A decision met the stuck target at second 5 or 6 (30 or 31); the time of the next began there.
    assert!(matches!(failed[..], [(2, false), (10 | 11, true), (35 | 36, true)]), "{failed:?}");
    let objects = store.objects();
    let cause = |attempt: u64| record::decode::<Claim>(&objects[&format!("0/attempts/{attempt}/claim")]).unwrap().cause;
    assert!(matches!(cause(2), Cause::Failure { .. }));
    assert_eq!([cause(3), cause(4)], [Cause::CommitBlocked, Cause::CommitBlocked]);
    let target = stuck.target.lock().unwrap();
    assert!(target.refused > 10, "{}", target.refused);
    let mut rows: Vec<i64> = target.committed.values().flatten().copied().collect();
    rows.sort_unstable();
    assert!(rows.len() > 400 && rows.iter().copied().eq(0..rows.len() as i64), "{} rows: {rows:?}", rows.len());
}
