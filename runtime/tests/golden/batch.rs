//! The same question asked of DataFusion's batch engine over the same rows: TUMBLE by `date_bin`, HOP by a join on
//! offsets, SESSION by gaps and islands. No row is late here (`loops` does those).

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::engine::{Restart, run};
use crate::rows::{Dice, Order, SECOND, assert_same, batch, definition, lines, split, timestamps};

const AGGREGATES: &str = "SUM(cents) AS total, COUNT(*) AS n, COUNT(cents) AS known, MIN(cents) AS low, MAX(country) AS last, \
                          AVG(price) AS mean, COUNT(DISTINCT country) AS countries, SUM(DISTINCT cents) AS different, \
                          round(stddev(cents), 6) AS sd, bool_or(cents > 500) AS big, \
                          COUNT(*) FILTER (WHERE country = 'DE') AS german, median(cents) AS middle";

/// Rows with `us`, the event time as a number.
fn with_number(rows: &RecordBatch) -> RecordBatch {
    let mut fields: Vec<Field> = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("us", DataType::Int64, true));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(timestamps(rows, "ts"))));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn ask_batch(orders: &[Order], sql: &str) -> Vec<String> {
    let rows = with_number(&batch(orders));
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let context = SessionContext::new();
        context.register_table("orders", Arc::new(table)).unwrap();
        let result = context.sql(sql).await.unwrap().collect().await.unwrap();
        lines(&result)
    })
}

fn compare(streaming: &str, in_batch: &str, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut dice = Dice(seed);
        let parts: Vec<Vec<Order>> = (0..3)
            .map(|_| {
                let (count, step) = (50 + dice.roll(200) as usize, 1 + dice.roll(3_000_000) as i64);
                dice.orders(count, step, 10 * SECOND)
            })
            .collect();
        let expected = ask_batch(&parts.concat(), in_batch);
        assert!(!expected.is_empty());
        let definition = definition(&[("t", streaming)]);
        for parallelism in 1..=3 {
            let inputs: Vec<_> =
                parts.iter().map(|part| split("orders", part, 1 + dice.roll(64) as usize, 10 * SECOND)).collect();
            let restart = Restart { after: 1 + dice.roll(10) as usize, parallelism: 1 + dice.roll(4) as u32 };
            for restarts in [&[][..], &[restart]] {
                let (sinks, counters) = run(&definition, &inputs, parallelism, restarts).unwrap();
                let context = format!("seed {seed}, parallelism {parallelism}, {restarts:?}");
                assert_same(&lines(&sinks["out"]), &expected, &context);
                assert!(counters.iter().all(|counters| counters.late_dropped == 0), "no row is late");
            }
        }
    }
}

#[test]
fn tumble_equals_date_bin() {
    let streaming = format!(
        "SELECT window_start, window_end, customer, {AGGREGATES} FROM TUMBLE(orders, ts, INTERVAL '7 seconds') \
         GROUP BY window_start, window_end, customer"
    );
    let bin = "date_bin(INTERVAL '7 seconds', ts, TIMESTAMP '1970-01-01')";
    let to_micros = |expr: &str| format!("arrow_cast({expr}, 'Timestamp(Microsecond, None)')");
    let (start, end) = (to_micros(bin), to_micros(&format!("{bin} + INTERVAL '7 seconds'")));
    let in_batch = format!(
        "SELECT {start} AS window_start, {end} AS window_end, customer, {AGGREGATES} FROM orders GROUP BY {start}, {end}, customer"
    );
    compare(&streaming, &in_batch, 0..3);
}

#[test]
fn hop_equals_a_join_on_offsets() {
    let streaming = format!(
        "SELECT window_start, window_end, customer, {AGGREGATES} \
         FROM HOP(orders, ts, INTERVAL '4 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end, customer"
    );
    let in_batch = format!(
        "SELECT to_timestamp_micros(s) AS window_start, to_timestamp_micros(s + 10000000) AS window_end, customer, \
         {AGGREGATES} FROM (SELECT *, (us / 4000000 - n) * 4000000 AS s FROM orders \
         CROSS JOIN (VALUES (0), (1), (2)) AS offsets(n)) WHERE us < s + 10000000 GROUP BY s, customer"
    );
    compare(&streaming, &in_batch, 10..13);
}

#[test]
fn session_equals_gaps_and_islands() {
    let streaming = format!(
        "SELECT window_start, window_end, customer, {AGGREGATES} FROM SESSION(orders, ts, INTERVAL '3 seconds') \
         GROUP BY window_start, window_end, customer"
    );
    let in_batch = format!(
        "WITH marked AS (SELECT *, CASE WHEN us - lag(us) OVER (PARTITION BY customer ORDER BY us) < 3000000 \
         THEN 0 ELSE 1 END AS fresh FROM orders), \
         numbered AS (SELECT *, SUM(fresh) OVER (PARTITION BY customer ORDER BY us ROWS UNBOUNDED PRECEDING) AS island \
         FROM marked) \
         SELECT to_timestamp_micros(MIN(us)) AS window_start, to_timestamp_micros(MAX(us) + 3000000) AS window_end, \
         customer, {AGGREGATES} FROM numbered GROUP BY customer, island"
    );
    compare(&streaming, &in_batch, 20..23);
}

#[test]
fn windows_of_windows_equal_two_steps_in_batch() {
    let streaming = "WITH small AS (SELECT window_time, customer, SUM(cents) AS total \
                     FROM TUMBLE(orders, ts, INTERVAL '5 seconds') GROUP BY window_start, window_time, customer) \
                     SELECT window_start, MAX(total) AS best, COUNT(*) AS n \
                     FROM TUMBLE(small, window_time, INTERVAL '30 seconds') GROUP BY window_start";
    let in_batch = "WITH small AS (SELECT us / 5000000 * 5000000 AS s, customer, SUM(cents) AS total FROM orders \
                    GROUP BY us / 5000000 * 5000000, customer) \
                    SELECT to_timestamp_micros(s / 30000000 * 30000000) AS window_start, MAX(total) AS best, COUNT(*) AS n \
                    FROM small GROUP BY to_timestamp_micros(s / 30000000 * 30000000)";
    compare(streaming, in_batch, 30..33);
}
