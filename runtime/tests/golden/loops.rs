//! The oracle for late rows, restarts and parallelism: plain loops over the input rows, with no engine code.

use std::collections::BTreeMap;

use crate::engine::{Restart, SplitInput, run};
use crate::rows::{Dice, Order, SECOND, assert_same, definition, lines, split};

struct Split {
    orders: Vec<Order>,
    max_out_of_orderness: i64,
}

/// (row, watermark of its split just before it).
fn with_watermarks(splits: &[Split]) -> Vec<(Order, i64)> {
    let mut rows = vec![];
    for split in splits {
        let mut watermark = i64::MIN;
        for order in &split.orders {
            rows.push((order.clone(), watermark));
            watermark = watermark.max(order.ts - split.max_out_of_orderness);
        }
    }
    rows
}

fn show(ts: i64) -> String {
    let seconds = ts.div_euclid(SECOND) - crate::rows::BASE / SECOND;
    let micros = ts.rem_euclid(SECOND);
    let day = 1 + seconds.div_euclid(86_400);
    assert!(day >= 1, "test rows begin in January 2026");
    let rest = seconds.rem_euclid(86_400);
    let fraction = if micros == 0 {
        String::new()
    } else if micros % 1_000 == 0 {
        format!(".{:03}", micros / 1_000)
    } else {
        format!(".{micros:06}")
    };
    format!("2026-01-{day:02}T{:02}:{:02}:{:02}{fraction}", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn line(start: i64, end: i64, customer: Option<i64>, cents: &[Option<i64>]) -> String {
    let null = |value: Option<i64>| value.map_or("null".to_owned(), |value| value.to_string());
    let sum = cents.iter().flatten().copied().reduce(|a, b| a + b);
    let max = cents.iter().flatten().copied().max();
    format!(
        r#"{{"window_start":"{}","window_end":"{}","customer":{},"total":{},"n":{},"top":{}}}"#,
        show(start),
        show(end),
        null(customer),
        null(sum),
        cents.len(),
        null(max)
    )
}

fn windows(rows: &[(Order, i64)], slide: i64, size: i64) -> (Vec<String>, usize) {
    let mut found: BTreeMap<(i64, Option<i64>), Vec<Option<i64>>> = BTreeMap::new();
    let mut late = 0;
    for (order, watermark) in rows {
        let mut start = order.ts.div_euclid(slide) * slide;
        let mut missed = false;
        while start + size > order.ts {
            if start + size <= *watermark {
                missed = true;
            } else {
                found.entry((start, order.customer)).or_default().push(order.cents);
            }
            start -= slide;
        }
        late += usize::from(missed);
    }
    let mut lines: Vec<String> =
        found.iter().map(|((start, customer), cents)| line(*start, start + size, *customer, cents)).collect();
    lines.sort();
    (lines, late)
}

fn sessions(rows: &[(Order, i64)], gap: i64) -> (Vec<String>, usize) {
    let mut by_customer: BTreeMap<Option<i64>, Vec<(i64, Option<i64>)>> = BTreeMap::new();
    let mut late = 0;
    for (order, watermark) in rows {
        if order.ts < *watermark {
            late += 1;
        } else {
            by_customer.entry(order.customer).or_default().push((order.ts, order.cents));
        }
    }
    let mut found = vec![];
    for (customer, mut orders) in by_customer {
        orders.sort_unstable();
        let mut open: Vec<(i64, Option<i64>)> = vec![];
        for order in orders {
            if let (Some(first), Some(last)) = (open.first(), open.last())
                && order.0 - last.0 >= gap
            {
                found.push(line(first.0, last.0 + gap, customer, &open.iter().map(|row| row.1).collect::<Vec<_>>()));
                open.clear();
            }
            open.push(order);
        }
        if let (Some(first), Some(last)) = (open.first(), open.last()) {
            found.push(line(first.0, last.0 + gap, customer, &open.iter().map(|row| row.1).collect::<Vec<_>>()));
        }
    }
    found.sort();
    (found, late)
}

const SELECT: &str = "SELECT window_start, window_end, customer, SUM(cents) AS total, COUNT(*) AS n, MAX(cents) AS top";

/// Runs `from` over seeded splits with late rows, at several parallelisms, undisturbed and restarted.
fn check(from: &str, seed: u64, expected: impl Fn(&[(Order, i64)]) -> (Vec<String>, usize)) {
    let mut dice = Dice(seed);
    let splits: Vec<Split> = (0..5)
        .map(|_| {
            let (count, step) = (dice.roll(400) as usize, 1 + dice.roll(900_000) as i64);
            let jitter = dice.roll(30) as i64 * SECOND;
            // Less tolerance than jitter: some rows are late.
            let max_out_of_orderness = dice.roll(jitter as u64 + 1) as i64;
            let mut orders = dice.orders(count, step, jitter);
            for order in &mut orders {
                order.ts += 3_600 * SECOND;
            }
            Split { orders, max_out_of_orderness }
        })
        .collect();
    let (expected, late) = expected(&with_watermarks(&splits));
    let sql = format!("{SELECT} FROM {from} GROUP BY window_start, window_end, customer");
    let definition = definition(&[("t", &sql)]);
    for parallelism in 1..=4 {
        let batch = 1 + dice.roll(60) as usize;
        let inputs: Vec<SplitInput> =
            splits.iter().map(|each| split("orders", &each.orders, batch, each.max_out_of_orderness)).collect();
        let many: Vec<Restart> =
            (1..12).map(|n| Restart { after: n * 3, parallelism: 1 + dice.roll(4) as u32 }).collect();
        for restarts in [&[][..], &many[..1], &many[..]] {
            let (sinks, counters) = run(&definition, &inputs, parallelism, restarts).unwrap();
            let found = lines(sinks.get("out").map(Vec::as_slice).unwrap_or_default());
            assert_same(&found, &expected, &format!("seed {seed}, {from}, parallelism {parallelism}, {restarts:?}"));
            if restarts.is_empty() {
                let counted: u64 = counters.iter().map(|counters| counters.late_dropped).sum();
                assert_eq!(counted, late as u64, "late rows, seed {seed}, {from}");
            }
        }
    }
}

#[test]
fn tumble_equals_plain_loops_whatever_the_parallelism_and_restarts() {
    for seed in 0..12 {
        check("TUMBLE(orders, ts, INTERVAL '7 seconds')", seed, |rows| windows(rows, 7 * SECOND, 7 * SECOND));
    }
}

#[test]
fn hop_equals_plain_loops_whatever_the_parallelism_and_restarts() {
    for seed in 100..108 {
        let hop =
            |slide: i64, size: i64| format!("HOP(orders, ts, INTERVAL '{slide} seconds', INTERVAL '{size} seconds')");
        check(&hop(5, 20), seed, |rows| windows(rows, 5 * SECOND, 20 * SECOND));
        check(&hop(4, 10), seed, |rows| windows(rows, 4 * SECOND, 10 * SECOND));
        check(&hop(10, 4), seed, |rows| windows(rows, 10 * SECOND, 4 * SECOND));
    }
}

#[test]
fn session_equals_plain_loops_whatever_the_parallelism_and_restarts() {
    for seed in 200..212 {
        check("SESSION(orders, ts, INTERVAL '2 seconds')", seed, |rows| sessions(rows, 2 * SECOND));
    }
}

#[test]
fn late_rows_do_occur_in_these_tests() {
    let mut dice = Dice(3);
    let splits = [Split { orders: dice.orders(300, 500_000, 20 * SECOND), max_out_of_orderness: 2 * SECOND }];
    let mut rows = with_watermarks(&splits);
    for (order, watermark) in &mut rows {
        order.ts += 60 * SECOND;
        *watermark = watermark.saturating_add(60 * SECOND);
    }
    assert!(windows(&rows, 7 * SECOND, 7 * SECOND).1 > 10);
    assert!(sessions(&rows, 2 * SECOND).1 > 10);
}
