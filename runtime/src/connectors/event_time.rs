//! Event time of a source: one watermark per split, exact per row, and their minimum per reader.
//!
//! Lateness is a property of the input alone, so every split is judged by its own watermark and never by how far
//! another one has come. A batch states one watermark for all its rows ([`crate::element::Batch::late_before`]); the
//! cuts below are where stating it once would judge a row wrongly.

use std::time::Duration;

use crate::element::{Timestamp, Watermark};

/// Highest timestamp that a watermark of an unfinished split can take: the one above it is [`Watermark::END`].
const LAST_BEFORE_END: Timestamp = Timestamp::MAX - 1;

/// How a source's rows are ordered in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    pub column: String,
    /// How far below the highest timestamp of its split a row may lie without being late.
    pub max_out_of_orderness: Duration,
    /// After this long without a row a split that could have given one holds nobody back.
    pub idle_timeout: Option<Duration>,
}

/// Rows of one chunk that one watermark judges rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Index behind the last row.
    pub(crate) end: usize,
    pub(crate) late_before: Timestamp,
    /// Watermark of the split behind the last row.
    pub(crate) watermark: Timestamp,
}

/// The running watermark of one split.
#[derive(Clone, Debug)]
pub(crate) struct SplitClock {
    watermark: Timestamp,
    out_of_orderness_us: i64,
}

impl SplitClock {
    pub(crate) fn new(restored: Timestamp, max_out_of_orderness: Duration) -> Self {
        let out_of_orderness_us = i64::try_from(max_out_of_orderness.as_micros()).unwrap_or(i64::MAX);
        Self { watermark: restored, out_of_orderness_us }
    }

    /// Takes the timestamps of the next rows and cuts them wherever one of them lies below the running watermark and
    /// that watermark has risen since the cut before. So a row is late by its slice's `late_before` exactly when it
    /// is late by the watermark just before it: above the running watermark both answers are no.
    pub(crate) fn cut(&mut self, timestamps: &[Timestamp]) -> Vec<Slice> {
        let mut slices = Vec::with_capacity(1);
        let mut late_before = self.watermark;
        let mut running = self.watermark;
        for (row, &timestamp) in timestamps.iter().enumerate() {
            if timestamp < running && running > late_before {
                slices.push(Slice { end: row, late_before, watermark: running });
                late_before = running;
            }
            let reached = timestamp.saturating_sub(self.out_of_orderness_us).min(LAST_BEFORE_END);
            running = running.max(reached);
        }
        slices.push(Slice { end: timestamps.len(), late_before, watermark: running });
        self.watermark = running;
        slices
    }
}

/// What a reader says about event time: the minimum over its splits, each change once, never going back.
#[derive(Debug)]
pub(crate) struct ReaderClock {
    highest: Timestamp,
    said: Option<Watermark>,
}

/// One split as the reader's clock sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitTime {
    pub(crate) watermark: Timestamp,
    pub(crate) finished: bool,
    /// It was asked for the idle timeout and had nothing.
    pub(crate) idle: bool,
}

impl Default for ReaderClock {
    fn default() -> Self {
        Self { highest: Timestamp::MIN, said: None }
    }
}

impl ReaderClock {
    /// The watermark to emit now, if it changed.
    pub(crate) fn moved(&mut self, splits: impl Iterator<Item = SplitTime>) -> Option<Watermark> {
        let (mut lowest, mut unfinished, mut active) = (Timestamp::MAX, false, false);
        for split in splits.filter(|split| !split.finished) {
            unfinished = true;
            if !split.idle {
                active = true;
                lowest = lowest.min(split.watermark);
            }
        }
        let watermark = match (unfinished, active) {
            (false, _) => Watermark::END,
            (true, false) => Watermark::Idle,
            (true, true) => Watermark::At(lowest.max(self.highest)),
        };
        // Nothing said yet means the same as START.
        if self.said.unwrap_or(Watermark::START) == watermark {
            return None;
        }
        if let Watermark::At(at) = watermark {
            self.highest = at;
        }
        self.said = Some(watermark);
        Some(watermark)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn clock(out_of_orderness: Duration) -> SplitClock {
        SplitClock::new(Timestamp::MIN, out_of_orderness)
    }

    /// The rule itself, row by row: (watermark just before the row, row).
    fn by_row(timestamps: &[i64], out_of_orderness: i64) -> Vec<(i64, i64)> {
        let mut watermark = i64::MIN;
        let mut judged = Vec::new();
        for &timestamp in timestamps {
            judged.push((watermark, timestamp));
            watermark = watermark.max(timestamp.saturating_sub(out_of_orderness));
        }
        judged
    }

    #[test]
    fn ordered_rows_are_never_cut() {
        let rows: Vec<i64> = (0..1000).map(|k| k * SECOND).collect();
        let slices = clock(Duration::ZERO).cut(&rows);
        assert_eq!(slices, [Slice { end: 1000, late_before: i64::MIN, watermark: 999 * SECOND }]);
    }

    #[test]
    fn a_row_below_the_risen_watermark_begins_a_slice() {
        let slices = clock(Duration::from_secs(2)).cut(&[0, 10 * SECOND, 9 * SECOND, 7 * SECOND, 6 * SECOND]);
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0], Slice { end: 3, late_before: i64::MIN, watermark: 8 * SECOND });
        assert_eq!(slices[1], Slice { end: 5, late_before: 8 * SECOND, watermark: 8 * SECOND });
    }

    #[test]
    fn a_restored_split_judges_from_its_watermark() {
        let slices = SplitClock::new(5 * SECOND, Duration::ZERO).cut(&[3 * SECOND]);
        assert_eq!(slices, [Slice { end: 1, late_before: 5 * SECOND, watermark: 5 * SECOND }]);
    }

    fn at(watermark: i64) -> SplitTime {
        SplitTime { watermark, finished: false, idle: false }
    }

    #[test]
    fn reader_says_the_minimum_once_and_ends_when_all_are_finished() {
        let mut reader = ReaderClock::default();
        assert_eq!(reader.moved([at(i64::MIN), at(9)].into_iter()), None);
        assert_eq!(reader.moved([at(5), at(9)].into_iter()), Some(Watermark::At(5)));
        assert_eq!(reader.moved([at(5), at(9)].into_iter()), None);
        let finished = SplitTime { finished: true, ..at(5) };
        assert_eq!(reader.moved([finished, at(9)].into_iter()), Some(Watermark::At(9)));
        assert_eq!(reader.moved([finished, finished].into_iter()), Some(Watermark::END));
        assert_eq!(reader.moved([finished, finished].into_iter()), None);
    }

    #[test]
    fn an_idle_split_holds_nobody_back_and_its_return_does_not_turn_time_back() {
        let mut reader = ReaderClock::default();
        assert_eq!(reader.moved([at(3), at(9)].into_iter()), Some(Watermark::At(3)));
        let idle = SplitTime { idle: true, ..at(3) };
        assert_eq!(reader.moved([idle, at(9)].into_iter()), Some(Watermark::At(9)));
        assert_eq!(reader.moved([idle].into_iter()), Some(Watermark::Idle));
        assert_eq!(reader.moved([at(4), at(9)].into_iter()), Some(Watermark::At(9)));
        assert_eq!(reader.moved([at(5), at(10)].into_iter()), None);
    }

    proptest! {
        #[test]
        fn every_slice_judges_its_rows_as_the_rule_does(
            rows in prop::collection::vec(0_i64..200, 0..300),
            out_of_orderness in 0_i64..50,
            chunk in 1_usize..50,
            window in 1_i64..40,
        ) {
            let expected = by_row(&rows, out_of_orderness);
            let mut clock = clock(Duration::from_micros(out_of_orderness.unsigned_abs()));
            let mut judged = Vec::new();
            for chunk in rows.chunks(chunk) {
                let mut begin = 0;
                for slice in clock.cut(chunk) {
                    judged.extend(chunk[begin..slice.end].iter().map(|&row| (slice.late_before, row)));
                    begin = slice.end;
                }
                prop_assert_eq!(begin, chunk.len());
            }
            prop_assert_eq!(judged.len(), expected.len());
            for (&(stated, row), &(exact, same_row)) in judged.iter().zip(&expected) {
                prop_assert_eq!(row, same_row);
                let window_end = (row.div_euclid(window) + 1) * window;
                prop_assert_eq!(window_end <= stated, window_end <= exact, "tumbling");
                prop_assert_eq!(row < stated, row < exact, "session");
            }
        }
    }
}
