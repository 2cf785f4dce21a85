//! The shipped binary over files: killed, paused, doubled, damaged, stopped; and every time the result is exact.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod at_random;
mod at_steps;
mod changes;
mod commit_only;
mod damage;
mod faults;
mod going_back;
mod losses;
mod metrics;
mod starts;
mod stops;
mod zombies;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pipelines that run side by side: the smallest machine that this is meant for has two cores.
const LANES: usize = 2;

/// Runs `each` over all cases in [`LANES`] threads and fails with every failure, not only the first.
fn in_lanes<T: Sync>(cases: &[T], each: impl Fn(&T) -> anyhow::Result<()> + Sync) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = each(case) {
                        failures.lock().unwrap().push(format!("{failure:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} failed:\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}
