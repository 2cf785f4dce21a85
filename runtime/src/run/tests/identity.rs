//! Whose log a start goes on with, dying at each of its steps; and how far that log must reach.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use checkpoint::record::{self, Claim, Entry, Record, Released};
use checkpoint::{claim, paths};
use tokio::sync::Notify;

use super::blocked::{Stuck, Target};
use super::*;
use crate::connectors::SinkConnector;
use crate::coordinator::{Log, inspect};
use crate::store::memory::{Faults, Operation, StoreFault};

const A: PipelineId = PipelineId(0xa);
const B: PipelineId = PipelineId(0xb);
const C: PipelineId = PipelineId(0xc);

/// What outlives a process.
struct Site {
    clock: RuntimeClock,
    store: MemoryStore,
    target: Arc<Mutex<Target>>,
    processes: AtomicU64,
}

/// Ends a process before the `nth` change that it makes to the store.
struct Dying {
    left: AtomicU64,
    now: Notify,
}

impl Dying {
    fn before(nth: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(nth), now: Notify::new() })
    }
}

impl Faults for Dying {
    fn next(&self, operation: Operation, _: &str) -> Option<StoreFault> {
        if !matches!(operation, Operation::Create | Operation::Delete) {
            return None;
        }
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if before == Ok(1) {
            self.now.notify_one();
        }
        // It is gone long before that.
        (before.unwrap_or(0) <= 1).then_some(StoreFault::Slow(Duration::from_hours(1_000)))
    }
}

/// How a process ended.
#[derive(Debug)]
enum End {
    Died,
    By(Result<Outcome, RunError>),
}

impl End {
    #[track_caller]
    fn assert_stopped(self) -> String {
        match self {
            Self::By(Ok(Outcome::Stopped { handle: Some(handle) })) => handle,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn assert_failed(self, reason: FailureReason) -> String {
        match self {
            Self::By(Err(RunError::Failed { reason: is, message })) if is == reason => message,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn assert_fenced(self) {
        assert!(matches!(self, Self::By(Err(RunError::Fenced { .. }))), "{self:?}");
    }

    #[track_caller]
    fn assert_refused(self) {
        assert!(matches!(self, Self::By(Err(RunError::Refused { .. }))), "{self:?}");
    }
}

fn of(identity: PipelineId) -> RunOptions {
    RunOptions { identity: Some(identity), grace: Duration::from_secs(5), ..RunOptions::default() }
}

impl Site {
    fn new() -> Self {
        let clock = RuntimeClock::start();
        let store = MemoryStore::new(Arc::new(clock));
        Self { clock, store, target: Arc::default(), processes: AtomicU64::new(1) }
    }

    /// A process over an endless generator, with a checkpoint each second; it is asked to stop after some seconds.
    async fn start(&self, options: RunOptions, takes_commits: bool, dying: Option<Arc<Dying>>) -> End {
        let mut assembled = assemble(&pipeline(&json!({})), &Secrets::new("/nowhere")).unwrap();
        assembled.setup.interval = Duration::from_secs(1);
        let always = 0..u64::MAX;
        let seconds = if takes_commits { Vec::new() } else { vec![always] };
        let stuck = Stuck { clock: self.clock, seconds, target: Arc::clone(&self.target) };
        let sink: Arc<dyn SinkConnector> = Arc::new(stuck);
        assembled.setup.sinks.insert("out".into(), Arc::clone(&sink));
        let mut plan: Plan = Arc::into_inner(assembled.plan).unwrap();
        plan.sinks.insert("out".into(), sink);
        assembled.plan = Arc::new(plan);
        let never = Arc::new(Dying { left: AtomicU64::new(u64::MAX), now: Notify::new() });
        let dying = dying.unwrap_or(never);
        let world = World {
            store: Arc::new(self.store.with_faults(Arc::clone(&dying) as Arc<dyn Faults>)),
            clock: Arc::new(self.clock),
            random: Arc::new(SeededRandom::new(self.processes.fetch_add(1, Ordering::Relaxed))),
            workers: Arc::new(InProcess),
        };
        let witness = Arc::new(Witness { clock: self.clock, events: Mutex::default() });
        let (stop, stopped) = stop_channel();
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            stop.stop();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = dying.now.notified() => End::Died,
            ended = run_in(world, assembled, options, witness, stopped) => End::By(ended),
            () = stopping => End::Died,
        }
    }

    async fn run(&self, options: RunOptions) -> End {
        self.start(options, true, None).await
    }

    /// A process of `identity` that has decided output which its target does not take, and has died then.
    async fn leave_a_decision(&self, identity: PipelineId) {
        let ended = self.start(of(identity), false, None).await;
        assert!(matches!(ended, End::By(Ok(Outcome::StoppedUndecided { .. }))), "{ended:?}");
        assert!(self.target.lock().unwrap().refused > 0);
        assert!(!self.owed().await.is_empty(), "nothing is owed");
    }

    /// Handles that the current log's newest decision lists.
    async fn owed(&self) -> Vec<String> {
        let seen = inspect::look(&self.log().await, claim::Depth::Newest).await.unwrap().unwrap();
        seen.newest.unwrap().manifest.committables.into_iter().map(|one| one.handle).collect()
    }

    async fn log(&self) -> Log {
        let index = crate::coordinator::claim::newest_log(&self.store).await.unwrap();
        Log::new(Arc::new(self.store.clone()), index, Arc::new(self.clock))
    }

    /// The pipeline of each log, and how many attempts it has.
    fn logs(&self) -> BTreeMap<u64, (PipelineId, u64)> {
        let mut logs = BTreeMap::new();
        for (name, body) in self.store.objects() {
            let Ok(Some(paths::ObjectName::Claim(log, _))) = paths::parse(&name) else { continue };
            let pipeline = record::decode::<Claim>(&body).unwrap().pipeline;
            let (of, attempts) = logs.entry(log.0).or_insert((pipeline, 0));
            assert_eq!(*of, pipeline, "log {log} has two owners");
            *attempts += 1;
        }
        logs
    }

    /// All objects but those of probes.
    fn objects(&self) -> BTreeMap<String, bytes::Bytes> {
        let is_log = |name: &str| matches!(paths::parse(name), Ok(Some(_)));
        self.store.objects().into_iter().filter(|(name, _)| is_log(name)).collect()
    }

    fn is_handed_over(&self, log: u64) -> bool {
        let hands_over = |body: &bytes::Bytes| {
            record::decode::<Entry>(body).is_ok_and(|entry| entry.record == Record::Released(Released::Superseded))
        };
        self.objects().iter().any(|(name, body)| name.starts_with(&format!("{log}/")) && hands_over(body))
    }

    /// Rows of a pipeline that are visible: the first ones, each once.
    #[track_caller]
    fn assert_exact(&self, pipeline: PipelineId) -> usize {
        let target = self.target.lock().unwrap();
        let of = |handle: &String| handle.starts_with(&pipeline.to_string());
        let mut rows: Vec<i64> =
            target.committed.iter().filter(|(handle, _)| of(handle)).flat_map(|(_, rows)| rows.clone()).collect();
        rows.sort_unstable();
        assert!(rows.iter().copied().eq(0..rows.len() as i64), "{pipeline}: {rows:?}");
        rows.len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_begun_has_the_identity_and_the_next_start_goes_on_with_it() {
    let site = Site::new();
    let first = site.run(of(A)).await.assert_stopped();
    let rows = site.assert_exact(A);
    assert_eq!(site.logs(), [(0, (A, 1))].into());
    assert_ne!(site.run(of(A)).await.assert_stopped(), first);
    assert_eq!(site.logs(), [(0, (A, 2))].into());
    assert!(rows > 0 && site.assert_exact(A) > rows);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_died_anywhere_is_gone_on_with_under_its_identity() {
    let mut deaths = 0;
    for nth in 1..200 {
        let site = Site::new();
        if !matches!(site.start(of(A), true, Some(Dying::before(nth))).await, End::Died) {
            break;
        }
        deaths += 1;
        site.run(of(A)).await.assert_stopped();
        assert!(site.logs().into_iter().eq([(0, (A, site.logs()[&0].1))]), "{nth}: {:?}", site.logs());
        site.assert_exact(A);
    }
    assert!(deaths > 6, "{deaths}: the claim, decisions and the end are changes");
}

#[tokio::test(start_paused = true)]
async fn a_log_of_another_identity_is_finished_with_and_followed_wherever_a_start_dies() {
    let mut deaths = 0;
    for nth in 1..200 {
        let site = Site::new();
        site.leave_a_decision(A).await;
        let owed = site.owed().await;
        if !matches!(site.start(of(B), true, Some(Dying::before(nth))).await, End::Died) {
            break;
        }
        deaths += 1;
        // Twice in a row, at the same place of its own.
        site.start(of(B), true, Some(Dying::before(nth))).await;
        site.run(of(B)).await.assert_stopped();
        let logs = site.logs();
        assert!(logs.iter().map(|(log, (of, _))| (*log, *of)).eq([(0, A), (1, B)]), "{nth}: {logs:?}");
        assert!(site.is_handed_over(0) && !site.is_handed_over(1), "{nth}");
        let visible = |handle: &String| site.target.lock().unwrap().committed.contains_key(handle);
        assert!(owed.iter().all(visible), "{nth}: what was decided before is not visible");
        assert!(site.assert_exact(A) > 0 && site.assert_exact(B) > 0, "{nth}");
    }
    assert!(deaths > 8, "{deaths}: a claim, a seal, the settlement, the hand-over, the next claim are changes");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_whose_log_was_handed_over_is_fenced_for_ever() {
    // Handed over, and the next log not begun: it would be easy to take it.
    let mut nth = 1;
    let site = loop {
        let site = Site::new();
        site.run(of(A)).await.assert_stopped();
        site.start(of(B), true, Some(Dying::before(nth))).await;
        if site.is_handed_over(0) {
            break site;
        }
        nth += 1;
        assert!(nth < 50, "log 0 was never handed over");
    };
    assert_eq!(site.logs().len(), 1, "the next log is begun");
    let before = site.objects();
    site.run(of(A)).await.assert_fenced();
    let commit_only = RunOptions { start: StartFrom::CommitOnly { always: true }, ..of(A) };
    let ended = site.run(commit_only.clone()).await;
    assert!(matches!(ended, End::By(Ok(Outcome::Settled { nothing_to_do: true }))), "{ended:?}");
    assert_eq!(site.objects(), before);

    site.run(of(B)).await.assert_stopped();
    let before = site.objects();
    site.run(of(A)).await.assert_fenced();
    let ended = site.run(commit_only).await;
    assert!(matches!(ended, End::By(Ok(Outcome::Settled { nothing_to_do: true }))), "{ended:?}");
    assert_eq!(site.objects(), before, "whoever runs is left alone");
    site.run(of(C)).await.assert_stopped();
    site.run(of(B)).await.assert_fenced();
    assert!(site.logs().values().map(|(of, _)| *of).eq([A, B, C]), "{:?}", site.logs());
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_handle_is_gone_on_with_whatever_its_id() {
    let site = Site::new();
    let handle = site.run(of(A)).await.assert_stopped();
    let rows = site.assert_exact(A);
    site.run(RunOptions { start: StartFrom::Handle(handle), ..of(B) }).await.assert_stopped();
    assert_eq!(site.logs(), [(0, (A, 2))].into());
    assert!(site.assert_exact(A) > rows);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_back_or_accepted_in_a_log_of_another_identity() {
    let site = Site::new();
    site.run(of(A)).await.assert_stopped();
    let before = site.objects();
    let loss = AcceptLoss { attempt: Attempt(1), epoch: Epoch(2), reason: "typo".into() };
    site.run(RunOptions { accept_loss: Some(loss), ..of(B) }).await.assert_refused();
    site.run(RunOptions { start: StartFrom::Rewind, ..of(B) }).await.assert_refused();
    site.run(RunOptions { start: StartFrom::Fresh, ..of(A) }).await.assert_refused();
    assert_eq!(site.objects(), before);
}

fn decision(attempt: u64, epoch: u64) -> DecisionId {
    DecisionId { attempt: Attempt(attempt), epoch: Epoch(epoch) }
}

#[tokio::test(start_paused = true)]
async fn a_log_must_reach_the_floor_of_its_own_pipeline_unless_that_is_waived() {
    let site = Site::new();
    site.run(of(A)).await.assert_stopped();
    let newest = inspect::newest(&site.log().await).await.unwrap().unwrap().decision;
    let floor = |of, decision| Some((of, decision));
    // Reached; and of a pipeline that is not here.
    site.run(RunOptions { floor: floor(A, newest), ..of(A) }).await.assert_stopped();
    site.run(RunOptions { floor: floor(B, decision(99, 1)), ..of(A) }).await.assert_stopped();

    let before = site.objects();
    site.target.lock().unwrap().newest_visible = Some(decision(7, 1));
    for floor in [floor(A, decision(9, 3)), floor(A, newest), None] {
        let message = site.run(RunOptions { floor, ..of(A) }).await.assert_failed(FailureReason::CorruptCheckpoint);
        let told = floor.map_or("none".to_owned(), |(_, told)| format!("{}/{}", told.attempt, told.epoch));
        for word in ["visible output: 7/1", &format!("reported: {told}"), "the log ends with 3/", "--accept-rewind"] {
            assert!(message.contains(word), "`{word}` is not said: {message}");
        }
    }
    let commit_only = StartFrom::CommitOnly { always: true };
    let ended = site.run(RunOptions { start: commit_only, floor: floor(A, decision(9, 3)), ..of(A) }).await;
    ended.assert_failed(FailureReason::CorruptCheckpoint);
    assert_eq!(site.objects(), before, "a refused start left a trace");
    site.run(RunOptions { floor: floor(A, decision(9, 3)), accept_rewind: true, ..of(A) }).await.assert_stopped();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_gone_as_a_whole_is_missed_by_the_floor_of_its_identity() {
    for is_followed in [false, true] {
        let site = Site::new();
        if is_followed {
            site.run(of(B)).await.assert_stopped();
        }
        let before = site.objects();
        let floor = Some((A, decision(1, 4)));
        let message = site.run(RunOptions { floor, ..of(A) }).await.assert_failed(FailureReason::CorruptCheckpoint);
        assert!(message.contains("ends with nothing") && message.contains("1/4"), "{message}");
        if !is_followed {
            let commit_only = RunOptions { start: StartFrom::CommitOnly { always: true }, floor, ..of(A) };
            site.run(commit_only).await.assert_failed(FailureReason::CorruptCheckpoint);
        }
        assert_eq!(site.objects(), before, "a refused start left a trace");
        site.run(RunOptions { floor, accept_rewind: true, ..of(A) }).await.assert_stopped();
        assert_eq!(site.logs().values().next_back(), Some(&(A, 1)));
    }
}
