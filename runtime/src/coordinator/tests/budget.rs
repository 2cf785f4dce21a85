//! Targets that throw away what is not committed in time: a decision is sent only while there is time to commit it, and
//! commits that are stuck cost an attempt, not the pipeline.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::ids::Attempt;
use checkpoint::recovery::Intent;

use super::faults::Scripted;
use super::world::{FINISHED, STEP, Script, TOTAL, Timed, World, attempt};
use crate::clock::Clock;
use crate::coordinator::{Context, CoordinatorError, Ended, Next, Phase};
use crate::run::{RunEvent, StopSignal};
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

const INTERVAL: u64 = 100;
const TIMEOUT: u64 = 60_000;
const BUDGET: u64 = 59_400;
/// After its transaction began an epoch may be decided for so long.
const TIME_TO_DECIDE: u64 = TIMEOUT - BUDGET;

fn timed(world: &World, slow: &[(u64, u64)]) -> Script {
    let mut script = Script::new(&world.sink);
    let mut timed = Timed::new(world.clock, TIMEOUT, BUDGET);
    timed.slow = slow.iter().map(|(epoch, millis)| (*epoch, Duration::from_millis(*millis))).collect();
    script.timed = Some(timed);
    script
}

async fn run(context: &Arc<Context>, script: &mut Script) -> Result<Ended, CoordinatorError> {
    attempt(context, Intent::Run, script, &StopSignal::never()).await
}

fn decided(world: &World) -> Vec<u64> {
    let events = world.events.0.lock().unwrap();
    let epochs = events.iter().filter_map(|event| match event {
        RunEvent::CheckpointCompleted { epoch, .. } => Some(epoch.0),
        _ => None,
    });
    epochs.collect()
}

#[tokio::test(start_paused = true)]
async fn stuck_commits_end_the_attempt_uncounted_and_the_next_waits_in_recovery_and_commits() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    world.sink.with(|target| target.failing_commits = u32::MAX);
    let mut script = timed(&world, &[]);
    let blocked = run(&context, &mut script).await.unwrap_err();
    assert!(matches!(blocked, CoordinatorError::CommitBlocked), "{blocked}");
    assert_eq!(blocked.next(), Next::RestartUncounted);
    // Epoch 2 was decided at the first interval and is stuck. That of epoch 3 began there, and had so long.
    assert_eq!(decided(&world), [2]);
    assert_eq!(world.clock.monotonic(), Duration::from_millis(INTERVAL + TIME_TO_DECIDE));
    assert_eq!(script.position(), 2 * STEP, "no further barrier while a decision waits");
    assert!(world.sink.with(|target| target.committed.is_empty() && target.commits_failed > 10));

    let mut next = timed(&world, &[]);
    let mut waits = Box::pin(run(&context, &mut next));
    let failed = world.sink.with(|target| target.commits_failed);
    tokio::select! {
        biased;
        ended = &mut waits => panic!("ended with {ended:?}"),
        () = world.clock.sleep(Duration::from_secs(30)) => (),
    }
    assert_eq!(context.progress.phase(), Phase::Recovering { attempt: Attempt(2) }, "long past every budget");
    assert!(world.sink.with(|target| target.commits_failed) > failed + 1_000, "it asks again and again");
    assert_eq!(world.sink.with(|target| target.aborted), 0, "commits first");
    let is_running = |event: &RunEvent| matches!(event, RunEvent::Running { attempt: Attempt(2), .. });
    assert!(!world.events.0.lock().unwrap().iter().any(is_running), "no record before the commits are done");
    world.sink.with(|target| target.failing_commits = 0);
    assert_eq!(waits.await.unwrap(), FINISHED);
    assert_eq!(world.sink.with(|target| target.aborted), 1, "what epoch 3 had pre-committed, undecided");
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn commits_that_come_through_in_the_last_moment_end_nothing() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    world.sink.with(|target| target.failing_commits = u32::MAX);
    let mut script = timed(&world, &[]);
    let mut run = Box::pin(run(&context, &mut script));
    tokio::select! {
        biased;
        ended = &mut run => panic!("ended with {ended:?}"),
        // A commit is tried every ten milliseconds.
        () = world.clock.sleep(Duration::from_millis(INTERVAL + TIME_TO_DECIDE - 11)) => (),
    }
    world.sink.with(|target| target.failing_commits = 0);
    assert_eq!(run.await.unwrap(), FINISHED);
    assert_eq!(decided(&world), [2, 3, 4, 5, 6, 7]);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_sent_only_while_there_is_time_to_commit_it() {
    // The transaction of epoch 2 begins with the attempt, its barrier comes an interval later.
    let last = TIME_TO_DECIDE - INTERVAL;
    for (after, is_in_time) in [(last - 1, true), (last, false), (last + 1, false)] {
        let world = World::new();
        let context = world.context(world.setup(), 1, Arc::new(NoFaults));
        let ended = run(&context, &mut timed(&world, &[(2, after)])).await;
        if is_in_time {
            assert_eq!(ended.unwrap(), FINISHED);
            assert_eq!(decided(&world)[0], 2);
        } else {
            let ended = ended.unwrap_err();
            assert!(matches!(ended, CoordinatorError::BudgetExhausted), "after {after} ms: {ended}");
            assert_eq!(ended.next(), Next::Restart, "a failure like others");
            assert_eq!(world.records(), ["0/attempts/1/0", "0/attempts/1/claim"], "nothing was sent");
            assert!(world.sink.with(|target| target.committed.is_empty()));
            // Undecided work is done again.
            let again = run(&context, &mut timed(&world, &[])).await;
            assert_eq!(again.unwrap(), FINISHED);
            assert_eq!(world.sink.with(|target| target.aborted), 1);
        }
        world.sink.assert_exactly_once(TOTAL);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_checkpoint_left_undecided_ends_the_time_of_the_next() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    // Acknowledged in time for its own transaction, which began at the barrier of epoch 2, but not for that one's.
    let mut script = timed(&world, &[(3, TIME_TO_DECIDE - 2 * INTERVAL)]);
    script.declines = BTreeSet::from([2]);
    let ended = run(&context, &mut script).await.unwrap_err();
    assert!(matches!(ended, CoordinatorError::BudgetExhausted), "{ended}");
    assert_eq!(decided(&world), [0; 0]);
    assert_eq!(run(&context, &mut timed(&world, &[])).await.unwrap(), FINISHED);
    assert_eq!(world.sink.with(|target| target.aborted), 2);
    world.sink.assert_exactly_once(TOTAL);
}

/// The first create of the decision of epoch 2 comes to `fault`, the question after it is answered `later`; every create
/// is noted with its time.
fn unknown(world: &World, fault: StoreFault, later: u64, sent: &Arc<Mutex<Vec<u64>>>) -> Arc<dyn Faults> {
    let (clock, sent, reads) = (world.clock, Arc::clone(sent), AtomicU32::new(0));
    Arc::new(Scripted(move |operation, name: &str| {
        if name != "0/attempts/1/1" {
            return None;
        }
        match operation {
            Operation::Create => {
                let mut sent = sent.lock().unwrap();
                sent.push(clock.monotonic().as_millis() as u64);
                (sent.len() == 1).then_some(fault)
            }
            Operation::Read if reads.fetch_add(1, Ordering::Relaxed) == 0 => {
                Some(StoreFault::Slow(Duration::from_millis(later)))
            }
            Operation::Read | Operation::List | Operation::Delete => None,
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_decision_of_unknown_outcome_is_sent_again_only_while_there_is_time() {
    // An unknown outcome is asked for after 20 ms.
    let last = TIME_TO_DECIDE - INTERVAL - 20;
    for (later, is_in_time) in [(last - 1, true), (last, false)] {
        let world = World::new();
        let sent = Arc::default();
        let faults = unknown(&world, StoreFault::ErrorBefore, later, &sent);
        let context = world.context(world.setup(), 1, faults);
        let ended = run(&context, &mut timed(&world, &[])).await;
        let sent = sent.lock().unwrap().clone();
        if is_in_time {
            assert_eq!(ended.unwrap(), FINISHED);
            assert_eq!(sent, [INTERVAL, TIME_TO_DECIDE - 1]);
        } else {
            let ended = ended.unwrap_err();
            assert!(matches!(ended, CoordinatorError::BudgetExhausted), "{ended}");
            assert_eq!(sent, [INTERVAL]);
            assert_eq!(run(&context, &mut timed(&world, &[])).await.unwrap(), FINISHED);
            assert_eq!(world.sink.with(|target| target.aborted), 1);
        }
        world.sink.assert_exactly_once(TOTAL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_is_found_in_the_log_counts_however_late_it_is_found() {
    let world = World::new();
    let sent = Arc::default();
    let faults = unknown(&world, StoreFault::LostReply, 10 * TIME_TO_DECIDE, &sent);
    let context = world.context(world.setup(), 1, faults);
    // The next one's transaction has been open all the while, and its time is over.
    let ended = run(&context, &mut timed(&world, &[])).await.unwrap_err();
    assert!(matches!(ended, CoordinatorError::BudgetExhausted), "{ended}");
    assert_eq!((sent.lock().unwrap().len(), decided(&world)), (1, vec![2]));
    assert_eq!(world.sink.with(|target| target.committed.len()), 1);
    assert_eq!(run(&context, &mut timed(&world, &[])).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_lands_after_its_attempt_has_given_it_up_is_the_next_ones_to_commit() {
    let world = World::new();
    let sent = Arc::default();
    let late = StoreFault::LateWrite(Duration::from_millis(TIME_TO_DECIDE + 50));
    let context = world.context(world.setup(), 1, unknown(&world, late, TIME_TO_DECIDE, &sent));
    let ended = run(&context, &mut timed(&world, &[])).await.unwrap_err();
    assert!(matches!(ended, CoordinatorError::BudgetExhausted), "{ended}");
    assert!(!world.records().iter().any(|name| name == "0/attempts/1/1"), "not yet");
    world.clock.sleep(Duration::from_millis(100)).await;
    assert!(world.records().iter().any(|name| name == "0/attempts/1/1"), "it has landed");
    assert_eq!(run(&context, &mut timed(&world, &[])).await.unwrap(), FINISHED);
    assert_eq!(world.sink.with(|target| target.aborted), 0, "it was decided");
    world.sink.assert_exactly_once(TOTAL);
}
