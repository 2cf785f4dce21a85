//! What an attempt finds that follows one which ended in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use checkpoint::ids::Attempt;
use checkpoint::recovery::Intent;

use super::rules::run_and_die;
use super::world::{FINISHED, Script, TOTAL, World, attempt};
use crate::clock::Clock;
use crate::coordinator::{Context, Ended, Next, inspect};
use crate::run::{FailureReason, RunEvent, StopSignal};
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

/// An append whose outcome the attempt never learns: the record is there, the answer is lost, and so are those to the
/// questions after it.
struct CutOff {
    attempt: &'static str,
    calls: AtomicU32,
}

/// As many unknown answers in a row as an attempt survives, and one more.
const UNKNOWN: u32 = 7;

impl CutOff {
    fn after_the_first_record_of(attempt: &'static str) -> Arc<Self> {
        Arc::new(Self { attempt, calls: AtomicU32::new(0) })
    }
}

impl Faults for CutOff {
    fn next(&self, operation: Operation, name: &str) -> Option<StoreFault> {
        let is_record = name.strip_prefix(self.attempt).is_some_and(|slot| slot.parse::<u64>().is_ok());
        match self.calls.load(Ordering::Relaxed) {
            0 if operation == Operation::Create && is_record => {
                self.calls.store(1, Ordering::Relaxed);
                Some(StoreFault::LostReply)
            }
            0 | UNKNOWN.. => None,
            _ => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                Some(StoreFault::ErrorBefore)
            }
        }
    }
}

async fn try_twice(context: &Arc<Context>, intent: Intent, world: &World) -> Ended {
    let never = StopSignal::never();
    let error = attempt(context, intent.clone(), &mut Script::new(&world.sink), &never).await.unwrap_err();
    assert_eq!(error.next(), Next::Restart, "{error}");
    attempt(context, intent, &mut Script::new(&world.sink), &never).await.unwrap()
}

/// Decided, and killed before the commit.
async fn decide_without_commit(world: &World) {
    world.sink.with(|target| (target.failing_commits, target.never_heals) = (1, true));
    world.run(50, Intent::Run).await.unwrap_err();
    world.sink.with(|target| target.never_heals = false);
}

#[tokio::test(start_paused = true)]
async fn a_rewind_that_was_decided_without_an_answer_is_not_asked_for_again() {
    let world = World::new();
    run_and_die(&world, 2).await;
    decide_without_commit(&world).await;
    let faults = CutOff::after_the_first_record_of("0/attempts/3/");
    let context = world.context(world.setup(), 3, Arc::clone(&faults) as Arc<dyn Faults>);
    assert_eq!(try_twice(&context, Intent::Rewind, &world).await, FINISHED);
    assert_eq!(faults.calls.load(Ordering::Relaxed), UNKNOWN);
    world.sink.assert_exactly_once(TOTAL);
}

/// Nobody may come after the attempt that finishes.
#[tokio::test(start_paused = true)]
async fn what_a_zombie_has_begun_behind_the_start_of_its_successor_is_gone_at_the_end() {
    let world = World::new();
    run_and_die(&world, 2).await;
    let context = world.context(world.setup(), 6, Arc::new(NoFaults));
    let mut script = Script::new(&world.sink);
    script.zombie = Some(Attempt(1));
    assert_eq!(attempt(&context, Intent::Run, &mut script, &StopSignal::never()).await.unwrap(), FINISHED);
    assert_eq!(script.zombie, None, "it has begun nothing");
    assert_eq!(world.sink.with(|target| target.prepared.clone()), [].into());
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn an_older_checkpoint_is_gone_back_to_once() {
    let world = World::new();
    run_and_die(&world, 3).await;
    let listed = inspect::inspect(Arc::new(world.store.clone()), false).await.unwrap().unwrap();
    let (_, _, to) = checkpoint::paths::parse_handle(&listed.checkpoints[1].handle).unwrap();
    let faults = CutOff::after_the_first_record_of("0/attempts/2/");
    let context = world.context(world.setup(), 3, Arc::clone(&faults) as Arc<dyn Faults>);
    try_twice(&context, Intent::GoBack { to }, &world).await;
    assert_eq!(faults.calls.load(Ordering::Relaxed), UNKNOWN);
    let events = world.events.0.lock().unwrap();
    let restored: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Restored { handle, .. } => Some(handle.as_str()),
            _ => None,
        })
        .collect();
    assert!(matches!(restored[..], [handle] if handle.starts_with("memory:///0/attempts/2/")), "{restored:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rewind_asked_for_by_another_process_is_still_refused_after_a_rewind() {
    let world = World::new();
    run_and_die(&world, 2).await;
    decide_without_commit(&world).await;
    let faults = CutOff::after_the_first_record_of("0/attempts/3/");
    let context = world.context(world.setup(), 3, Arc::clone(&faults) as Arc<dyn Faults>);
    attempt(&context, Intent::Rewind, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap_err();
    let refused = world.run(4, Intent::Rewind).await.unwrap_err();
    assert_eq!(refused.next(), Next::Refuse, "{refused}");
    assert!(refused.to_string().contains("is itself a rewind"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn commits_that_recovery_waits_for_are_told_as_pending() {
    let world = World::new();
    run_and_die(&world, 2).await;
    decide_without_commit(&world).await;
    world.sink.with(|target| target.failing_commits = 30);
    let context = world.context(world.setup(), 3, Arc::new(NoFaults));
    let (mut script, never) = (Script::new(&world.sink), StopSignal::never());
    let mut run = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
    let is_retried = |event: &RunEvent| matches!(event, RunEvent::CommitRetried { .. });
    while !world.events.0.lock().unwrap().iter().any(is_retried) {
        tokio::select! {
            biased;
            ended = &mut run => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
    let commits = &context.metrics.commits;
    let pending = || commits.pending.with_label_values(&["out"]).get();
    let since = || commits.oldest_pending_timestamp_seconds.with_label_values(&["out"]).get();
    assert!(pending() == 1 && since() > 0.0, "{} since {}", pending(), since());
    assert_eq!(run.await.unwrap(), FINISHED);
    assert!(pending() == 0 && since() == 0.0, "{} since {}", pending(), since());
}

#[tokio::test(start_paused = true)]
async fn an_old_record_that_cannot_be_read_is_kept_and_retention_goes_on() {
    let world = World::new();
    run_and_die(&world, 3).await;
    let is_record = |name: &&String| name.rsplit('/').next().is_some_and(|slot| slot.parse::<u64>().is_ok());
    let oldest = world.records().iter().find(is_record).unwrap().clone();
    world.store.corrupt(&oldest, Some("damaged".into()));
    assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
    let listed = inspect::inspect(Arc::new(world.store.clone()), true).await.unwrap().unwrap();
    assert_eq!(listed.checkpoints.len(), 2, "retain: 2");
    assert!(world.records().contains(&oldest) && listed.faults.len() == 1, "{:?}", listed.faults);
}

/// A store that can be read only, from one create on.
struct ReadOnly {
    creates_left: AtomicU32,
    hits: AtomicU32,
}

impl Faults for ReadOnly {
    fn next(&self, operation: Operation, _: &str) -> Option<StoreFault> {
        if operation != Operation::Create {
            return None;
        }
        let left = self.creates_left.load(Ordering::Relaxed);
        self.creates_left.store(left.saturating_sub(1), Ordering::Relaxed);
        (left == 0).then(|| {
            self.hits.fetch_add(1, Ordering::Relaxed);
            StoreFault::Refused
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_heal_stops_the_pipeline() {
    for creates_left in [0, 1, 4] {
        let world = World::new();
        let faults = Arc::new(ReadOnly { creates_left: AtomicU32::new(creates_left), hits: AtomicU32::new(0) });
        let context = world.context(world.setup(), 1, Arc::clone(&faults) as Arc<dyn Faults>);
        let error =
            attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap_err();
        assert_eq!(error.next(), Next::Stop(FailureReason::Store), "{error}");
        assert!(faults.hits.load(Ordering::Relaxed) > 0);
        assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
        world.sink.assert_exactly_once(TOTAL);
    }
}
