//! A row that cannot be digested stops the pipeline, and the message leads to it: source and position where its stage
//! reads one, window and key behind an exchange, column and content at a sink.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};

const INPUT: &str = r#"{"ts":"2026-01-01T00:00:00Z","customer":1,"cents":10,"parts":2}
{"ts":"2026-01-01T00:00:01Z","customer":2,"cents":9223372036854775807,"parts":1}
{"ts":"2026-01-01T00:00:02Z","customer":2,"cents":7,"parts":0}
"#;

/// Runs `sql` over [`INPUT`]; standard error, and the exit code.
fn run(command: &str, sql: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orders.jsonl"), INPUT).unwrap();
    let mut manifest = String::from("apiVersion: onceward.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n");
    for line in [
        "sources:",
        "- name: orders",
        "  files: {path: orders.jsonl}",
        "  format: {json: {}}",
        "  columns:",
        "  - {name: ts, type: TIMESTAMP}",
        "  - {name: customer, type: BIGINT}",
        "  - {name: cents, type: BIGINT}",
        "  - {name: parts, type: BIGINT}",
        "  eventTime: {column: ts, maxOutOfOrderness: 5s}",
        "transforms:",
        &format!("- {{name: t, sql: \"{sql}\"}}"),
        "sinks:",
        "- {name: out, input: t, files: {path: out/}, format: {json: {}}}",
        "checkpoint:",
        "  interval: 1s",
        "  storage: {local: {path: state}}",
    ] {
        writeln!(manifest, "  {line}").unwrap();
    }
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, manifest).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_onceward"));
    let output: Output = child.arg(command).arg(&path).stdin(Stdio::null()).output().unwrap();
    assert_eq!(folder.path().join("state").exists(), command == "run" && output.status.code() == Some(1));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn assert_told(sql: &str, parts: &[&str]) {
    let (code, errors) = run("run", sql);
    assert_eq!(code, Some(1), "{errors}");
    let told = errors.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {errors}");
    }
}

#[test]
fn a_row_that_an_operator_cannot_digest_is_told_with_source_position_and_content() {
    let row = "row {customer: 2, cents: 7, parts: 0}";
    let place = "(source `orders`, ";
    assert_told(
        "SELECT customer, cents / parts AS each FROM orders",
        &["operator `t`", "Divide by zero", row, place, "orders.jsonl:1 to 3)"],
    );
    assert_told(
        "SELECT window_start, MAX(cents / parts) AS most FROM TUMBLE(orders, ts, INTERVAL '1 minute') \
         GROUP BY window_start, window_end",
        &["operator `t/window`", "Divide by zero", "cents: 7, parts: 0", place, "orders.jsonl:1 to 3)"],
    );
}

#[test]
fn a_result_that_does_not_fit_is_told_with_window_and_key() {
    assert_told(
        "SELECT window_start, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') \
         GROUP BY window_start, window_end, customer",
        &["operator `t/window`: window 2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z, key {customer: 2}: SUM is \
             9223372036854775814"],
    );
    assert_told(
        "SELECT window_start, customer, SUM(cents) AS total FROM SESSION(orders, ts, INTERVAL '5 seconds') \
         GROUP BY window_start, window_end, customer",
        &["window 2026-01-01T00:00:01Z to 2026-01-01T00:00:07Z, key {customer: 2}: SUM is 9223372036854775814"],
    );
}

#[test]
fn a_row_that_a_sink_cannot_take_is_told_with_sink_column_content_and_position() {
    assert_told(
        "SELECT customer, 1.0 / CAST(parts AS DOUBLE) AS share FROM orders",
        &["sink `out`", "column `share`: inf", "row {customer: 2, share: inf}", "orders.jsonl:1 to 3)"],
    );
}

#[test]
fn a_sink_that_cannot_hold_its_input_is_refused_before_anything_runs() {
    let sql = "SELECT customer, arrow_cast(cents, 'Decimal256(40, 0)') AS both FROM orders";
    for (command, code) in [("lint", 1), ("run", 2)] {
        let (found, errors) = run(command, sql);
        assert_eq!(found, Some(code), "{errors}");
        assert!(errors.contains("spec.sinks[0].input") && errors.contains("column `both`"), "{errors}");
    }
}
