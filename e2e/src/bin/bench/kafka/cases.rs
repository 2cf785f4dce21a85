//! The pipelines that are measured, and what must come out of them.

use std::time::Duration;

use e2e::kafka::meter::Orders;

/// Of every topic; also the parallelism.
pub(crate) const PARTITIONS: u32 = 2;
/// Orders worth less are left out by the filter.
const LEAST_CENTS: u64 = 1_000;

/// What a pipeline does with orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Keeps nine orders of ten, with all their columns.
    Filter,
    /// Orders and cents of each customer and window.
    Sum { window: Duration },
}

/// What a reader must have seen in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) weight: u64,
    pub(crate) sum: u64,
}

impl Work {
    pub(crate) fn expected(self, orders: u64) -> Expected {
        let mut expected = Expected { weight: 0, sum: 0 };
        for cents in (0..orders).map(Orders::cents) {
            match self {
                Self::Filter if cents < LEAST_CENTS => {}
                Self::Filter | Self::Sum { .. } => {
                    expected.weight += 1;
                    expected.sum += cents;
                }
            }
        }
        expected
    }

    /// Fields of its output: what counts, what is added up, and the time that latency counts from.
    pub(crate) fn fields(self) -> (Option<&'static str>, &'static str, &'static str) {
        match self {
            Self::Filter => (None, "cents", "ts"),
            Self::Sum { .. } => (Some("orders"), "total", "window_end"),
        }
    }

    pub(crate) fn manifest(self, way: &Way<'_>) -> String {
        let Way { bootstrap, properties, from, to, interval, is_bounded } = way;
        let until = if *is_bounded { ", until: Latest" } else { "" };
        let (columns, event_time, sql) = match self {
            Self::Filter => (
                "[{name: n, type: BIGINT}, {name: customer, type: BIGINT}, {name: cents, type: BIGINT}, {name: ts, type: BIGINT}, {name: note, type: VARCHAR}]",
                "",
                format!("SELECT customer, n, cents, ts, note FROM orders WHERE cents >= {LEAST_CENTS}"),
            ),
            Self::Sum { window } => (
                "[{name: customer, type: BIGINT}, {name: cents, type: BIGINT}, {name: ts, type: TIMESTAMP}]",
                "\n    eventTime: {column: ts}",
                format!(
                    "SELECT window_end, customer, COUNT(*) AS orders, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '{} milliseconds') \
                     GROUP BY window_start, window_end, customer",
                    window.as_millis()
                ),
            ),
        };
        format!(
            r#"
apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: bench}}
spec:
  parallelism: {PARTITIONS}
  connections:
  - {{name: main, kafka: {{bootstrapServers: ["{bootstrap}"], properties: {{{properties}}}}}}}
  sources:
  - name: orders
    kafka: {{connection: main, topics: [{from}], startFrom: Earliest{until}}}
    format: {{json: {{}}}}
    columns: {columns}{event_time}
  transforms:
  - name: worked
    sql: "{sql}"
  sinks:
  - {{name: out, input: worked, kafka: {{connection: main, topic: {to}, key: [customer]}}, format: {{json: {{}}}}}}
  checkpoint:
    interval: {interval}ms
    storage: {{local: {{path: state}}}}
"#,
            interval = interval.as_millis(),
        )
    }
}

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) bootstrap: &'a str,
    /// Of the connection.
    pub(crate) properties: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    /// Between checkpoints.
    pub(crate) interval: Duration,
    /// Ends where the topic ends now.
    pub(crate) is_bounded: bool,
}
