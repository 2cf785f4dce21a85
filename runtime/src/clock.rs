//! The only reader of time and randomness: both are ports, so that a simulation decides them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Time as a port.
pub trait Clock: Send + Sync {
    /// Since an arbitrary origin; never goes back; counts suspend (`CLOCK_BOOTTIME`).
    fn monotonic(&self) -> Duration;
    /// Milliseconds since 1970, for people and metrics only: no decision is taken by it.
    fn wall_ms(&self) -> u64;
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness as a port.
pub trait Random: Send + Sync {
    fn u64(&self) -> u64;
    fn u128(&self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }

    fn wall_ms(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        time.tv_sec.unsigned_abs().saturating_mul(1_000).saturating_add(time.tv_nsec.unsigned_abs() / 1_000_000)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The clock of the async runtime: in a runtime with paused time it jumps from timer to timer, so that a simulation
/// of hours takes milliseconds and always comes out the same. Outside of one it runs like any other.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    origin: tokio::time::Instant,
}

impl RuntimeClock {
    /// Wall time at the origin: an arbitrary fixed date, the same in every run.
    const WALL_ORIGIN_MS: u64 = 1_767_225_600_000;

    /// Starts at zero. Must be called inside the runtime whose time it follows.
    #[allow(clippy::disallowed_methods, reason = "this is the port")]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for RuntimeClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        Self::WALL_ORIGIN_MS + self.monotonic().as_millis() as u64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that a test moves by hand; starts at zero.
#[derive(Clone, Default)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Default)]
struct ManualState {
    now: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl ManualClock {
    /// Moves time forward and wakes whoever slept until then or earlier.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += by;
        let now = state.now;
        let (due, later) = std::mem::take(&mut state.sleepers).into_iter().partition(|(at, _)| *at <= now);
        state.sleepers = later;
        drop(state);
        let due: Vec<(Duration, oneshot::Sender<()>)> = due;
        for (_, sleeper) in due {
            // A sleeper that gave up in the meantime is not an error.
            let _ = sleeper.send(());
        }
    }

    /// How many are asleep: what a test waits for before it advances.
    pub fn sleepers(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sleepers.iter().filter(|(_, sleeper)| !sleeper.is_closed()).count()
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    fn wall_ms(&self) -> u64 {
        self.monotonic().as_millis() as u64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        let at = state.now + duration;
        state.sleepers.retain(|(_, sleeper)| !sleeper.is_closed());
        state.sleepers.push((at, sender));
        Box::pin(async move {
            // The sender lives as long as the clock; without a clock nobody can ever wake.
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[allow(clippy::disallowed_methods, reason = "this is the port")]
    fn u64(&self) -> u64 {
        getrandom::u64().expect("without randomness nonces could repeat, so nothing may go on")
    }
}

/// A reproducible sequence (splitmix64) for tests and simulation.
///
/// # Source
/// Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014.
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = ManualClock::default();
        let mut early = clock.sleep(Duration::from_secs(1));
        let mut late = clock.sleep(Duration::from_secs(3));
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_secs(2));
        assert!(futures::poll!(&mut early).is_ready());
        assert!(futures::poll!(&mut late).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(&mut late).is_ready());
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let first = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= first);
        assert!(SystemClock.wall_ms() > 1_700_000_000_000);
    }

    #[test]
    fn a_seed_gives_the_same_sequence() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        let first: Vec<u64> = (0..8).map(|_| a.u64()).collect();
        assert_eq!(first, (0..8).map(|_| b.u64()).collect::<Vec<_>>());
        assert_ne!(first[0], SeededRandom::new(8).u64());
        assert_ne!(SystemRandom.u128(), SystemRandom.u128());
    }
}
