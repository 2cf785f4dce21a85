//! CPU time of the hot path alone: one-second tumbling COUNT and SUM over 10,000 random keys, 100,000 rows for each
//! second of event time, batches of 8,192 rows. Run with `cargo run --profile dist --example aggregation`.
#![expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is")]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use checkpoint::ids::Subtask;
use runtime::dataflow::{Definition, Query, SinkInput, SourceTable, key_groups, plan};
use runtime::element::{Batch, Timestamp};
use runtime::operators::{OperatorError, Output};

const ROWS: usize = 20_000_000;
const BATCH: usize = 8_192;
const KEYS: u64 = 10_000;
/// Microseconds between rows: 100,000 rows a second.
const STEP: i64 = 10;
const PARALLELISM: u32 = 2;

#[derive(Default)]
struct Sent(Vec<Batch>);

impl Output for Sent {
    fn emit(&mut self, _leaf: usize, batch: Batch) -> Result<(), OperatorError> {
        self.0.push(batch);
        Ok(())
    }

    fn watermark(&mut self, _leaf: usize, _watermark: Timestamp) -> Result<(), OperatorError> {
        Ok(())
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("customer", DataType::Int64, true),
        Field::new("cents", DataType::Int64, true),
    ]))
}

/// Batches that are used again and again, with other times.
fn columns() -> Vec<(Int64Array, Int64Array)> {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..64)
        .map(|_| {
            let keys = Int64Array::from_iter_values((0..BATCH).map(|_| (next() % KEYS) as i64));
            let cents = Int64Array::from_iter_values((0..BATCH).map(|_| (next() % 10_000) as i64));
            (keys, cents)
        })
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let sql = "SELECT window_start, window_end, customer, COUNT(*) AS n, SUM(cents) AS total \
               FROM TUMBLE(orders, ts, INTERVAL '1 second') GROUP BY window_start, window_end, customer";
    let graph = plan(&Definition {
        max_parallelism: 128,
        sources: vec![SourceTable { name: "orders".into(), schema: schema(), event_time: Some("ts".into()) }],
        transforms: vec![Query { name: "t".into(), sql: sql.into() }],
        sinks: vec![SinkInput { name: "out".into(), input: "t".into() }],
    })?;
    let [first_stage, last_stage] = graph.stages.as_slice() else { return Err("expected two stages".into()) };
    let mut first = first_stage.chain.build(Subtask(0), PARALLELISM)?;
    let mut last = (0..PARALLELISM)
        .map(|subtask| last_stage.chain.build(Subtask(subtask), PARALLELISM))
        .collect::<Result<Vec<_>, _>>()?;
    let columns = columns();
    let (mut before, mut exchange, mut after) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut partials, mut results) = (0, 0);
    for (number, (keys, cents)) in columns.iter().cycle().take(ROWS / BATCH).enumerate() {
        let from = (number * BATCH) as i64 * STEP;
        let times = TimestampMicrosecondArray::from_iter_values((0..BATCH as i64).map(|row| from + row * STEP));
        let rows =
            RecordBatch::try_new(schema(), vec![Arc::new(times), Arc::new(keys.clone()), Arc::new(cents.clone())])?;
        let watermark = from + BATCH as i64 * STEP;
        let start = Instant::now();
        let mut out = Sent::default();
        first.process(Batch { rows, late_before: from }, &mut out)?;
        first.advance(watermark, &mut out)?;
        before += start.elapsed();
        let start = Instant::now();
        let mut parts = Vec::new();
        for batch in &out.0 {
            partials += batch.rows.num_rows();
            parts.extend(key_groups::partition(batch, &[1], PARALLELISM, 128)?);
        }
        exchange += start.elapsed();
        let start = Instant::now();
        let mut out = Sent::default();
        for (subtask, part) in parts {
            if let Some(chain) = last.get_mut(subtask as usize) {
                chain.process(part, &mut out)?;
            }
        }
        for chain in &mut last {
            chain.advance(watermark, &mut out)?;
        }
        after += start.elapsed();
        results += out.0.iter().map(|batch| batch.rows.num_rows()).sum::<usize>();
    }
    let total = (ROWS / BATCH * BATCH) as f64;
    let per_million = |time: Duration| time.as_secs_f64() / total * 1e6;
    println!("rows {total}, partial results {partials}, results {results}");
    println!("CPU-seconds per million rows: pre-aggregation {:.4}", per_million(before));
    println!("                              exchange        {:.4}", per_million(exchange));
    println!("                              windows         {:.4}", per_million(after));
    println!("                              together        {:.4}", per_million(before + exchange + after));
    Ok(())
}
