//! One rule each.

use std::sync::Arc;
use std::time::Duration;

use api::control::FailureKind;
use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId};
use checkpoint::record::{Cause, DecisionId};
use checkpoint::recovery::Intent;

use super::world::{FINISHED, Script, TOTAL, World, attempt, plan};
use crate::clock::Clock;
use crate::coordinator::{CoordinatorError, Ended, Log, Next, Start, inspect, run_attempt};
use crate::run::{FailureReason, RunEvent, StopSignal, stop_channel};
use crate::store::memory::NoFaults;

fn is_decision(event: &RunEvent) -> bool {
    matches!(event, RunEvent::CheckpointCompleted { .. })
}

/// Runs until `count` checkpoints are decided and their commits are done, then dies.
pub(super) async fn run_and_die(world: &World, count: usize) {
    let context = world.context(world.setup(), 77, Arc::new(NoFaults));
    let mut script = Script::new(&world.sink);
    let never = StopSignal::never();
    let done = |world: &World| {
        let events = world.events.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, RunEvent::CommitCompleted { .. })).count() >= count
    };
    let mut run = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
    while !done(world) {
        tokio::select! {
            biased;
            ended = &mut run => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_pipeline_finishes_with_every_row_committed_once() {
    let world = World::new();
    assert_eq!(world.run(1, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
    let events = world.events.0.lock().unwrap().clone();
    assert_eq!(events.iter().filter(|event| is_decision(event)).count() as u64, TOTAL / super::world::STEP);
    let last = events.iter().rev().find(|event| is_decision(event)).unwrap();
    let RunEvent::CheckpointCompleted { durations, rows_in, .. } = last else { unreachable!() };
    assert_eq!((durations.upload_us, *rows_in), (7, TOTAL));
}

#[tokio::test(start_paused = true)]
async fn a_finished_pipeline_does_nothing_when_it_is_run_again() {
    let world = World::new();
    world.run(1, Intent::Run).await.unwrap();
    let again = world.run(2, Intent::Run).await.unwrap();
    assert_eq!(again, Ended::AlreadyFinished { rows_in: TOTAL, rows_out: TOTAL });
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_a_last_checkpoint_and_the_next_run_goes_on_from_it() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    let (handle, stop) = stop_channel();
    handle.stop();
    let ended = attempt(&context, Intent::Run, &mut Script::new(&world.sink), &stop).await.unwrap();
    let Ended::Stopped { handle: Some(handle) } = ended else { panic!("{ended:?}") };
    assert!(handle.starts_with("memory:///0/attempts/1/"), "{handle}");
    let committed = world.sink.with(|target| target.committed.len());
    assert_eq!(committed, 1, "what the last checkpoint decided is visible");
    assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn of_two_claimants_at_once_one_wins_and_the_other_leaves() {
    for seed in 0..20 {
        let world = World::new();
        let (one, two) = tokio::join!(world.run(seed, Intent::Run), world.run(seed + 100, Intent::Run));
        let ends = [one, two].map(|end| match end {
            Ok(_) => "done",
            Err(CoordinatorError::Outrun { .. } | CoordinatorError::Fenced { .. }) => "left",
            Err(other) => panic!("{other}"),
        });
        assert!(ends.contains(&"done") && ends.contains(&"left"), "seed {seed}: {ends:?}");
        world.sink.assert_exactly_once(TOTAL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_wakes_appends_nothing_and_commits_nothing_undecided() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    let mut script = Script::new(&world.sink);
    let never = StopSignal::never();
    let mut zombie = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
    while !world.events.0.lock().unwrap().iter().any(is_decision) {
        tokio::select! {
            biased;
            ended = &mut zombie => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
    // Not polled from here on: stopped, as by SIGSTOP.
    assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
    let before = world.store.objects();
    let woken = zombie.await.unwrap_err();
    assert!(matches!(woken, CoordinatorError::Fenced { by: Attempt(2) }), "{woken}");
    assert_eq!(woken.next(), Next::Leave);
    assert_eq!(world.store.objects(), before);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_retried_until_it_succeeds() {
    let world = World::new();
    world.sink.with(|target| target.failing_commits = 50);
    assert_eq!(world.run(1, Intent::Run).await.unwrap(), FINISHED);
    assert_eq!(world.sink.with(|target| target.commits_failed), 50);
    let events = world.events.0.lock().unwrap();
    assert!(events.iter().any(|event| matches!(event, RunEvent::CommitRetried { tries: 50, .. })));
    drop(events);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_cannot_heal_stops_the_pipeline_and_stays_decided() {
    let world = World::new();
    world.sink.with(|target| (target.failing_commits, target.never_heals) = (1, true));
    let error = world.run(1, Intent::Run).await.unwrap_err();
    assert_eq!(error.next(), Next::Stop(FailureReason::CannotHeal), "{error}");
    assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_loss_stops_every_run_until_it_is_accepted() {
    let world = World::new();
    run_and_die(&world, 2).await;
    let newest = {
        let log = Log::new(Arc::new(world.store.clone()), LogIndex(0), Arc::new(world.clock));
        inspect::newest(&log).await.unwrap().unwrap()
    };
    // The target forgets what the newest decision had made visible.
    let lost = newest.manifest.committables[0].handle.clone();
    world.sink.with(|target| target.committed.retain(|handle| *handle != lost));
    for seed in [2, 3] {
        let error = world.run(seed, Intent::Run).await.unwrap_err();
        assert_eq!(error.next(), Next::Stop(FailureReason::CommitLost), "{error}");
        assert!(error.to_string().contains("--accept-loss 1/"), "{error}");
    }
    let decision = DecisionId { attempt: newest.at.attempt, epoch: newest.manifest.committables[0].epoch };
    let intent = Intent::AcceptLoss { decision, reason: "seen".into() };
    world.run(4, intent).await.unwrap();
    world.sink.with(|target| target.committed.push(lost.clone()));
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_failed_checkpoint_is_decided_by_the_next_one() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    let mut script = Script::new(&world.sink);
    script.declines.insert(3);
    script.ignores.insert(5);
    let ended = attempt(&context, Intent::Run, &mut script, &StopSignal::never()).await.unwrap();
    assert_eq!(ended, FINISHED);
    world.sink.assert_exactly_once(TOTAL);
    let events = world.events.0.lock().unwrap();
    let failed: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::CheckpointFailed { epoch, reason, .. } => Some(format!("{epoch} {reason}")),
            _ => None,
        })
        .collect();
    assert_eq!(failed, ["3 in 0: disk is full", "5 not acknowledged by all tasks in time"]);
}

#[tokio::test(start_paused = true)]
async fn more_failed_checkpoints_than_tolerated_end_the_attempt() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    let mut script = Script::new(&world.sink);
    script.declines.extend([2, 3]);
    let error = attempt(&context, Intent::Run, &mut script, &StopSignal::never()).await.unwrap_err();
    assert!(matches!(&error, CoordinatorError::CheckpointsFailed { last } if last.contains("disk is full")), "{error}");
    assert_eq!(error.next(), Next::Restart);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_heal_is_not_restarted() {
    let stop = |reason| (FailureKind::Final(reason), Next::Stop(reason));
    for (kind, next) in [
        (FailureKind::Transient, Next::Restart),
        (FailureKind::Panic, Next::Restart),
        stop(FailureReason::CannotHeal),
        stop(FailureReason::SourceDataLost),
        stop(FailureReason::CorruptCheckpoint),
    ] {
        let world = World::new();
        let context = world.context(world.setup(), 1, Arc::new(NoFaults));
        let mut script = Script::new(&world.sink);
        script.fails = Some((3, kind));
        let error = attempt(&context, Intent::Run, &mut script, &StopSignal::never()).await.unwrap_err();
        assert_eq!(error.next(), next);
        assert_eq!(error.to_string(), "in 0: line 7 is malformed");
        assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
        world.sink.assert_exactly_once(TOTAL);
    }
}

#[tokio::test(start_paused = true)]
async fn retention_keeps_the_newest_checkpoints_and_every_claim() {
    let world = World::new();
    run_and_die(&world, 3).await;
    assert_eq!(world.run(2, Intent::Run).await.unwrap(), FINISHED);
    let listed = inspect::inspect(Arc::new(world.store.clone()), true).await.unwrap().unwrap();
    assert_eq!(listed.faults, []);
    assert!(listed.finished);
    assert_eq!(listed.checkpoints.len(), 2, "retain: 2");
    assert_eq!(listed.checkpoints[0].rows_out, TOTAL);
    let records = world.records();
    for kept in ["0/attempts/1/claim", "0/attempts/2/claim"] {
        assert!(records.iter().any(|name| name == kept), "{kept} is gone: {records:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_manifest_is_refused_when_its_state_would_be_lost() {
    let world = World::new();
    run_and_die(&world, 2).await;
    let run = async |seed, change: &dyn Fn(&mut crate::coordinator::Setup)| {
        let mut setup = world.setup();
        change(&mut setup);
        let context = world.context(setup, seed, Arc::new(NoFaults));
        attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await
    };
    let refused = run(2, &|setup| setup.operators = vec![plan("in/source", "something else")]).await.unwrap_err();
    assert_eq!(refused.next(), Next::Refuse);
    assert!(refused.to_string().contains("`in/source`") && refused.to_string().contains("dropStateOf"), "{refused}");
    let refused = run(3, &|setup| setup.max_parallelism = 64).await.unwrap_err();
    assert!(refused.to_string().contains("maxParallelism"), "{refused}");
    assert_eq!(run(4, &|_| ()).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_sink_cannot_be_removed_while_its_output_is_not_settled() {
    let world = World::new();
    // Decided, and killed before the commit.
    world.sink.with(|target| (target.failing_commits, target.never_heals) = (1, true));
    world.run(1, Intent::Run).await.unwrap_err();
    let mut setup = world.setup();
    setup.sinks.clear();
    let context = world.context(setup, 2, Arc::new(NoFaults));
    let refused =
        attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap_err();
    assert!(refused.to_string().contains("sink `out`"), "{refused}");
    assert_eq!(world.run(3, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn damage_is_refused_with_its_address_and_never_restored() {
    let world = World::new();
    run_and_die(&world, 3).await;
    let intact = world.store.objects();
    let decisions: Vec<&String> = intact.keys().filter(|name| !name.ends_with("claim")).collect();
    let newest = (*decisions.last().unwrap()).clone();
    let body = intact[&newest].clone();
    let cut = body.slice(..body.len() / 2);
    let newer = Bytes::from(String::from_utf8(body.to_vec()).unwrap().replacen(":1,", ":2,", 1));
    for (damage, reason) in [(cut, "not readable"), (newer, "format version 2 is newer")] {
        world.store.corrupt(&newest, Some(damage));
        let error = world.run(9, Intent::Run).await.unwrap_err();
        assert_eq!(error.next(), Next::Stop(FailureReason::CorruptCheckpoint), "{error}");
        assert!(error.to_string().contains(&newest) && error.to_string().contains(reason), "{error}");
        let seen = inspect::inspect(Arc::new(world.store.clone()), true).await.unwrap().unwrap();
        assert!(seen.faults.iter().any(|fault| fault.address.ends_with(&newest)), "{:?}", seen.faults);
    }
    world.store.corrupt(&newest, Some(body));
    assert_eq!(world.run(10, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn going_back_emits_again_what_came_after_and_is_decided_first() {
    let world = World::new();
    run_and_die(&world, 3).await;
    let listed = inspect::inspect(Arc::new(world.store.clone()), false).await.unwrap().unwrap();
    let older = listed.checkpoints[1].clone();
    let (_, _, to) = checkpoint::paths::parse_handle(&older.handle).unwrap();
    world.run(2, Intent::GoBack { to }).await.unwrap();
    let rows: u64 = world.sink.with(|target| target.committed.len() as u64) * super::world::STEP;
    assert_eq!(rows, TOTAL + listed.checkpoints[0].rows, "the epoch after it appears twice, the rest once");
    let again = inspect::inspect(Arc::new(world.store.clone()), true).await.unwrap().unwrap();
    assert_eq!(again.newest_attempt, Attempt(2));
    assert!(again.checkpoints[0].epoch > Epoch(3));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_another_pipeline_has_begun_meanwhile_is_not_claimed() {
    let world = World::new();
    assert_eq!(world.run(1, Intent::Run).await.unwrap(), FINISHED);
    let records = world.records();
    let context = world.context(world.setup(), 2, Arc::new(NoFaults));
    let identity = Some(PipelineId(1));
    let start =
        Start { log: LogIndex(0), cause: Cause::Start, intent: Intent::Run, floor: None, identity, deletes: None };
    let mut script = Script::new(&world.sink);
    let error = run_attempt(&context, &start, &mut script, &StopSignal::never()).await.unwrap_err();
    assert!(matches!(error, CoordinatorError::Outrun { by: Attempt(1) }), "{error}");
    assert_eq!((error.next(), world.records()), (Next::Leave, records));
}
