//! Where a subtask's time goes and how many rows it moved: told by relaxed stores, once per batch or wait, and read by
//! whoever looks, at any moment. Idle, held up and busy add up to the time since the subtask began.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::statistics::Times;
use futures::future::BoxFuture;

use crate::clock::Clock;

/// What a subtask waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Input,
    RoomDownstream,
}

/// Written by one subtask, read by others. Times are microseconds of the clock.
#[derive(Debug, Default)]
pub(crate) struct Live {
    began: AtomicU64,
    /// 0 until the subtask is gone.
    ended: AtomicU64,
    idle: AtomicU64,
    backpressured: AtomicU64,
    /// One more than since when it waits, doubled, plus 1 for room downstream; 0 while it works.
    waiting: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
}

impl Live {
    pub(crate) fn times(&self, now: Duration) -> Times {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let now = match get(&self.ended) {
            0 => micros(now),
            ended => ended,
        };
        let (mut idle, mut backpressured) = (get(&self.idle), get(&self.backpressured));
        match get(&self.waiting) {
            0 => {}
            waiting if waiting % 2 == 0 => idle += now.saturating_sub(waiting / 2 - 1),
            waiting => backpressured += now.saturating_sub(waiting / 2 - 1),
        }
        let busy = now.saturating_sub(get(&self.began)).saturating_sub(idle + backpressured);
        Times { busy_us: busy, idle_us: idle, backpressured_us: backpressured }
    }

    /// Rows read from a source and written to sinks.
    pub(crate) fn rows(&self) -> (u64, u64) {
        (self.rows_read.load(Ordering::Relaxed), self.rows_written.load(Ordering::Relaxed))
    }
}

/// The subtask's own end. Dropping it ends the subtask's time.
pub(crate) struct Meter {
    clock: Arc<dyn Clock>,
    live: Arc<Live>,
}

impl Meter {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let live = Live::default();
        live.began.store(micros(clock.monotonic()), Ordering::Relaxed);
        Self { clock, live: Arc::new(live) }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(time)
    }

    /// Waits, and counts the time.
    pub(crate) async fn wait<T>(&self, wait: Wait, what: impl Future<Output = T>) -> T {
        let (total, mark) = match wait {
            Wait::Input => (&self.live.idle, 0),
            Wait::RoomDownstream => (&self.live.backpressured, 1),
        };
        let since = micros(self.clock.monotonic());
        self.live.waiting.store((since + 1) * 2 + mark, Ordering::Relaxed);
        let done = what.await;
        self.live.waiting.store(0, Ordering::Relaxed);
        total.fetch_add(micros(self.clock.monotonic()).saturating_sub(since), Ordering::Relaxed);
        done
    }

    pub(crate) fn read(&self, rows: usize) {
        self.live.rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// `rows`: all that were written so far.
    pub(crate) fn written(&self, rows: u64) {
        self.live.rows_written.store(rows, Ordering::Relaxed);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.live.ended.store(micros(self.clock.monotonic()).max(1), Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn waits_are_counted_while_they_last_and_the_three_times_add_up() {
        let clock = ManualClock::default();
        let meter = Meter::new(Arc::new(clock.clone()));
        let live = meter.live();
        clock.advance(SECOND);
        let (done, gate) = tokio::sync::oneshot::channel();
        let mut wait = Box::pin(meter.wait(Wait::Input, gate));
        assert!(futures::poll!(&mut wait).is_pending());
        clock.advance(2 * SECOND);
        let times = |busy: u64, idle: u64, backpressured: u64| Times {
            busy_us: busy * 1_000_000,
            idle_us: idle * 1_000_000,
            backpressured_us: backpressured * 1_000_000,
        };
        assert_eq!(live.times(clock.monotonic()), times(1, 2, 0));
        done.send(()).unwrap();
        assert!(futures::poll!(&mut wait).is_ready());
        drop(wait);
        clock.advance(SECOND);
        assert_eq!(live.times(clock.monotonic()), times(2, 2, 0));
        let mut held = Box::pin(meter.wait(Wait::RoomDownstream, std::future::pending::<()>()));
        assert!(futures::poll!(&mut held).is_pending());
        clock.advance(3 * SECOND);
        drop(held);
        drop(meter);
        clock.advance(100 * SECOND);
        assert_eq!(live.times(clock.monotonic()), times(2, 2, 3), "time ends with the subtask");
    }
}
