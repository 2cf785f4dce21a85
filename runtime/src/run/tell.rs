//! Tells the observer once a second how many rows have gone through, checkpoints or not.

use std::sync::Arc;
use std::time::Duration;

use super::{Observer, RunEvent};
use crate::clock::Clock;
use crate::coordinator::{Phase, Progress};
use crate::tasks::{self, Task};

const INTERVAL: Duration = Duration::from_secs(1);

/// Tells until the task is dropped.
pub(super) fn tell(observer: Arc<dyn Observer>, progress: Progress, clock: Arc<dyn Clock>) -> Task<()> {
    tasks::spawn("progress", async move {
        let mut before = None;
        loop {
            clock.sleep(INTERVAL).await;
            let Phase::Running { attempt, .. } = progress.phase() else {
                before = None;
                continue;
            };
            let now = clock.monotonic();
            let ((base_in, base_out), (read, written)) = (progress.rows_before(), progress.rows(attempt));
            let rate = match before.replace((attempt, now, read)) {
                Some((same, then, had)) if same == attempt => {
                    per_second(read.saturating_sub(had), now.saturating_sub(then))
                }
                _ => per_second(read, INTERVAL),
            };
            observer.event(RunEvent::Progress {
                attempt,
                rows_in: base_in + read,
                rows_written: base_out + written,
                rows_in_per_second: rate,
            });
        }
    })
}

fn per_second(rows: u64, time: Duration) -> u64 {
    let rate = u128::from(rows) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
