//! What depends on neither the order of the rows nor the width of a number: exact sums and means, arithmetic that
//! stops instead of wrapping, equal keys that are one group.

use crate::engine::run;
use crate::rows::{BASE, Order, SECOND, definition, lines, split};

fn order(second: i64, cents: i64) -> Order {
    Order { ts: BASE + second * SECOND, customer: Some(1), cents: Some(cents), country: None }
}

/// Result rows of a query over these amounts, one a second, whatever the batches and the parallelism.
fn ask(sql: &str, amounts: &[i64]) -> Result<Vec<String>, String> {
    let definition = definition(&[("t", sql)]);
    let result = |amounts: &[i64], batch: usize, parallelism: u32| {
        let orders: Vec<Order> = (0..).zip(amounts).map(|(second, cents)| order(second, *cents)).collect();
        let inputs = [split("orders", &orders, batch, 60 * SECOND)];
        let (sinks, _) = run(&definition, &inputs, parallelism, &[]).map_err(|error| error.to_string())?;
        Ok(lines(sinks.get("out").map(Vec::as_slice).unwrap_or_default()))
    };
    let found = result(amounts, 100, 1);
    for (batch, parallelism) in [(1, 1), (2, 1), (2, 3)] {
        assert_eq!(result(amounts, batch, parallelism), found, "batches of {batch}, parallelism {parallelism}");
    }
    found
}

fn reversed(amounts: &[i64]) -> Vec<i64> {
    amounts.iter().rev().copied().collect()
}

/// Amounts as DECIMAL(38, 0), 10^19 times as large.
const LARGE: &str = "CAST(cents AS DECIMAL(19, 0)) * CAST('10000000000000000000' AS DECIMAL(20, 0))";
const NINE: i64 = 9_000_000_000_000_000_000;

fn in_minutes(columns: &str) -> String {
    format!("SELECT {columns} FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end")
}

#[test]
fn sum_over_decimals_is_exact_or_an_error_that_names_operator_and_window() {
    let sum = in_minutes(&format!("SUM({LARGE}) AS total"));
    for amounts in [vec![NINE, NINE, NINE], vec![NINE, 1_000_000_000_000_000_000]] {
        let error = ask(&sum, &amounts).unwrap_err();
        assert!(error.contains("operator `t/window`"), "{error}");
        assert!(error.contains("window 2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z"), "{error}");
        assert!(error.contains("does not fit DECIMAL(38, 0)"), "{error}");
    }
    assert_eq!(ask(&sum, &[NINE, NINE, -NINE]).unwrap(), [format!("{{\"total\":{NINE}0000000000000000000}}")]);
    assert_eq!(ask(&sum, &[NINE, -NINE, NINE]), ask(&sum, &[NINE, NINE, -NINE]));
    let distinct = in_minutes(&format!("SUM(DISTINCT {LARGE}) AS total"));
    assert_eq!(ask(&distinct, &[NINE, NINE]).unwrap(), [format!("{{\"total\":{NINE}0000000000000000000}}")]);
    assert!(ask(&distinct, &[NINE, NINE - 1]).unwrap_err().contains("does not fit DECIMAL(38, 0)"));
}

#[test]
fn sum_over_whole_numbers_is_exact_or_an_error_that_names_operator_and_window() {
    let sum = in_minutes("SUM(cents) AS total, SUM(DISTINCT cents) AS different");
    let of_key = "SELECT SUM(cents) AS total FROM HOP(orders, ts, INTERVAL '1 minute', INTERVAL '1 minute') \
                  GROUP BY window_start, customer, price > 0.0";
    let error = ask(of_key, &[i64::MIN, -5, i64::MAX, 1, 2]).unwrap_err();
    assert!(error.contains("customer: 1, "), "{error}");
    let error = ask(&in_minutes("SUM(cents) AS total"), &[i64::MAX, 1]).unwrap_err();
    assert!(error.contains("operator `t/window`: window 2026-01-01T00:00:00Z"), "{error}");
    assert!(error.contains("SUM is 9223372036854775808 and does not fit BIGINT"), "{error}");
    assert_eq!(
        ask(&sum, &[i64::MAX, 1, -1, -1]).unwrap(),
        [format!("{{\"total\":{},\"different\":{}}}", i64::MAX - 1, i64::MAX)]
    );
}

#[test]
fn avg_over_whole_numbers_does_not_depend_on_the_order() {
    let mean = in_minutes("AVG(cents) AS mean, AVG(DISTINCT cents) AS different");
    let amounts = [9_007_199_254_740_993, 1, 1];
    let expected = ["{\"mean\":3.0023997515803315e15,\"different\":4.503599627370497e15}"];
    assert_eq!(ask(&mean, &amounts).unwrap(), expected);
    assert_eq!(ask(&mean, &reversed(&amounts)).unwrap(), expected);
    assert_eq!(ask(&in_minutes("AVG(cents) FILTER (WHERE cents > 5) AS mean"), &[1, 2]).unwrap(), ["{\"mean\":null}"]);
}

#[test]
fn arithmetic_stops_instead_of_wrapping() {
    for (expression, cents) in [
        ("cents + 1", i64::MAX),
        ("cents - 1", i64::MIN),
        ("cents * cents", 4_000_000_000),
        ("-cents", i64::MIN),
        ("abs(cents)", i64::MIN),
        ("cents / -1", i64::MIN),
        ("CAST(cents AS INT) * CAST(100000 AS INT)", 100_000),
        (&format!("{LARGE} + {LARGE}"), NINE),
        (&format!("{LARGE} * 2"), NINE),
    ] {
        for sql in [
            format!("SELECT {expression} AS x FROM orders"),
            format!("SELECT cents FROM orders WHERE {expression} > 0"),
            in_minutes(&format!("MAX({expression}) AS x")),
            in_minutes(&format!("COUNT(*) FILTER (WHERE {expression} > 0) AS x")),
            format!(
                "SELECT {expression} AS x, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') \
                     GROUP BY window_start, {expression}"
            ),
        ] {
            let decimal_in_a_condition = expression.contains("DECIMAL") && sql.contains("WHERE");
            match ask(&sql, &[cents]) {
                Err(error) => assert!(error.contains("operator `t"), "{error}"),
                // A comparison needs no column type: it is exact with more digits, too.
                Ok(rows) => assert!(decimal_in_a_condition && rows.len() == 1, "{sql}: {rows:?}"),
            }
        }
    }
    assert_eq!(ask("SELECT -cents AS x, cents * 2 AS y FROM orders", &[5]).unwrap(), ["{\"x\":-5,\"y\":10}"]);
}

#[test]
fn zero_and_minus_zero_are_one_group_and_come_out_as_zero() {
    for (window, length) in [("TUMBLE", "1 minute"), ("SESSION", "1 minute"), ("HOP", "1 minute', INTERVAL '1 minute")]
    {
        let sql = format!(
            "SELECT price * 0.0 AS zero, COUNT(*) AS n, MIN(price * 0.0) AS low, COUNT(DISTINCT price * 0.0) AS zeros \
             FROM {window}(orders, ts, INTERVAL '{length}') GROUP BY window_start, window_end, price * 0.0"
        );
        let expected = ["{\"zero\":0.0,\"n\":3,\"low\":0.0,\"zeros\":1}"];
        assert_eq!(ask(&sql, &[-1, 1, -1]).unwrap(), expected, "{window}");
        assert_eq!(ask(&sql, &[1, -1, -1]).unwrap(), expected, "{window}");
    }
}
