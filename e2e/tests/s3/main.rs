//! Checkpoints in a real S3 server: races, lost and late messages, deaths on both sides, wrong settings; whole pipelines
//! are judged by the independent checker, and the log is read as the server's files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod faults;
mod port;
mod races;
mod settings;
mod whole;

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
