//! Window arithmetic: half open intervals of event time, aligned to 1970-01-01T00:00:00Z.

use crate::element::Timestamp;

/// How rows are put into windows. All lengths are positive microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    Tumble {
        size: i64,
    },
    Hop {
        slide: i64,
        size: i64,
    },
    Session {
        gap: i64,
    },
    /// The row's own `window_start` column says it (windows of windows).
    Attached {
        size: i64,
    },
}

/// Rows that are in the same windows. `start` is the start of a window, or of a pane for HOP; `since` is the start of
/// the first window that the rows may still count into (for HOP a row can be late for some of its windows only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket {
    pub(crate) start: Timestamp,
    pub(crate) since: Timestamp,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn floor(ts: Timestamp, unit: i64) -> Timestamp {
    ts.saturating_sub(ts.rem_euclid(unit))
}

/// A watermark of a relation in terms of one of its time columns, whose values trail the relation's by up to `lag`.
/// The two ends of time stay what they are.
pub(crate) fn shift(watermark: Timestamp, lag: i64) -> Timestamp {
    if watermark == Timestamp::MIN || watermark == Timestamp::MAX { watermark } else { watermark.saturating_sub(lag) }
}

impl WindowKind {
    /// Length of what is aggregated as one: the window, or for HOP the pane (greatest common divisor of slide and size).
    pub(crate) fn pane(self) -> i64 {
        match self {
            Self::Tumble { size } | Self::Attached { size } => size,
            Self::Hop { slide, size } => gcd(slide, size),
            Self::Session { gap } => gap,
        }
    }

    /// Length of a window; for SESSION the gap.
    pub(crate) fn size(self) -> i64 {
        match self {
            Self::Tumble { size } | Self::Attached { size } | Self::Hop { size, .. } => size,
            Self::Session { gap } => gap,
        }
    }

    pub(crate) fn is_hop(self) -> bool {
        matches!(self, Self::Hop { .. })
    }

    /// Start of the pane that holds `ts` (for attached windows `ts` is the start itself).
    #[inline]
    pub(crate) fn pane_start(self, ts: Timestamp) -> Timestamp {
        match self {
            Self::Attached { .. } => ts,
            Self::Tumble { .. } | Self::Hop { .. } | Self::Session { .. } => floor(ts, self.pane()),
        }
    }

    /// Start of the first window that holds the pane.
    pub(crate) fn first_window(self, pane_start: Timestamp) -> Timestamp {
        match self {
            Self::Hop { slide, size } => floor(pane_start.saturating_sub(size), slide).saturating_add(slide),
            Self::Tumble { .. } | Self::Session { .. } | Self::Attached { .. } => pane_start,
        }
    }

    /// Start of the last window that holds the pane.
    pub(crate) fn last_window(self, pane_start: Timestamp) -> Timestamp {
        match self {
            Self::Hop { slide, .. } => floor(pane_start, slide),
            Self::Tumble { .. } | Self::Session { .. } | Self::Attached { .. } => pane_start,
        }
    }

    pub(crate) fn end(self, window_start: Timestamp) -> Timestamp {
        window_start.saturating_add(self.size())
    }

    /// Start of the window after this one.
    pub(crate) fn after(self, window_start: Timestamp) -> Timestamp {
        match self {
            Self::Hop { slide, .. } => window_start.saturating_add(slide),
            Self::Tumble { size } | Self::Attached { size } => window_start.saturating_add(size),
            Self::Session { gap } => window_start.saturating_add(gap),
        }
    }

    /// Start of the first window, in the grid, whose end is after `watermark`.
    pub(crate) fn first_open(self, watermark: Timestamp) -> Timestamp {
        match self {
            Self::Hop { slide, size } => floor(watermark.saturating_sub(size), slide).saturating_add(slide),
            Self::Tumble { .. } | Self::Session { .. } | Self::Attached { .. } => watermark,
        }
    }

    /// The bucket of a pane's rows of which windows that ended at or before `watermark` are closed.
    /// `Err`: all its windows are closed; `Ok(None)`: it is in no window (HOP with gaps between windows).
    pub(crate) fn bucket(self, pane_start: Timestamp, watermark: Timestamp) -> Result<Option<Bucket>, Late> {
        let first = self.first_window(pane_start);
        let last = self.last_window(pane_start);
        if last < first {
            return Ok(None);
        }
        if self.end(last) <= watermark {
            return Err(Late);
        }
        if !self.is_hop() || self.end(first) > watermark {
            return Ok(Some(Bucket { start: pane_start, since: first }));
        }
        Ok(Some(Bucket { start: pane_start, since: self.first_open(watermark).max(first) }))
    }
}

/// Every window that the row belongs to is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late;

/// Event time as people read it.
pub(crate) fn show(ts: Timestamp) -> String {
    arrow::temporal_conversions::timestamp_us_to_datetime(ts)
        .map_or_else(|| ts.to_string(), |time| format!("{}Z", time.format("%Y-%m-%dT%H:%M:%S%.f")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows_of(kind: WindowKind, ts: i64) -> Vec<i64> {
        let WindowKind::Hop { slide, size } = kind else { return vec![] };
        (-2_000..2_000).map(|n| n * slide).filter(|start| *start <= ts && ts < start + size).collect()
    }

    proptest! {
        #[test]
        fn panes_are_in_the_same_windows_as_their_rows(ts in -500_i64..500, slide in 1_i64..20, size in 1_i64..40) {
            let kind = WindowKind::Hop { slide, size };
            let expected = windows_of(kind, ts);
            match kind.bucket(kind.pane_start(ts), i64::MIN) {
                Ok(Some(bucket)) => {
                    prop_assert_eq!(Some(&bucket.since), expected.first());
                    prop_assert_eq!(Some(&kind.last_window(bucket.start)), expected.last());
                }
                Ok(None) => prop_assert!(expected.is_empty()),
                Err(Late) => prop_assert!(false, "nothing is late at the beginning of time"),
            }
        }

        #[test]
        fn a_row_counts_into_exactly_its_open_windows(
            ts in -200_i64..200, watermark in -200_i64..200, slide in 1_i64..20, size in 1_i64..40,
        ) {
            let kind = WindowKind::Hop { slide, size };
            let all = windows_of(kind, ts);
            let open: Vec<i64> = all.iter().copied().filter(|start| start + size > watermark).collect();
            match kind.bucket(kind.pane_start(ts), watermark) {
                Ok(Some(bucket)) => prop_assert_eq!(Some(&bucket.since), open.first()),
                Ok(None) => prop_assert!(all.is_empty()),
                Err(Late) => prop_assert!(open.is_empty() && !all.is_empty()),
            }
        }
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_before_it_too() {
        let kind = WindowKind::Tumble { size: 60 };
        assert_eq!(kind.pane_start(-1), -60);
        assert_eq!(kind.pane_start(0), 0);
        assert_eq!(kind.pane_start(59), 0);
        assert_eq!(kind.bucket(0, 60), Err(Late));
        assert_eq!(kind.bucket(0, 59), Ok(Some(Bucket { start: 0, since: 0 })));
    }
}
