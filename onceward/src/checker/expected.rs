//! What the result must be, by the rules and nothing else.
//!
//! Lateness is judged per file and per row: the watermark of a file is the greatest timestamp seen in it so far less
//! the allowed disorder, and a row is late for a window that ended at or before the watermark just before that row.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::input::{Order, read};
use super::{Content, Error, Identity};

/// Half-open windows on event time, aligned to 1970; all lengths in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Tumble {
        size: i64,
    },
    Hop {
        slide: i64,
        size: i64,
    },
    /// Per customer: `gap` without a row ends the session, at its last row plus `gap`.
    Session {
        gap: i64,
    },
}

/// What the query asks for: per window and customer the total, count, least and greatest of `cents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub window: Window,
    /// How far behind the newest row of its file a row may come, in microseconds.
    pub max_out_of_orderness: i64,
}

/// The right answer, and what it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub rows: BTreeMap<Identity, Content>,
    pub records: u64,
    /// Times that a row came too late for a window.
    pub late: u64,
}

/// The right answer to `rules` over all `inputs`.
///
/// # Errors
/// [`Error::Read`] and [`Error::Line`].
pub fn windows(inputs: &[PathBuf], rules: &Rules) -> Result<Expected, Error> {
    let mut expected = Expected::default();
    let mut in_time: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for path in inputs {
        let mut newest: Option<i64> = None;
        read(path, |order| {
            let watermark = newest.map_or(i64::MIN, |newest| newest - rules.max_out_of_orderness);
            newest = Some(newest.map_or(order.ts, |newest| newest.max(order.ts)));
            expected.records += 1;
            match rules.window {
                Window::Tumble { size } => add_hops(&mut expected, order, watermark, size, size),
                Window::Hop { slide, size } => add_hops(&mut expected, order, watermark, slide, size),
                Window::Session { .. } if order.ts < watermark => expected.late += 1,
                Window::Session { .. } => {
                    in_time.entry(order.customer).or_default().push((order.ts, order.cents));
                }
            }
        })?;
    }
    if let Window::Session { gap } = rules.window {
        for (customer, mut orders) in in_time {
            orders.sort_unstable();
            add_sessions(&mut expected, customer, &orders, gap);
        }
    }
    Ok(expected)
}

/// Every order by its number.
///
/// # Errors
/// [`Error::DoubleInput`] if two orders have one number, else as [`windows`].
pub fn copy(inputs: &[PathBuf]) -> Result<BTreeMap<Identity, Content>, Error> {
    let mut expected = BTreeMap::new();
    let mut doubled = None;
    for path in inputs {
        read(path, |order| {
            let content = vec![order.ts.into(), order.customer.into(), order.cents.into()];
            if expected.insert(vec![order.id], content).is_some() {
                doubled = Some(order.id);
            }
        })?;
    }
    doubled.map_or(Ok(expected), |id| Err(Error::DoubleInput { id }))
}

fn add_hops(expected: &mut Expected, order: Order, watermark: i64, slide: i64, size: i64) {
    let mut start = order.ts - order.ts.rem_euclid(slide);
    while start + size > order.ts {
        let end = start + size;
        if end <= watermark {
            expected.late += 1;
        } else {
            add(expected, vec![start, end, order.customer], order.cents);
        }
        start -= slide;
    }
}

fn add_sessions(expected: &mut Expected, customer: i64, orders: &[(i64, i64)], gap: i64) {
    let mut rest = orders;
    while let Some((first, _)) = rest.first() {
        let mut length = 1;
        while length < rest.len() && rest[length].0 - rest[length - 1].0 < gap {
            length += 1;
        }
        let (session, later) = rest.split_at(length);
        let end = session[length - 1].0 + gap;
        for (_, cents) in session {
            add(expected, vec![*first, end, customer], *cents);
        }
        rest = later;
    }
}

fn add(expected: &mut Expected, identity: Identity, cents: i64) {
    let cents = i128::from(cents);
    let content = expected.rows.entry(identity).or_insert_with(|| vec![0, 0, cents, cents]);
    if let [total, orders, smallest, largest] = content.as_mut_slice() {
        *total += cents;
        *orders += 1;
        *smallest = cents.min(*smallest);
        *largest = cents.max(*largest);
    }
}
