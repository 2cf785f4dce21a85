//! docs/metrics.md is what a worker serves, and what rules and dashboards may use. What the controller serves is judged where
//! it runs: e2e/tests/controller.

use e2e::served::assert_documented;
use runtime::metrics::{Metrics, Names};

#[test]
fn documented_metrics_are_those_that_a_worker_serves() {
    let one = |name: &str| vec![name.to_owned()];
    let names = Names {
        pipeline: "revenue".to_owned(),
        sources: one("orders"),
        operators: one("orders"),
        stages: vec![("orders".to_owned(), 1)],
        sinks: one("out"),
        guarantee: "ExactlyOnce".to_owned(),
    };
    let metrics = Metrics::new(&names).unwrap();
    // Its series come with the partitions.
    metrics.lag("orders", "orders", 0).set(0);
    let text = metrics.text().unwrap();
    assert_documented("Of a worker", &text, &["pipeline"]).unwrap();
}
