//! One worker driven by hand, message by message, over a pipeline in miniature.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::control::{Acknowledgement, Deployment, FailureKind, FailureReason, FromWorker, TaskId, ToWorker};
use api::statistics::{TaskStatistics, WorkerStatistics};
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Subtask};
use checkpoint::manifest::{OperatorSnapshot, StatePart};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::clock::RuntimeClock;
use crate::connectors::SourceConnector;
use crate::store::MemoryStore;
use crate::store::memory::{Faults as StoreFaults, Operation, StoreFault};
use fakes::{KEYS, Numbers, Target, pass_plan, sum_plan};

mod fakes;
mod sinks;

/// A worker and the coordinator's ends of its channels.
struct Bench {
    commands: mpsc::Sender<ToWorker>,
    reports: mpsc::Receiver<FromWorker>,
    store: MemoryStore,
    target: Arc<Target>,
    /// The worker's newest words about itself.
    statistics: BTreeMap<TaskId, TaskStatistics>,
    worker: tasks::Task<()>,
}

fn numbers(end: i64) -> Numbers {
    Numbers { splits: 4, end, batch: 100, given: watch::Sender::default() }
}

/// The first epoch of a log: positions, no state.
fn first_epoch(source: &Numbers) -> Vec<OperatorSnapshot> {
    let splits = source.resolve(1).unwrap();
    vec![initial_source_snapshot("numbers", &splits).unwrap()]
}

impl Bench {
    fn new(plan: Plan, target: &Arc<Target>, store: MemoryStore) -> Self {
        let (commands, inbox) = mpsc::channel(64);
        let (outbox, reports) = mpsc::channel(64);
        let environment = Environment {
            store: Arc::new(store.clone()),
            clock: Arc::new(RuntimeClock::start()),
            rules: Rules::default(),
        };
        let worker = tasks::spawn("worker", run(Arc::new(plan), environment, inbox, outbox));
        Self { commands, reports, store, target: Arc::clone(target), statistics: BTreeMap::new(), worker }
    }

    async fn deploy(&mut self, attempt: u64, parallelism: u32, then: u32, snapshots: Vec<OperatorSnapshot>) {
        let deployment = Deployment {
            attempt: Attempt(attempt),
            log: LogIndex(0),
            pipeline: PipelineId(7),
            parallelism,
            snapshot_parallelism: then,
            snapshots,
        };
        self.commands.send(ToWorker::Deploy(Box::new(deployment))).await.unwrap();
    }

    async fn checkpoint(&mut self, attempt: u64, epoch: u64) {
        let (attempt, epoch) = (Attempt(attempt), Epoch(epoch));
        self.commands.send(ToWorker::Checkpoint { attempt, epoch }).await.unwrap();
    }

    /// Waits until the source has given so many rows more.
    async fn reads(&self, more: u64) {
        let mut given = self.target.given.subscribe();
        let enough = *given.borrow() + more;
        let read = tokio::time::timeout(Duration::from_mins(1), given.wait_for(|given| *given >= enough)).await;
        read.expect("the source has no more rows").expect("the sender is the target's");
    }

    async fn decided(&mut self, attempt: u64, epoch: u64) {
        let (attempt, epoch) = (Attempt(attempt), Epoch(epoch));
        self.commands.send(ToWorker::Decided { attempt, epoch }).await.unwrap();
    }

    async fn report(&mut self) -> FromWorker {
        let report = tokio::time::timeout(Duration::from_mins(1), self.reports.recv()).await;
        report.expect("the worker has nothing to say").expect("the worker is gone")
    }

    /// What comes besides statistics.
    async fn next(&mut self) -> FromWorker {
        loop {
            match self.report().await {
                FromWorker::Statistics(told) => {
                    self.statistics.extend(told.tasks.into_iter().map(|task| (task.task.clone(), task)));
                }
                other => return other,
            }
        }
    }

    /// The next statistics; nothing else may come before.
    async fn counted(&mut self) -> WorkerStatistics {
        match self.report().await {
            FromWorker::Statistics(statistics) => statistics,
            other => panic!("{other:?} instead of statistics"),
        }
    }

    async fn deployed(&mut self) -> Vec<TaskId> {
        match self.next().await {
            FromWorker::Deployed { tasks, .. } => tasks,
            other => panic!("{other:?} instead of Deployed"),
        }
    }

    /// Acknowledgements of all `count` tasks for one epoch.
    async fn acknowledged(&mut self, epoch: u64, count: usize) -> Vec<Acknowledgement> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                FromWorker::Acknowledged(one) if one.epoch == Epoch(epoch) => all.push(*one),
                FromWorker::Ended { .. } => {}
                other => panic!("{other:?} instead of an acknowledgement of {epoch}"),
            }
        }
        all
    }

    async fn ended(&mut self, count: usize) {
        let mut ended = 0;
        while ended < count {
            match self.next().await {
                FromWorker::Ended { .. } => ended += 1,
                other => panic!("{other:?} instead of Ended"),
            }
        }
    }

    async fn stop(&mut self, attempt: u64) {
        self.commands.send(ToWorker::Stop { attempt: Attempt(attempt) }).await.unwrap();
        loop {
            match self.next().await {
                FromWorker::Stopped { attempt: stopped } if stopped == Attempt(attempt) => return,
                FromWorker::Stopped { .. } => panic!("another attempt stopped"),
                _ => {}
            }
        }
    }

    /// Rows of the committables in `acknowledgements`: what a decision would make visible.
    fn rows(&self, acknowledgements: &[Acknowledgement]) -> Vec<(i64, i64)> {
        let prepared = self.target.prepared.lock().unwrap();
        let committables = acknowledgements.iter().flat_map(|one| &one.committables);
        let mut rows: Vec<_> = committables.flat_map(|one| prepared[&one.handle].clone()).collect();
        rows.sort_unstable();
        rows
    }
}

fn snapshots(acknowledgements: &[Acknowledgement]) -> Vec<OperatorSnapshot> {
    acknowledgements.iter().flat_map(|one| one.snapshots.clone()).collect()
}

fn stored_names(snapshots: &[OperatorSnapshot]) -> Vec<String> {
    let parts = snapshots.iter().flat_map(|snapshot| &snapshot.parts);
    parts
        .filter_map(|part| match part {
            StatePart::Stored { name, .. } => Some(name.clone()),
            StatePart::Inline { .. } => None,
        })
        .collect()
}

fn expected_sums(end: i64) -> Vec<(i64, i64)> {
    let mut sums = BTreeMap::new();
    for n in 0..end {
        *sums.entry(n % KEYS).or_insert(0) += n;
    }
    sums.into_iter().collect()
}

fn memory_store() -> MemoryStore {
    MemoryStore::new(Arc::new(RuntimeClock::start()))
}

#[tokio::test(start_paused = true)]
async fn every_task_takes_part_in_every_checkpoint_until_the_end() {
    let target = Arc::new(Target::default());
    let source = numbers(5_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
    bench.deploy(1, 3, 1, first).await;
    assert_eq!(bench.deployed().await.len(), 6);
    bench.checkpoint(1, 2).await;
    let second = bench.acknowledged(2, 6).await;
    assert!(second.iter().all(|one| !one.finished && one.committables.is_empty()));
    bench.decided(1, 2).await;
    bench.ended(6).await;
    bench.checkpoint(1, 3).await;
    let last = bench.acknowledged(3, 6).await;
    assert!(last.iter().all(|one| one.finished));
    assert_eq!(last.iter().map(|one| one.rows_in).sum::<u64>(), 5_000);
    assert_eq!(bench.rows(&last), expected_sums(5_000));
    bench.stop(1).await;
    let told = bench.statistics;
    let read = told.values().filter_map(|task| task.counters.source.as_ref());
    assert_eq!(read.map(|(_, counters)| counters.records).sum::<u64>(), 5_000);
    assert_eq!(told.values().map(|task| task.rows_read).sum::<u64>(), 5_000);
    assert_eq!(told.values().map(|task| task.rows_written).sum::<u64>(), KEYS as u64);
    drop(bench.commands);
    assert_eq!(bench.worker.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn state_restores_at_any_other_parallelism() {
    for (then, now) in [(1, 1), (3, 3), (1, 4), (4, 1), (3, 5), (5, 3)] {
        let target = Arc::new(Target::default());
        let source = numbers(20_000);
        let first = first_epoch(&source);
        let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
        bench.deploy(1, then, 1, first).await;
        bench.deployed().await;
        for epoch in 2..=4 {
            bench.reads(1_500).await;
            bench.checkpoint(1, epoch).await;
            let acknowledged = bench.acknowledged(epoch, 2 * then as usize).await;
            if epoch == 4 {
                let taken = snapshots(&acknowledged);
                assert!(!stored_names(&taken).is_empty(), "runs are large enough to be objects");
                bench.stop(1).await;
                bench.deploy(2, now, then, taken).await;
            }
        }
        bench.deployed().await;
        bench.ended(2 * now as usize).await;
        bench.checkpoint(2, 5).await;
        let last = bench.acknowledged(5, 2 * now as usize).await;
        assert_eq!(bench.rows(&last), expected_sums(20_000), "{then} -> {now}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_uploaded_once_and_again_only_after_a_change_of_parallelism() {
    let target = Arc::new(Target::default());
    let source = numbers(40_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
    bench.deploy(1, 2, 1, first).await;
    bench.deployed().await;
    bench.reads(2_000).await;
    bench.checkpoint(1, 2).await;
    let second = stored_names(&snapshots(&bench.acknowledged(2, 4).await));
    bench.reads(2_000).await;
    bench.checkpoint(1, 3).await;
    let third = snapshots(&bench.acknowledged(3, 4).await);
    let names = stored_names(&third);
    assert!(second.len() == 2 && names.len() == 4 && second.iter().all(|name| names.contains(name)));
    assert_eq!(bench.store.objects().len(), 4);
    bench.stop(1).await;

    bench.deploy(2, 2, 2, third.clone()).await;
    bench.deployed().await;
    bench.checkpoint(2, 4).await;
    let same = stored_names(&snapshots(&bench.acknowledged(4, 4).await));
    assert!(names.iter().all(|name| same.contains(name)), "parts of attempt 1 are referred to");
    bench.stop(2).await;

    bench.deploy(3, 3, 2, third).await;
    bench.deployed().await;
    bench.checkpoint(3, 4).await;
    let other = stored_names(&snapshots(&bench.acknowledged(4, 6).await));
    assert!(!other.is_empty() && other.iter().all(|name| name.starts_with("0/attempts/3/parts/")), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn committables_are_listed_until_their_epoch_is_decided() {
    let target = Arc::new(Target::default());
    let source = numbers(1_000_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(pass_plan(source, &target), &target, memory_store());
    bench.deploy(1, 1, 1, first).await;
    bench.deployed().await;
    let mut listed = Vec::new();
    for epoch in 2..=6 {
        bench.reads(500).await;
        bench.checkpoint(1, epoch).await;
        let acknowledged = bench.acknowledged(epoch, 1).await;
        listed.push(acknowledged[0].committables.iter().map(|one| one.epoch.0).collect::<Vec<_>>());
        if epoch == 4 {
            bench.decided(1, 3).await;
        }
    }
    assert_eq!(listed, [vec![2], vec![2, 3], vec![2, 3, 4], vec![4, 5], vec![4, 5, 6]]);
}

/// Fails creates of parts while it is armed.
#[derive(Default)]
struct NoParts {
    armed: std::sync::atomic::AtomicBool,
    failed: std::sync::atomic::AtomicU32,
}

impl StoreFaults for NoParts {
    fn next(&self, operation: Operation, _: &str) -> Option<StoreFault> {
        if operation != Operation::Create || !self.armed.load(Ordering::Relaxed) {
            return None;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        Some(StoreFault::ErrorBefore)
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_upload_fails_the_checkpoint_and_loses_nothing() {
    let target = Arc::new(Target::default());
    let faults = Arc::new(NoParts::default());
    let source = numbers(20_000);
    let first = first_epoch(&source);
    let store = memory_store().with_faults(Arc::clone(&faults) as _);
    let mut bench = Bench::new(sum_plan(source, &target), &target, store);
    bench.deploy(1, 1, 1, first).await;
    bench.deployed().await;
    bench.reads(2_000).await;
    faults.armed.store(true, Ordering::Relaxed);
    bench.checkpoint(1, 2).await;
    let mut declined = 0;
    for _ in 0..2 {
        match bench.next().await {
            FromWorker::Declined { epoch: Epoch(2), task, .. } => {
                assert_eq!(task.stage, "sum");
                declined += 1;
            }
            FromWorker::Acknowledged(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(declined, 1);
    assert!(faults.failed.load(Ordering::Relaxed) >= 3, "several names are tried");
    faults.armed.store(false, Ordering::Relaxed);
    bench.ended(2).await;
    bench.checkpoint(1, 3).await;
    let last = bench.acknowledged(3, 2).await;
    assert_eq!(bench.rows(&last), expected_sums(20_000));
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_altered_part_is_never_restored() {
    for missing in [true, false] {
        let target = Arc::new(Target::default());
        let source = numbers(20_000);
        let first = first_epoch(&source);
        let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
        bench.deploy(1, 1, 1, first).await;
        bench.deployed().await;
        bench.reads(2_000).await;
        bench.checkpoint(1, 2).await;
        let taken = snapshots(&bench.acknowledged(2, 2).await);
        bench.stop(1).await;
        let name = stored_names(&taken).remove(0);
        let body = bench.store.objects()[&name].clone();
        let store: &dyn CheckpointStore = &bench.store;
        store.delete(&name).await.unwrap();
        if !missing {
            let mut altered = body.to_vec();
            altered[body.len() / 2] ^= 1;
            store.create(&name, altered.into()).await.unwrap();
        }
        bench.deploy(2, 1, 1, taken).await;
        match bench.next().await {
            FromWorker::Failed { kind, reason, .. } => {
                assert_eq!(kind, FailureKind::Final(FailureReason::CorruptCheckpoint), "{reason}");
                assert!(reason.contains(&name), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_the_attempt_and_the_worker_goes_on() {
    let target = Arc::new(Target::default());
    let source = numbers(100_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
    bench.deploy(1, 2, 1, first.clone()).await;
    bench.deployed().await;
    target.faults.panic_in_chain.store(true, Ordering::Relaxed);
    match bench.next().await {
        FromWorker::Failed { kind, reason, task, .. } => {
            assert_eq!(kind, FailureKind::Panic, "{reason}");
            assert!(reason.contains("asked to"), "{reason}");
            assert_eq!(task.stage, "numbers");
        }
        other => panic!("{other:?}"),
    }
    target.faults.panic_in_chain.store(false, Ordering::Relaxed);
    bench.stop(1).await;
    bench.deploy(2, 2, 1, first).await;
    assert_eq!(bench.deployed().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_cannot_seal_fails_the_attempt() {
    let target = Arc::new(Target::default());
    let source = numbers(100_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(pass_plan(source, &target), &target, memory_store());
    bench.deploy(1, 1, 1, first).await;
    bench.deployed().await;
    target.faults.fail_pre_commit.store(true, Ordering::Relaxed);
    bench.checkpoint(1, 2).await;
    match bench.next().await {
        FromWorker::Failed { kind, reason, .. } => {
            assert!(kind == FailureKind::Transient && reason.contains("no space"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_another_attempt_are_ignored() {
    let target = Arc::new(Target::default());
    let source = numbers(1_000_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(pass_plan(source, &target), &target, memory_store());
    bench.deploy(5, 1, 1, first.clone()).await;
    bench.deployed().await;
    bench.deploy(4, 1, 1, first).await;
    bench.checkpoint(4, 9).await;
    bench.decided(4, 9).await;
    bench.stop(4).await;
    bench.checkpoint(5, 2).await;
    let acknowledged = bench.acknowledged(2, 1).await;
    assert_eq!(acknowledged[0].attempt, Attempt(5));
    assert_eq!(acknowledged[0].task.subtask, Subtask(0));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_does_not_fit_is_refused() {
    let target = Arc::new(Target::default());
    let source = numbers(1_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
    let (plan, state) = (FailureReason::CannotHeal, FailureReason::CorruptCheckpoint);
    for (attempt, parallelism, snapshots, expected) in
        [(1, 0, first.clone(), plan), (2, 17, first, plan), (3, 2, Vec::new(), state)]
    {
        bench.deploy(attempt, parallelism, 1, snapshots).await;
        match bench.next().await {
            FromWorker::Failed { kind, .. } => assert_eq!(kind, FailureKind::Final(expected)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_times_of_every_task_add_up_to_its_life() {
    let target = Arc::new(Target::default());
    let source = numbers(100_000);
    let first = first_epoch(&source);
    let clock = RuntimeClock::start();
    let mut bench = Bench::new(sum_plan(source, &target), &target, memory_store());
    bench.deploy(1, 2, 1, first).await;
    bench.deployed().await;
    let began = clock.monotonic();
    let mut told = bench.counted().await;
    while told.tasks.iter().map(|task| task.rows_read).sum::<u64>() < 10_000 {
        told = bench.counted().await;
    }
    let life = clock.monotonic().saturating_sub(began);
    assert_eq!(told.tasks.len(), 4);
    for task in &told.tasks {
        // Nothing takes time in a paused clock but waits.
        assert_eq!(task.times.busy_us + task.times.backpressured_us, 0, "{task:?}");
        assert_eq!(u128::from(task.times.idle_us), life.as_micros(), "{task:?}");
    }
    assert!(life >= Duration::from_millis(40), "the reader rests a millisecond after each batch");
}
