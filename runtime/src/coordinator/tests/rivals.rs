//! Two processes that both mean to own the pipeline: one does, the other leaves and touches nothing any more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::{Attempt, Nonce};
use checkpoint::record::{self, Claim};
use checkpoint::recovery::Intent;

use super::faults::Scripted;
use super::rules::run_and_die;
use super::world::{FINISHED, Script, TOTAL, World, attempt};
use crate::clock::Clock;
use crate::coordinator::{CoordinatorError, Ended, Next, inspect};
use crate::run::{FailureReason, RunEvent, StopSignal};
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

fn is_decision(event: &RunEvent) -> bool {
    matches!(event, RunEvent::CheckpointCompleted { .. })
}

fn seals(world: &World) -> Vec<String> {
    let is_seal = |body: &Bytes| record::decode::<record::Entry>(body).is_ok_and(|entry| entry.is_sealed());
    world.store.objects().into_iter().filter(|(_, body)| is_seal(body)).map(|(name, _)| name).collect()
}

/// A rival's claim, which nothing has followed so far.
fn plant_claim(world: &World, by: &str, from: &str) {
    let claim: Claim = record::decode(&world.store.objects()[from]).unwrap();
    let body = record::encode(&Claim { nonce: Nonce(0xbad), ..claim }).unwrap();
    world.store.corrupt(by, Some(body.into()));
}

#[tokio::test(start_paused = true)]
async fn a_higher_claim_that_is_found_after_ones_own_is_left_to_and_nothing_is_sealed() {
    let world = World::new();
    run_and_die(&world, 1).await;
    let (rivals, planted) = (world.clone(), Arc::new(AtomicU32::new(0)));
    let hits = Arc::clone(&planted);
    let faults = Scripted(move |operation, _: &str| {
        // The listing that follows the claim.
        let is_claimed = rivals.records().iter().any(|name| name == "0/attempts/2/claim");
        if operation == Operation::List && is_claimed && hits.fetch_add(1, Ordering::Relaxed) == 0 {
            plant_claim(&rivals, "0/attempts/3/claim", "0/attempts/1/claim");
        }
        None
    });
    let context = world.context(world.setup(), 2, Arc::new(faults));
    let left = attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap_err();
    assert!(matches!(left, CoordinatorError::Outrun { by: Attempt(3) }), "{left}");
    assert_eq!((left.next(), planted.load(Ordering::Relaxed)), (Next::Leave, 1));
    assert_eq!(seals(&world), [] as [String; 0]);
    // Whoever comes next takes over from all three.
    assert_eq!(world.run(4, Intent::Run).await.unwrap(), FINISHED);
    world.sink.assert_exactly_once(TOTAL);
}

/// Holds the first claim back for this long, and loses the reply to it if told so.
fn slow_claim(millis: u64, is_lost: bool, hits: &Arc<AtomicU32>) -> Arc<dyn Faults> {
    let (hits, calls) = (Arc::clone(hits), AtomicU32::new(0));
    Arc::new(Scripted(move |operation, name: &str| {
        if !name.ends_with("claim") {
            return None;
        }
        match (operation, calls.fetch_add(1, Ordering::Relaxed)) {
            (Operation::Create, 0) if is_lost => {
                hits.fetch_add(1, Ordering::Relaxed);
                Some(StoreFault::LateWrite(Duration::from_millis(millis)))
            }
            (Operation::Create, 0) => {
                hits.fetch_add(1, Ordering::Relaxed);
                Some(StoreFault::Slow(Duration::from_millis(millis)))
            }
            _ => None,
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn of_two_claims_of_one_number_one_wins_also_when_nobody_is_told() {
    for (is_lost, millis) in [(false, [1, 2]), (false, [2, 1]), (true, [1, 2]), (true, [2, 1]), (true, [30, 40])] {
        let world = World::new();
        let hits = Arc::new(AtomicU32::new(0));
        let contexts = [0, 1].map(|i| world.context(world.setup(), i as u64, slow_claim(millis[i], is_lost, &hits)));
        let (mut one, mut two) = (Script::new(&world.sink), Script::new(&world.sink));
        let never = StopSignal::never();
        let (one, two) = tokio::join!(
            attempt(&contexts[0], Intent::Run, &mut one, &never),
            attempt(&contexts[1], Intent::Run, &mut two, &never)
        );
        assert_eq!(hits.load(Ordering::Relaxed), 2, "both have sent a claim");
        let (winner, loser) = if one.is_ok() { (one, two) } else { (two, one) };
        assert_eq!(winner.unwrap(), FINISHED, "{is_lost} {millis:?}");
        let left = loser.unwrap_err();
        assert!(matches!(left, CoordinatorError::Outrun { by: Attempt(1) }), "{is_lost} {millis:?}: {left}");
        assert!(!world.records().iter().any(|name| name.starts_with("0/attempts/2/")), "one attempt");
        assert_eq!(seals(&world), [] as [String; 0]);
        world.sink.assert_exactly_once(TOTAL);
    }
}

/// At its call number `at` a process stops, before the call has any effect; `.1` tells which call that was.
struct Pause {
    at: u32,
    calls: AtomicU32,
    paused: Mutex<Option<(Operation, String)>>,
}

impl Faults for Pause {
    fn next(&self, operation: Operation, name: &str) -> Option<StoreFault> {
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.at {
            return None;
        }
        *self.paused.lock().unwrap() = Some((operation, name.to_owned()));
        Some(StoreFault::Slow(Duration::from_millis(1)))
    }
}

/// What a process was about to do when it stopped.
fn kind(operation: Operation, name: &str, is_claimed: bool) -> &'static str {
    match operation {
        Operation::List if !is_claimed => "list before the claim",
        Operation::Create if name == "0/attempts/2/claim" => "claim",
        Operation::Create if name.starts_with("0/attempts/1/") => "seal",
        Operation::Create => "append",
        Operation::List if name == "0/attempts/" => "list after the claim",
        Operation::Read => "read",
        Operation::List | Operation::Delete => "clean up",
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_process_was_about_to_do_it_leaves_in_silence_when_a_rival_has_run_meanwhile() {
    let mut kinds = Vec::new();
    for at in 0.. {
        assert!(at < 200, "it makes ever more calls");
        let world = World::new();
        run_and_die(&world, 2).await;
        let sleeper = world.apart();
        let pause = Arc::new(Pause { at, calls: AtomicU32::new(0), paused: Mutex::default() });
        let context = sleeper.context(sleeper.setup(), 5, Arc::clone(&pause) as Arc<dyn Faults>);
        let (mut script, never) = (Script::new(&sleeper.sink), StopSignal::never());
        let mut sleeps = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
        let ended = std::future::poll_fn(|polled| match sleeps.as_mut().poll(polled) {
            std::task::Poll::Ready(ended) => std::task::Poll::Ready(Some(ended)),
            std::task::Poll::Pending if pause.paused.lock().unwrap().is_some() => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        });
        if let Some(ended) = ended.await {
            assert_eq!(ended.unwrap(), FINISHED, "not a call more");
            break;
        }
        let (operation, name) = pause.paused.lock().unwrap().clone().unwrap();
        let is_claimed = world.records().iter().any(|name| name == "0/attempts/2/claim");
        let kind = kind(operation, &name, is_claimed);
        kinds.push(kind);
        // The last decision may have been there already, and only its end has not.
        let already = Ended::AlreadyFinished { rows_in: TOTAL, rows_out: TOTAL };
        let rival = world.run(9, Intent::Run).await.unwrap();
        assert!([&FINISHED, &already].contains(&&rival), "{at}: {kind}: {rival:?}");
        let (before, seen) = (world.store.objects(), sleeper.events.0.lock().unwrap().len());
        let committed = world.sink.with(|target| target.committed.clone());
        let woken = sleeps.await;
        if kind == "list before the claim" {
            // It has seen nothing of what was before: it is the newest run.
            assert_eq!(woken.unwrap(), already);
            continue;
        }
        if let (Ok(ended), "clean up") = (&woken, kind) {
            // That is beside the way: the end had been recorded by then.
            assert_eq!((ended, rival), (&FINISHED, already));
            continue;
        }
        let woken = woken.unwrap_err();
        assert_eq!(woken.next(), Next::Leave, "{at}: {kind} {name}: {woken}");
        if kind == "list after the claim" && !kinds.contains(&"seal") {
            assert!(matches!(woken, CoordinatorError::Outrun { by: Attempt(3) }), "{woken}");
        }
        let after = world.store.objects();
        assert!(after.iter().all(|(name, body)| before.get(name) == Some(body)), "{at}: {kind}: something was written");
        assert_eq!(world.sink.with(|target| target.committed.clone()), committed, "{at}: {kind}");
        assert!(!sleeper.events.0.lock().unwrap()[seen..].iter().any(is_decision), "{at}: {kind}");
        let listed = inspect::inspect(Arc::new(world.store.clone()), true).await.unwrap().unwrap();
        assert!(listed.finished && listed.faults.is_empty(), "{at}: {kind}: {:?}", listed.faults);
        world.sink.assert_exactly_once(TOTAL);
    }
    println!("{} calls: {kinds:?}", kinds.len());
    for (kind, least) in
        [("claim", 1), ("list after the claim", 2), ("seal", 1), ("append", 4), ("read", 3), ("clean up", 1)]
    {
        assert!(kinds.iter().filter(|met| **met == kind).count() >= least, "{kind} in {kinds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_comes_while_the_decision_is_on_its_way_fences_and_the_decision_never_was() {
    let world = World::new();
    let sleeper = world.apart();
    let sent = Arc::new(AtomicU32::new(0));
    let hits = Arc::clone(&sent);
    let faults = Scripted(move |operation, name: &str| {
        // The second decision with output.
        let is_it = operation == Operation::Create && name == "0/attempts/1/2";
        (is_it && hits.fetch_add(1, Ordering::Relaxed) == 0).then_some(StoreFault::Slow(Duration::from_mins(1)))
    });
    let context = sleeper.context(sleeper.setup(), 1, Arc::new(faults));
    let (mut script, never) = (Script::new(&sleeper.sink), StopSignal::never());
    let rival = async {
        while sent.load(Ordering::Relaxed) == 0 {
            world.clock.sleep(Duration::from_millis(1)).await;
        }
        world.run(2, Intent::Run).await
    };
    let (fenced, rival) = tokio::join!(attempt(&context, Intent::Run, &mut script, &never), rival);
    assert_eq!(rival.unwrap(), FINISHED);
    let fenced = fenced.unwrap_err();
    assert!(matches!(fenced, CoordinatorError::Fenced { by: Attempt(2) }), "{fenced}");
    assert_eq!(sleeper.events.0.lock().unwrap().iter().filter(|event| is_decision(event)).count(), 1);
    assert_eq!(seals(&world), ["0/attempts/1/2"], "the seal has its slot");
    // What it had pre-committed was read again by its successor.
    assert_eq!(world.sink.with(|target| target.aborted), 1);
    world.sink.assert_exactly_once(TOTAL);
}

/// An attempt that is stopped after its first decision, and whose store then takes nothing any more.
async fn run_into_a_closed_store(is_fenced: bool) -> CoordinatorError {
    let world = World::new();
    let (closed, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (is_closed, hits) = (Arc::clone(&closed), Arc::clone(&refused));
    let faults = Scripted(move |operation, _: &str| {
        (operation == Operation::Create && is_closed.load(Ordering::Relaxed) == 1).then(|| {
            hits.fetch_add(1, Ordering::Relaxed);
            StoreFault::Refused
        })
    });
    let context = world.context(world.setup(), 1, Arc::new(faults));
    let (mut script, never) = (Script::new(&world.sink), StopSignal::never());
    let mut run = Box::pin(attempt(&context, Intent::Run, &mut script, &never));
    while !world.events.0.lock().unwrap().iter().any(is_decision) {
        tokio::select! {
            biased;
            ended = &mut run => panic!("ended with {ended:?}"),
            () = world.clock.sleep(Duration::from_millis(1)) => (),
        }
    }
    if is_fenced {
        // It has claimed, and sealed nobody yet.
        plant_claim(&world, "0/attempts/2/claim", "0/attempts/1/claim");
    }
    closed.store(1, Ordering::Relaxed);
    let ended = run.await.unwrap_err();
    assert!(refused.load(Ordering::Relaxed) > 0);
    ended
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_go_on_looks_for_a_rival_before_it_says_why() {
    let fenced = run_into_a_closed_store(true).await;
    assert!(matches!(fenced, CoordinatorError::Fenced { by: Attempt(2) }), "{fenced}");
    let alone = run_into_a_closed_store(false).await;
    assert_eq!(alone.next(), Next::Stop(FailureReason::Store), "{alone}");
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_cannot_be_looked_for_hides_no_reason() {
    let world = World::new();
    let (is_gone, listings) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let hits = Arc::clone(&listings);
    let faults = Scripted(move |operation, name: &str| {
        // From the first decision with output on nothing is answered.
        is_gone.fetch_or(u32::from(name == "0/attempts/1/1"), Ordering::Relaxed);
        (is_gone.load(Ordering::Relaxed) == 1).then(|| {
            hits.fetch_add(u32::from(operation == Operation::List), Ordering::Relaxed);
            StoreFault::Refused
        })
    });
    let context = world.context(world.setup(), 1, Arc::new(faults));
    let ended = attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap_err();
    assert_eq!(ended.next(), Next::Stop(FailureReason::Store), "{ended}");
    assert!(ended.to_string().contains("0/attempts/1/1"), "{ended}");
    assert_eq!(listings.load(Ordering::Relaxed), 1, "it has looked");
    let context = world.context(world.setup(), 2, Arc::new(NoFaults));
    assert_eq!(
        attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await.unwrap(),
        FINISHED
    );
}
