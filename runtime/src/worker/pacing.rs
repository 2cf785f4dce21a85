//! Keeps the subtasks of one source close in event time: one that runs ahead fills state with windows that cannot
//! fire before the others come after. (Flink calls it watermark alignment, FLIP-182; here the bound is in rows.)
//!
//! Subtasks of one process only, and only those that have rows to read hold others back: whoever waits for its input,
//! is idle or has ended does not. The one whose watermark is lowest never waits, so somebody always reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::element::Timestamp;

/// Rows that a subtask may read beyond the lowest watermark of the others.
const LEAD_ROWS: u64 = 1 << 17;
/// Distance of the marks from which the lead is reckoned.
const MARK_ROWS: u64 = LEAD_ROWS / 64;
/// Holds nobody back.
const RESTING: Timestamp = Timestamp::MAX;

struct Shared {
    /// By subtask: its watermark, or [`RESTING`].
    watermarks: Vec<AtomicI64>,
    moved: Notify,
}

/// One subtask's part.
pub(crate) struct Pacing {
    shared: Arc<Shared>,
    subtask: usize,
    watermark: Timestamp,
    rows: u64,
    /// (watermark, rows read when it was reached), ascending; the first is at or below the lowest of the others.
    marks: VecDeque<(Timestamp, u64)>,
}

impl Pacing {
    /// One for each subtask of a source.
    pub(crate) fn group(subtasks: usize) -> Vec<Self> {
        let watermarks = (0..subtasks).map(|_| AtomicI64::new(Timestamp::MIN)).collect();
        let shared = Arc::new(Shared { watermarks, moved: Notify::new() });
        let one = |subtask| Self {
            shared: Arc::clone(&shared),
            subtask,
            watermark: Timestamp::MIN,
            rows: 0,
            marks: VecDeque::from([(Timestamp::MIN, 0)]),
        };
        (0..subtasks).map(one).collect()
    }

    /// Rows were read.
    pub(crate) fn read(&mut self, rows: usize) {
        self.rows += rows as u64;
        self.tell(self.watermark);
    }

    /// The subtask's own watermark moved.
    pub(crate) fn advance(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
        if self.marks.back().is_none_or(|(_, rows)| self.rows - rows >= MARK_ROWS) {
            self.marks.push_back((watermark, self.rows));
        }
        self.tell(watermark);
    }

    /// There is nothing to read for now, or ever.
    pub(crate) fn rest(&self) {
        self.tell(RESTING);
    }

    fn tell(&self, watermark: Timestamp) {
        let Some(mine) = self.shared.watermarks.get(self.subtask) else { return };
        // Only this subtask writes it. Sequentially consistent, since a waiter first registers and then looks.
        if mine.load(Ordering::Relaxed) != watermark {
            mine.store(watermark, Ordering::SeqCst);
            self.shared.moved.notify_waiters();
        }
    }

    /// Returns once this subtask may read on; at once unless it is far ahead. Cancel safe.
    pub(crate) async fn turn(&mut self) {
        while self.is_ahead() {
            let shared = Arc::clone(&self.shared);
            let mut moved = std::pin::pin!(shared.moved.notified());
            moved.as_mut().enable();
            if self.is_ahead() {
                moved.await;
            }
        }
    }

    pub(crate) fn is_ahead(&mut self) -> bool {
        if self.rows < LEAD_ROWS {
            return false;
        }
        let others = self.shared.watermarks.iter().enumerate().filter(|(subtask, _)| *subtask != self.subtask);
        let lowest = others.map(|(_, watermark)| watermark.load(Ordering::SeqCst)).min().unwrap_or(RESTING);
        if self.watermark <= lowest {
            return false;
        }
        while self.marks.get(1).is_some_and(|(watermark, _)| *watermark <= lowest) {
            self.marks.pop_front();
        }
        self.marks.front().is_some_and(|(_, rows)| self.rows - rows >= LEAD_ROWS)
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn read(pacing: &mut Pacing, batches: u64) {
        for _ in 0..batches {
            pacing.read(MARK_ROWS as usize);
            pacing.advance(pacing.watermark.max(0) + 1_000);
        }
    }

    fn waits(pacing: &mut Pacing) -> bool {
        pacing.turn().now_or_never().is_none()
    }

    fn two() -> [Pacing; 2] {
        Pacing::group(2).try_into().ok().unwrap()
    }

    #[test]
    fn who_runs_ahead_waits_until_the_others_come_after() {
        let [mut fast, mut slow] = two();
        read(&mut fast, 63);
        assert!(!waits(&mut fast));
        read(&mut fast, 1);
        assert!(waits(&mut fast) && !waits(&mut slow));
        read(&mut slow, 1);
        assert!(!waits(&mut fast), "the lead is below the bound again");
        read(&mut fast, 1);
        assert!(waits(&mut fast) && !waits(&mut slow));
    }

    #[tokio::test]
    async fn a_waiting_subtask_is_woken() {
        let [mut fast, mut slow] = two();
        read(&mut fast, 64);
        let mut turn = std::pin::pin!(fast.turn());
        assert!(futures::poll!(turn.as_mut()).is_pending());
        read(&mut slow, 1);
        turn.await;
    }

    #[test]
    fn only_those_with_rows_to_read_hold_others_back() {
        let [mut fast, mut slow] = two();
        read(&mut slow, 1);
        read(&mut fast, 70);
        assert!(waits(&mut fast));
        slow.rest();
        assert!(!waits(&mut fast));
        slow.read(1);
        assert!(waits(&mut fast), "its input has rows again");
        drop(slow);
        assert!(!waits(&mut fast));
    }

    #[test]
    fn without_event_time_nobody_waits() {
        let [mut fast, _slow] = two();
        for _ in 0..200 {
            fast.read(MARK_ROWS as usize);
        }
        assert!(!waits(&mut fast));
    }

    #[test]
    fn marks_are_bounded() {
        let [mut fast, mut slow] = two();
        for _ in 0..100_000 {
            for pacing in [&mut fast, &mut slow] {
                pacing.read(10);
                pacing.advance(pacing.watermark.max(0) + 1);
                assert!(!pacing.is_ahead());
            }
        }
        assert!(fast.marks.len() <= 130, "{}", fast.marks.len());
    }
}
