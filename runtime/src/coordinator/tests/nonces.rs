//! What a lost reply leaves open is told by bytes and nonce: one's own record is one's own, the same record with another
//! nonce is not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::control::FailureKind;
use checkpoint::ids::{Attempt, Nonce};
use checkpoint::record::{self, Claim, Entry};
use checkpoint::recovery::Intent;

use super::faults::Scripted;
use super::rules::run_and_die;
use super::world::{FINISHED, Script, TOTAL, World, attempt};
use crate::coordinator::{Context, CoordinatorError, Ended, Next};
use crate::run::{FailureReason, RunEvent, StopSignal};
use crate::store::MemoryStore;
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

const OTHER: Nonce = Nonce(0xdead);

async fn run(context: &Arc<Context>, world: &World) -> Result<Ended, CoordinatorError> {
    attempt(context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await
}

/// The first create of every claim and record comes to this.
fn at_first(fault: StoreFault, hits: &Arc<AtomicU32>) -> Arc<dyn Faults> {
    let (seen, hits) = (Mutex::new(BTreeSet::new()), Arc::clone(hits));
    Arc::new(Scripted(move |operation, name: &str| {
        let is_first = operation == Operation::Create && seen.lock().unwrap().insert(name.to_owned());
        hits.fetch_add(u32::from(is_first), Ordering::Relaxed);
        is_first.then_some(fault)
    }))
}

/// The reply to the create of `name` is lost, and before it is read somebody else's stands there: the same, but for the
/// nonce.
fn swapped(world: &World, name: &'static str, hits: &Arc<AtomicU32>) -> Arc<dyn Faults> {
    let (store, hits) = (world.store.clone(), Arc::clone(hits));
    Arc::new(Scripted(move |operation, of: &str| match operation {
        Operation::Create if of == name => Some(StoreFault::LostReply),
        Operation::Read if of == name && hits.fetch_add(1, Ordering::Relaxed) == 0 => {
            swap_nonce(&store, name);
            None
        }
        _ => None,
    }))
}

fn swap_nonce(store: &MemoryStore, name: &str) {
    let body = store.objects()[name].clone();
    let swapped = if name.ends_with("claim") {
        record::encode(&Claim { nonce: OTHER, ..record::decode(&body).unwrap() })
    } else {
        record::encode(&Entry { nonce: OTHER, ..record::decode(&body).unwrap() })
    };
    store.corrupt(name, Some(swapped.unwrap().into()));
}

#[tokio::test(start_paused = true)]
async fn a_claim_or_append_whose_reply_was_lost_is_known_as_ones_own() {
    let late = StoreFault::LateWrite(Duration::from_millis(5));
    for fault in [StoreFault::LostReply, StoreFault::ErrorBefore, late] {
        let world = World::new();
        let hits = Arc::new(AtomicU32::new(0));
        let context = world.context(world.setup(), 1, at_first(fault, &hits));
        assert_eq!(run(&context, &world).await.unwrap(), FINISHED, "{fault:?}");
        world.sink.assert_exactly_once(TOTAL);
        let events = world.events.0.lock().unwrap();
        let decided: Vec<u64> = events
            .iter()
            .filter_map(|event| match event {
                RunEvent::CheckpointCompleted { epoch, .. } => Some(epoch.0),
                _ => None,
            })
            .collect();
        assert_eq!(decided, [2, 3, 4, 5, 6, 7], "{fault:?}: each decided once");
        // Claim, seven decisions, settled, released.
        assert_eq!(hits.load(Ordering::Relaxed), 10, "{fault:?}");
        assert!(!world.records().iter().any(|name| name.starts_with("0/attempts/2/")), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_with_another_nonce_is_not_ones_own_and_nothing_is_sealed() {
    let world = World::new();
    run_and_die(&world, 1).await;
    let before = world.records();
    let hits = Arc::new(AtomicU32::new(0));
    let context = world.context(world.setup(), 2, swapped(&world, "0/attempts/2/claim", &hits));
    let left = run(&context, &world).await.unwrap_err();
    assert!(matches!(left, CoordinatorError::Outrun { by: Attempt(2) }), "{left}");
    assert_eq!((left.next(), hits.load(Ordering::Relaxed)), (Next::Leave, 1));
    let new: Vec<_> = world.records().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new, ["0/attempts/2/claim"], "the first attempt is not sealed");
    assert_eq!(world.run(3, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_record_with_another_nonce_in_ones_own_sequence_stops_everything() {
    // In recovery, of a first epoch; while running, of a decision with output.
    for (slot, name) in [(0, "0/attempts/1/0"), (1, "0/attempts/1/1")] {
        let world = World::new();
        let hits = Arc::new(AtomicU32::new(0));
        let context = world.context(world.setup(), 1, swapped(&world, name, &hits));
        let ended = run(&context, &world).await.unwrap_err();
        assert_eq!(ended.next(), Next::Stop(FailureReason::Violation), "slot {slot}: {ended}");
        assert_eq!(hits.load(Ordering::Relaxed), 1);
        assert!(world.sink.with(|target| target.committed.is_empty()), "slot {slot}: nothing is committed by it");
        let events = world.events.0.lock().unwrap();
        assert!(!events.iter().any(|event| matches!(event, RunEvent::CheckpointCompleted { .. })), "slot {slot}");
    }
}

/// The claim of the second attempt stands, and its attempt never hears of it.
fn cut_off_at_the_second_claim(lost: &Arc<AtomicU32>) -> Arc<dyn Faults> {
    let lost = Arc::clone(lost);
    Arc::new(Scripted(move |operation, name: &str| match lost.load(Ordering::Relaxed) {
        0 if operation == Operation::Create && name == "0/attempts/2/claim" => {
            lost.store(1, Ordering::Relaxed);
            Some(StoreFault::LostReply)
        }
        // As many unknown answers in a row as end an attempt.
        0 | 7.. => None,
        _ => {
            lost.fetch_add(1, Ordering::Relaxed);
            Some(StoreFault::ErrorBefore)
        }
    }))
}

async fn fail_once(context: &Arc<Context>, world: &World) {
    let mut script = Script::new(&world.sink);
    script.fails = Some((3, FailureKind::Transient));
    let failed = attempt(context, Intent::Run, &mut script, &StopSignal::never()).await.unwrap_err();
    assert_eq!(failed.next(), Next::Restart, "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_ones_own_that_nobody_was_told_of_is_no_rivals() {
    let world = World::new();
    let lost = Arc::new(AtomicU32::new(0));
    let context = world.context(world.setup(), 1, cut_off_at_the_second_claim(&lost));
    fail_once(&context, &world).await;
    let cut_off = run(&context, &world).await.unwrap_err();
    assert_eq!((cut_off.next(), lost.load(Ordering::Relaxed)), (Next::Restart, 7), "{cut_off}");
    assert!(world.records().iter().any(|name| name == "0/attempts/2/claim"), "it stands");
    assert_eq!(run(&context, &world).await.unwrap(), FINISHED, "the third attempt of the same process");
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn a_claim_above_ones_own_with_another_nonce_is_a_rivals() {
    let world = World::new();
    let context = world.context(world.setup(), 1, Arc::new(NoFaults));
    fail_once(&context, &world).await;
    run_and_die(&world, 2).await;
    let before = world.store.objects();
    let left = run(&context, &world).await.unwrap_err();
    assert!(matches!(left, CoordinatorError::Fenced { by: Attempt(2) }), "{left}");
    assert_eq!(left.next(), Next::Leave);
    assert_eq!(world.store.objects(), before, "not even a claim");
}
