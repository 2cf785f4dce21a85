//! The manifests that are measured.

use std::path::Path;

/// What varies between measurements of the windowed sum.
pub(crate) struct Shape {
    pub(crate) keys: u64,
    /// Keys lie far apart: they need a hash table, where close ones are looked up by their value.
    pub(crate) is_sparse: bool,
    /// Event time between two rows.
    pub(crate) step: &'static str,
    pub(crate) window: &'static str,
    pub(crate) interval: &'static str,
    pub(crate) sink: Sinks,
}

#[derive(Clone, Copy)]
pub(crate) enum Sinks {
    Files,
    Discard,
}

impl Default for Shape {
    /// 100,000 rows per window-second, checkpoints every second, file sink.
    fn default() -> Self {
        Self { keys: 10_000, is_sparse: false, step: "10us", window: "1 second", interval: "1s", sink: Sinks::Files }
    }
}

pub(crate) fn windowed(rows: u64, shape: &Shape) -> String {
    let sink = match shape.sink {
        Sinks::Files => "files: {path: out/}, format: {json: {}}",
        Sinks::Discard => "discard: {}",
    };
    format!(
        r#"
apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: windowed}}
spec:
  parallelism: 2
  sources:
  - name: orders
    generator: {{rows: {rows}, seed: 7}}
    columns:
    - {{name: ts, type: TIMESTAMP, generate: {{sequence: {{start: "2026-01-01T00:00:00Z", step: {step}}}}}}}
    - {{name: customer, type: BIGINT, generate: {{random: {{min: 0, max: {max}}}}}}}
    - {{name: cents, type: BIGINT, generate: {{random: {{min: 1, max: 10000}}}}}}
    eventTime: {{column: ts}}
  transforms:
  - name: per_customer
    sql: |
      SELECT window_start, window_end, {key} AS customer, COUNT(*) AS orders, SUM(cents) AS total
      FROM TUMBLE(orders, ts, INTERVAL '{window}')
      GROUP BY window_start, window_end, {key}
  sinks:
  - {{name: out, input: per_customer, {sink}}}
  checkpoint:
    interval: {interval}
    storage: {{local: {{path: state}}}}
"#,
        step = shape.step,
        max = shape.keys - 1,
        key = if shape.is_sparse { "customer * 1000003" } else { "customer" },
        window = shape.window,
        interval = shape.interval,
    )
}

pub(crate) fn generator_only(rows: u64) -> String {
    let text = windowed(rows, &Shape { sink: Sinks::Discard, ..Shape::default() });
    text.replace("input: per_customer", "input: orders")
}

pub(crate) fn json_to_discard(input: &Path) -> String {
    format!(
        r#"
apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: decode}}
spec:
  parallelism: 1
  sources:
  - name: orders
    files: {{path: "{path}"}}
    format: {{json: {{}}}}
    columns: [{{name: ts, type: TIMESTAMP}}, {{name: customer, type: BIGINT}}, {{name: cents, type: BIGINT}}, {{name: country, type: VARCHAR}}]
    eventTime: {{column: ts}}
  sinks:
  - {{name: out, input: orders, discard: {{}}}}
  checkpoint:
    storage: {{local: {{path: state}}}}
"#,
        path = input.display()
    )
}
