//! Stores that lose replies, write late or are full, and processes that die anywhere.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::recovery::Intent;
use futures::FutureExt;

use super::world::{FINISHED, Script, TOTAL, World, attempt};
use crate::clock::{Clock, Random, SeededRandom};
use crate::coordinator::{CoordinatorError, Ended, Next};
use crate::run::StopSignal;
use crate::store::memory::{Faults, NoFaults, Operation, StoreFault};

/// Faults by a closure, which counts them.
pub(in crate::coordinator) struct Scripted<F>(pub(in crate::coordinator) F);

impl<F: Fn(Operation, &str) -> Option<StoreFault> + Send + Sync> Faults for Scripted<F> {
    fn next(&self, operation: Operation, name: &str) -> Option<StoreFault> {
        (self.0)(operation, name)
    }
}

/// Faults at random, counted by kind.
struct Seeded {
    random: SeededRandom,
    /// One call in this many has a fault.
    one_in: u64,
    counts: Arc<[AtomicU32; 4]>,
}

impl Faults for Seeded {
    fn next(&self, operation: Operation, _: &str) -> Option<StoreFault> {
        let drawn = self.random.u64();
        if !drawn.is_multiple_of(self.one_in) {
            return None;
        }
        let late = Duration::from_millis(drawn >> 32 & 0xff);
        let (kind, fault) = match (drawn >> 8) % 4 {
            0 => (0, StoreFault::ErrorBefore),
            1 => (1, StoreFault::LostReply),
            2 if operation == Operation::Create => (2, StoreFault::LateWrite(late)),
            _ => (3, StoreFault::Slow(late)),
        };
        self.counts[kind].fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }
}

#[tokio::test(start_paused = true)]
async fn every_row_is_committed_once_whatever_the_store_does_and_wherever_a_process_dies() {
    let counts: Arc<[AtomicU32; 4]> = Arc::default();
    let (mut deaths, mut failures) = (0_u32, 0_u32);
    for seed in 0..400_u64 {
        let world = World::new();
        let random = SeededRandom::new(seed);
        let mut process = 0;
        loop {
            process += 1;
            assert!(process < 60, "seed {seed} comes to no end");
            // It heals in the end.
            let one_in = if process > 20 { u64::MAX } else { 3 + random.u64() % 9 };
            let faults = Seeded { random: SeededRandom::new(random.u64()), one_in, counts: Arc::clone(&counts) };
            let context = world.context(world.setup(), random.u64(), Arc::new(faults));
            let mut script = Script::new(&world.sink);
            let never = StopSignal::never();
            let run = attempt(&context, Intent::Run, &mut script, &never);
            let life = if process > 20 { u64::MAX } else { random.u64() % 60 };
            match die_after(life, run).await {
                None => deaths += 1,
                Some(Ok(Ended::Finished { .. } | Ended::AlreadyFinished { .. })) => break,
                Some(Ok(other)) => panic!("seed {seed}: {other:?}"),
                Some(Err(error)) => {
                    failures += 1;
                    assert_eq!(error.next(), Next::Restart, "seed {seed}: {error}");
                }
            }
        }
        // Late writes of dead processes land, and change nothing.
        world.clock.sleep(Duration::from_secs(1)).await;
        world.sink.assert_exactly_once(TOTAL);
        let again = world.run(9_999, Intent::Run).await.unwrap();
        assert_eq!(again, Ended::AlreadyFinished { rows_in: TOTAL, rows_out: TOTAL }, "seed {seed}");
    }
    let counts: Vec<u32> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    println!("deaths {deaths}, failed attempts {failures}, store faults by kind {counts:?}");
    assert!(deaths > 100 && failures > 20 && counts.iter().all(|count| *count > 100), "too few faults: {counts:?}");
}

/// Polls `run` at most `polls` times, then drops it where it stands.
async fn die_after<T>(polls: u64, run: impl Future<Output = T>) -> Option<T> {
    let mut run = Box::pin(run);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left = left.saturating_sub(1);
        run.poll_unpin(context).map(Some)
    })
    .await
}

/// From one call on, nothing can be created any more.
struct Full {
    calls_left: Mutex<u32>,
    hits: AtomicU32,
}

impl Faults for Full {
    fn next(&self, operation: Operation, _: &str) -> Option<StoreFault> {
        if operation != Operation::Create {
            return None;
        }
        let mut left = self.calls_left.lock().unwrap();
        if *left == 0 {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Some(StoreFault::ErrorBefore);
        }
        *left -= 1;
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_at_any_create_is_an_error_and_loses_nothing() {
    let mut filled = 0;
    for calls_left in 0.. {
        let world = World::new();
        let full = Arc::new(Full { calls_left: Mutex::new(calls_left), hits: AtomicU32::new(0) });
        let context = world.context(world.setup(), 1, Arc::clone(&full) as Arc<dyn Faults>);
        let ended = attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await;
        if full.hits.load(Ordering::Relaxed) == 0 {
            assert_eq!(ended.unwrap(), FINISHED);
            break;
        }
        filled += 1;
        let error = ended.unwrap_err();
        assert!(matches!(error, CoordinatorError::Store(_)), "{error}");
        assert!(error.to_string().contains("create memory:///0/attempts/"), "{error}");
        let context = world.context(world.setup(), 2, Arc::new(NoFaults));
        let healed = attempt(&context, Intent::Run, &mut Script::new(&world.sink), &StopSignal::never()).await;
        assert!(matches!(healed, Ok(Ended::Finished { .. } | Ended::AlreadyFinished { .. })), "{healed:?}");
        world.sink.assert_exactly_once(TOTAL);
    }
    assert!(filled >= 8, "claim, first epoch, six epochs at least: {filled}");
}
