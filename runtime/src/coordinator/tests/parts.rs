//! State carried from an older checkpoint into a new one: every part is copied whole, or nothing is decided.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::{Attempt, LogIndex, OperatorId, Subtask};
use checkpoint::manifest::{Manifest, OperatorSnapshot, StatePart};
use checkpoint::record::Position;
use checkpoint::recovery::Intent;

use super::faults::Scripted;
use super::world::{STEP, Script, TOTAL, World, attempt};
use crate::clock::{Clock, Random, SeededRandom};
use crate::coordinator::manifests::{content_hash, part_names};
use crate::coordinator::{CoordinatorError, Ended, Log, Next, inspect};
use crate::run::{FailureReason, RunEvent, StopSignal};
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

const ME: Attempt = Attempt(5);
const OLD: [&str; 3] = ["0/attempts/1/parts/a", "0/attempts/1/parts/b", "0/attempts/2/parts/c"];

fn body(name: &str) -> Bytes {
    format!("state of {name}").into()
}

/// Three stored parts, in the store, and one inline.
fn manifest(world: &World) -> Manifest {
    let stored = |name: &str| {
        world.store.corrupt(name, Some(body(name)));
        StatePart::Stored { name: name.into(), length: body(name).len() as u64, hash: content_hash(&body(name)) }
    };
    let snapshot = |subtask, parts| OperatorSnapshot { operator: OperatorId("w".into()), subtask, parts };
    let inline = StatePart::Inline { body: "AAAA".into() };
    let snapshots = vec![
        snapshot(Subtask(0), vec![stored(OLD[0]), inline]),
        snapshot(Subtask(1), vec![stored(OLD[1]), stored(OLD[2])]),
    ];
    Manifest { snapshots, ..Manifest::empty(2, 128) }
}

fn log(world: &World, faults: Arc<dyn Faults>) -> Log {
    Log::new(Arc::new(world.store.with_faults(faults)), LogIndex(0), Arc::new(world.clock))
}

fn copies(world: &World) -> Vec<String> {
    world.records().into_iter().filter(|name| name.starts_with("0/attempts/5/parts/copy-")).collect()
}

/// Every part of `copied` is there, under a name of this attempt, with what the original holds.
fn assert_copied(world: &World, original: &Manifest, copied: &Manifest) {
    let (objects, names): (_, Vec<_>) = (world.store.objects(), part_names(copied).collect());
    assert_eq!(names.len(), OLD.len());
    for (name, old) in names.iter().zip(OLD) {
        assert!(name.starts_with("0/attempts/5/parts/copy-"), "{name}");
        assert_eq!(objects[name], body(old));
    }
    // Nothing but the names differs.
    let mut renamed = copied.clone();
    let parts = renamed.snapshots.iter_mut().flat_map(|snapshot| &mut snapshot.parts);
    let stored = parts.filter_map(|part| match part {
        StatePart::Stored { name, .. } => Some(name),
        StatePart::Inline { .. } => None,
    });
    stored.zip(OLD).for_each(|(name, old)| old.clone_into(name));
    assert_eq!(renamed, *original);
}

#[tokio::test(start_paused = true)]
async fn every_stored_part_is_copied_under_ones_own_name() {
    let world = World::new();
    let manifest = manifest(&world);
    let copied = log(&world, Arc::new(NoFaults)).copy_parts(ME, manifest.clone(), &SeededRandom::new(1)).await.unwrap();
    assert_copied(&world, &manifest, &copied);
    assert!(OLD.iter().all(|old| world.records().iter().any(|name| name == old)), "the originals stay");
}

#[tokio::test(start_paused = true)]
async fn a_missing_cut_or_changed_part_is_refused_by_its_address_and_never_copied() {
    let flipped = |old: &str| {
        let mut bytes = body(old).to_vec();
        bytes[3] ^= 1;
        Bytes::from(bytes)
    };
    for (index, old) in OLD.into_iter().enumerate() {
        let damages = [
            (None, "object is missing".to_owned()),
            (Some(body(old).slice(..7)), format!("7 bytes instead of {}", body(old).len())),
            (Some(Bytes::new()), format!("0 bytes instead of {}", body(old).len())),
            (Some(flipped(old)), "content hash differs".to_owned()),
        ];
        for (damage, reason) in damages {
            let world = World::new();
            let manifest = manifest(&world);
            world.store.corrupt(old, damage);
            let log = log(&world, Arc::new(NoFaults));
            let refused = log.copy_parts(ME, manifest, &SeededRandom::new(1)).await.unwrap_err();
            assert_eq!(refused.next(), Next::Stop(FailureReason::CorruptCheckpoint), "{refused}");
            assert_eq!(refused.to_string(), format!("memory:///{old}: {reason}"));
            assert_eq!(copies(&world).len(), index, "only what came before it was copied");
        }
    }
}

/// Names that come out as the test wants them; in the end ever the last.
struct Drawn(Mutex<Vec<u128>>);

impl Random for Drawn {
    fn u64(&self) -> u64 {
        self.u128() as u64
    }

    fn u128(&self) -> u128 {
        let mut left = self.0.lock().unwrap();
        if left.len() > 1 { left.remove(0) } else { left[0] }
    }
}

fn copy_name(drawn: u128) -> String {
    format!("0/attempts/5/parts/copy-{drawn:032x}")
}

#[tokio::test(start_paused = true)]
async fn a_name_that_something_stands_under_already_is_not_used() {
    // Whatever it is: of other content, or the same, which nobody knows to be durable.
    for present in [Bytes::from("something else"), body(OLD[0])] {
        let world = World::new();
        let manifest = manifest(&world);
        world.store.corrupt(&copy_name(1), Some(present.clone()));
        let drawn = Drawn(Mutex::new(vec![1, 2, 3, 4]));
        let copied = log(&world, Arc::new(NoFaults)).copy_parts(ME, manifest.clone(), &drawn).await.unwrap();
        assert_copied(&world, &manifest, &copied);
        assert!(part_names(&copied).eq([2, 3, 4].map(copy_name)));
        assert_eq!(world.store.objects()[&copy_name(1)], present, "and is left as it is");
        let stuck = Drawn(Mutex::new(vec![1]));
        let refused = log(&world, Arc::new(NoFaults)).copy_parts(ME, manifest, &stuck).await.unwrap_err();
        assert!(refused.to_string().ends_with("an object with a new name exists already"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_outcome_is_unknown_gets_another_name() {
    let late = StoreFault::LateWrite(Duration::from_secs(1));
    for fault in [StoreFault::ErrorBefore, StoreFault::LostReply, late] {
        let world = World::new();
        let manifest = manifest(&world);
        let creates = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&creates);
        // The second part's, two times.
        let faults = Scripted(move |operation, _: &str| {
            let is_create = operation == Operation::Create;
            (is_create && matches!(counted.fetch_add(1, Ordering::Relaxed), 1 | 2)).then_some(fault)
        });
        let drawn = Drawn(Mutex::new((1..=5).collect()));
        let copied = log(&world, Arc::new(faults)).copy_parts(ME, manifest.clone(), &drawn).await.unwrap();
        world.clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(creates.load(Ordering::Relaxed), 5, "{fault:?}");
        assert!(part_names(&copied).eq([1, 4, 5].map(copy_name)), "{fault:?}: a name of unknown fate is not used");
        assert_copied(&world, &manifest, &copied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_in_the_middle_of_the_copies_ends_them_with_its_own_error() {
    for (operation, fault, next) in [
        (Operation::Create, StoreFault::ErrorBefore, Next::Restart),
        (Operation::Create, StoreFault::Refused, Next::Stop(FailureReason::Store)),
        (Operation::Read, StoreFault::ErrorBefore, Next::Restart),
    ] {
        let world = World::new();
        let manifest = manifest(&world);
        let (calls, hits) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&hits);
        // Everything from the second part on.
        let faults = Scripted(move |asked, _: &str| {
            let fails = asked == operation && calls.fetch_add(1, Ordering::Relaxed) >= 1;
            counted.fetch_add(u32::from(fails), Ordering::Relaxed);
            fails.then_some(fault)
        });
        let random = SeededRandom::new(1);
        let ended = log(&world, Arc::new(faults)).copy_parts(ME, manifest.clone(), &random).await.unwrap_err();
        assert!(matches!(ended, CoordinatorError::Store(_)), "{ended}");
        assert_eq!(ended.next(), next, "{operation:?} {fault:?}: {ended}");
        assert!((1..=3).contains(&hits.load(Ordering::Relaxed)), "bounded");
        assert_eq!(copies(&world).len(), 1, "{operation:?} {fault:?}");
        let healed = log(&world, Arc::new(NoFaults)).copy_parts(ME, manifest.clone(), &random).await.unwrap();
        assert_copied(&world, &manifest, &healed);
    }
}

/// A script that stores its state, in a world with three checkpoints of it; and the one before the newest.
async fn with_stored_state(world: &World) -> (Position, BTreeMap<String, Bytes>) {
    let context = world.context(world.setup(), 77, Arc::new(NoFaults));
    let (mut script, never) = (storing(world), StopSignal::never());
    let mut run = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
    let done = || {
        let events = world.events.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, RunEvent::CommitCompleted { .. })).count() >= 3
    };
    while !done() {
        tokio::select! {
            biased;
            ended = &mut run => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
    let listed = inspect::inspect(Arc::new(world.store.clone()), false).await.unwrap().unwrap();
    let (_, _, to) = checkpoint::paths::parse_handle(&listed.checkpoints[1].handle).unwrap();
    let parts = world.store.objects().into_iter().filter(|(name, _)| name.contains("/parts/"));
    (to, parts.collect())
}

fn storing(world: &World) -> Script {
    let mut script = Script::new(&world.sink);
    script.parts = Some(world.store.clone());
    script
}

async fn go_back(world: &World, seed: u64, to: Position, faults: Arc<dyn Faults>) -> Result<Ended, CoordinatorError> {
    let context = world.context(world.setup(), seed, faults);
    attempt(&context, Intent::GoBack { to }, &mut storing(world), &StopSignal::never()).await
}

async fn run(world: &World, seed: u64) -> Result<Ended, CoordinatorError> {
    let context = world.context(world.setup(), seed, Arc::new(NoFaults));
    attempt(&context, Intent::Run, &mut storing(world), &StopSignal::never()).await
}

#[tokio::test(start_paused = true)]
async fn going_back_is_decided_only_when_all_state_is_copied() {
    let world = World::new();
    let (to, parts) = with_stored_state(&world).await;
    assert!(parts.len() >= 2, "{:?}", parts.keys());
    for (name, part) in &parts {
        world.store.corrupt(name, Some(part.slice(1..)));
    }
    let refused = go_back(&world, 2, to, Arc::new(NoFaults)).await.unwrap_err();
    assert_eq!(refused.next(), Next::Stop(FailureReason::CorruptCheckpoint), "{refused}");
    for (name, part) in &parts {
        world.store.corrupt(name, Some(part.clone()));
    }
    let hits = Arc::new(AtomicU32::new(0));
    let failed = Arc::clone(&hits);
    let faults = Scripted(move |operation, name: &str| {
        let is_copy = operation == Operation::Create && name.contains("/parts/copy-");
        failed.fetch_add(u32::from(is_copy), Ordering::Relaxed);
        is_copy.then_some(StoreFault::LostReply)
    });
    let cut = go_back(&world, 3, to, Arc::new(faults)).await.unwrap_err();
    assert_eq!((cut.next(), hits.load(Ordering::Relaxed)), (Next::Restart, 3), "{cut}");
    // Neither has decided anything: a plain run goes on from the newest.
    let ended = run(&world, 4).await.unwrap();
    assert_eq!(ended, Ended::Finished { rows_in: TOTAL, rows_out: TOTAL });
    world.sink.assert_exactly_once(TOTAL);
}

#[tokio::test(start_paused = true)]
async fn what_was_gone_back_to_needs_the_original_no_more() {
    let world = World::new();
    let (to, parts) = with_stored_state(&world).await;
    let context = world.context(world.setup(), 2, Arc::new(NoFaults));
    let (mut script, never) = (storing(&world), StopSignal::never());
    let mut back = Box::pin(attempt(&context, Intent::GoBack { to }, &mut script, &never));
    let is_restored = |event: &RunEvent| matches!(event, RunEvent::Restored { attempt: Attempt(2), .. });
    while !world.events.0.lock().unwrap().iter().any(is_restored) {
        tokio::select! {
            biased;
            ended = &mut back => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
    // Dead right after its decision; the clean-up of the attempt before takes its parts away.
    drop(back);
    for name in parts.keys() {
        world.store.corrupt(name, None);
    }
    let ended = run(&world, 3).await.unwrap();
    assert!(matches!(ended, Ended::Finished { rows_in: TOTAL, .. }), "{ended:?}");
    let rows: u64 = world.sink.with(|target| target.committed.len() as u64) * STEP;
    assert_eq!(rows, TOTAL + STEP, "one epoch was gone back over");
}
