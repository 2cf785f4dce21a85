use arrow::datatypes::{DataType, TimeUnit};

use super::graph::{Graph, Leaf, Partitioning, StageInput};
use super::*;

fn definition(transforms: &[(&str, &str)], sinks: &[&str]) -> Definition {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("customer", DataType::Int64, true),
        Field::new("cents", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
    ]));
    Definition {
        max_parallelism: 128,
        sources: vec![SourceTable { name: "orders".to_owned(), schema, event_time: Some("ts".to_owned()) }],
        transforms: transforms
            .iter()
            .map(|(name, sql)| Query { name: (*name).to_owned(), sql: (*sql).to_owned() })
            .collect(),
        sinks: sinks
            .iter()
            .enumerate()
            .map(|(number, input)| SinkInput { name: format!("out{number}"), input: (*input).to_owned() })
            .collect(),
    }
}

fn graph(transforms: &[(&str, &str)], sinks: &[&str]) -> Graph {
    plan(&definition(transforms, sinks)).unwrap()
}

fn source_columns(graph: &Graph) -> Vec<String> {
    let found = graph.stages.iter().find_map(|stage| match &stage.input {
        StageInput::Source { columns, .. } => Some(columns.clone()),
        StageInput::Edges(_) => None,
    });
    found.unwrap()
}

fn operators(graph: &Graph) -> Vec<(String, String)> {
    let all = graph.stages.iter().flat_map(|stage| stage.chain.stateful_operators());
    all.map(|operator| (operator.id.0, operator.fingerprint)).collect()
}

const PER_CUSTOMER: &str = "SELECT window_start, window_end, window_time, customer, SUM(cents) AS total \
                            FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY 1, 2, 3, 4";

#[test]
fn a_source_yields_only_the_columns_that_sinks_need() {
    let wide = ("wide", "SELECT *, upper(note) AS loud FROM orders");
    let narrow = ("narrow", "SELECT customer FROM wide");
    assert_eq!(source_columns(&graph(&[wide, narrow], &["narrow"])), ["customer"]);
    assert_eq!(source_columns(&graph(&[wide, narrow], &["narrow", "orders"])), ["ts", "customer", "cents", "note"]);
    assert_eq!(source_columns(&graph(&[("t", PER_CUSTOMER)], &["t"])), ["ts", "customer", "cents"]);
}

#[test]
fn rows_are_counted_even_if_no_column_is_read() {
    assert_eq!(source_columns(&graph(&[("t", "SELECT 1 AS one FROM orders")], &["t"])).len(), 1);
}

#[test]
fn what_no_sink_reads_is_not_run_but_still_checked() {
    let transforms = [("t", PER_CUSTOMER), ("plain", "SELECT customer FROM orders")];
    assert_eq!(graph(&transforms, &["plain"]).stages.len(), 1);
    let broken = [("plain", "SELECT customer FROM orders"), ("broken", "SELECT nothing FROM orders")];
    assert_eq!(plan(&definition(&broken, &["plain"])).err().unwrap().transform, "broken");
}

#[test]
fn a_transform_that_is_read_twice_runs_once() {
    let first = ("first", "SELECT window_end, total FROM t WHERE total > 5");
    let second = ("second", "SELECT customer FROM t");
    let graph = graph(&[("t", PER_CUSTOMER), first, second], &["first", "second", "t"]);
    assert_eq!(operators(&graph).len(), 1);
    assert_eq!(graph.stages.len(), 2);
    let sinks = graph.stages[1].leaves.iter().filter(|leaf| matches!(leaf, Leaf::Sink { .. }));
    assert_eq!(sinks.count(), 3);
    assert!(matches!(&graph.edges[0].partitioning, Partitioning::KeyGroups(keys) if keys == &[1]));
}

#[test]
fn windows_of_a_transform_are_numbered_from_the_inside() {
    let sql = format!(
        "SELECT window_start, MAX(total) AS best FROM TUMBLE(({PER_CUSTOMER}), window_time, INTERVAL '1 hour') GROUP BY 1"
    );
    let ids: Vec<String> = operators(&graph(&[("t", &sql)], &["t"])).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["t/window", "t/window-2"]);
}

#[test]
fn state_is_kept_when_another_reader_is_added_and_not_when_the_aggregate_changes() {
    let before = operators(&graph(&[("t", PER_CUSTOMER)], &["t"]));
    let other = ("other", "SELECT note, customer FROM orders");
    assert_eq!(operators(&graph(&[("t", PER_CUSTOMER), other], &["t", "other"])), before);
    let narrow = ("narrow", "SELECT customer FROM t");
    assert_eq!(operators(&graph(&[("t", PER_CUSTOMER), narrow], &["narrow"])), before);
    for changed in [
        PER_CUSTOMER.replace("SUM(cents)", "MAX(cents)"),
        PER_CUSTOMER.replace("1 minute", "2 minutes"),
        PER_CUSTOMER.replace("customer,", "cents AS customer,"),
    ] {
        assert_ne!(operators(&graph(&[("t", &changed)], &["t"])), before, "{changed}");
    }
}

#[test]
fn an_unknown_input_of_a_sink_is_refused_with_the_nearest_name() {
    let error = plan(&definition(&[], &["ordres"])).err().unwrap();
    assert_eq!(error.message, "input `ordres` is not a source or a transform; did you mean `orders`?");
}
