//! Input rows of the tests and results as sorted lines.

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use runtime::dataflow::{Definition, Query, SinkInput, SourceTable};

use crate::engine::SplitInput;

pub(crate) const SECOND: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z.
pub(crate) const BASE: i64 = 1_767_225_600 * SECOND;

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) ts: i64,
    pub(crate) customer: Option<i64>,
    pub(crate) cents: Option<i64>,
    pub(crate) country: Option<&'static str>,
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("customer", DataType::Int64, true),
        Field::new("cents", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("country", DataType::Utf8, true),
    ]))
}

pub(crate) fn batch(orders: &[Order]) -> RecordBatch {
    let price = |order: &Order| order.cents.map(|cents| cents as f64 / 4.0);
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(orders.iter().map(|order| order.ts))),
            Arc::new(orders.iter().map(|order| order.customer).collect::<Int64Array>()),
            Arc::new(orders.iter().map(|order| order.cents).collect::<Int64Array>()),
            Arc::new(orders.iter().map(price).collect::<Float64Array>()),
            Arc::new(orders.iter().map(|order| order.country).collect::<StringArray>()),
        ],
    )
    .unwrap()
}

pub(crate) fn split(source: &str, orders: &[Order], batch_rows: usize, max_out_of_orderness: i64) -> SplitInput {
    SplitInput {
        source: source.to_owned(),
        rows: batch(orders),
        batch: batch_rows,
        max_out_of_orderness,
        time: Some("ts".to_owned()),
    }
}

pub(crate) fn timestamps(rows: &RecordBatch, column: &str) -> Vec<i64> {
    rows.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// Sources `orders` and `returns` (the same columns), these transforms, and one sink at the last of them.
pub(crate) fn definition(transforms: &[(&str, &str)]) -> Definition {
    let source =
        |name: &str| SourceTable { name: name.to_owned(), schema: schema(), event_time: Some("ts".to_owned()) };
    let last = transforms.last().map_or("orders", |(name, _)| name);
    Definition {
        max_parallelism: 128,
        sources: vec![source("orders"), source("returns")],
        transforms: transforms
            .iter()
            .map(|(name, sql)| Query { name: (*name).to_owned(), sql: (*sql).to_owned() })
            .collect(),
        sinks: vec![SinkInput { name: "out".to_owned(), input: last.to_owned() }],
    }
}

/// One JSON object for each row, sorted: results are multisets.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut bytes = vec![];
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut bytes);
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let mut lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Compares multisets; says the rows that differ, not all of them.
pub(crate) fn assert_same(found: &[String], expected: &[String], context: &str) {
    let count = |lines: &[String]| {
        let mut counts = std::collections::BTreeMap::<String, i64>::new();
        for line in lines {
            *counts.entry(line.clone()).or_default() += 1;
        }
        counts
    };
    let (found, expected) = (count(found), count(expected));
    let differ = |a: &std::collections::BTreeMap<String, i64>, b: &std::collections::BTreeMap<String, i64>| {
        let more = a.iter().filter(|(line, count)| b.get(*line) != Some(*count));
        more.take(5).map(|(line, count)| format!("{count} x {line}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        found == expected,
        "{context}\nfound:\n{}\nexpected:\n{}",
        differ(&found, &expected),
        differ(&expected, &found)
    );
}

/// The `SplitMix64` generator: seeded rows without another crate.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }

    /// Orders about `step` microseconds apart, up to `jitter` out of order, with some nulls.
    pub(crate) fn orders(&mut self, count: usize, step: i64, jitter: i64) -> Vec<Order> {
        let countries = ["DE", "FR", "SE", "Ö"];
        (0..count as i64)
            .map(|n| Order {
                ts: BASE + n * step - self.roll(jitter as u64 + 1) as i64,
                customer: (self.roll(12) > 0).then(|| self.roll(7) as i64),
                cents: (self.roll(10) > 0).then(|| self.roll(1_000) as i64 - 200),
                country: (self.roll(8) > 0).then(|| countries[self.roll(4) as usize]),
            })
            .collect()
    }
}
