//! What of a run does not change: its graph and its manifest, as JSON for the page.

use api::pipeline::Pipeline;
use serde_json::{Value, json};

use crate::dataflow::exchange;
use crate::dataflow::graph::{Graph, Leaf, StageInput};

/// Fields of the manifest that are not shown: what a person writes into a pod may hold secrets in plain text. Everywhere
/// else the manifest only names them.
const HIDDEN: [&str; 1] = ["podTemplate"];

/// `guarantee`: the weakest of the sinks'.
pub(crate) fn overview(pipeline: &Pipeline, graph: &Graph, guarantee: &str) -> Value {
    let mut spec = serde_json::to_value(&pipeline.spec).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        for field in HIDDEN {
            fields.remove(field);
        }
    }
    json!({
        "name": pipeline.metadata.name,
        "namespace": pipeline.metadata.namespace,
        "version": env!("CARGO_PKG_VERSION"),
        "guarantee": guarantee,
        "parallelism": pipeline.spec.parallelism,
        "stages": graph.stages.iter().map(|stage| self::stage(graph, stage)).collect::<Vec<_>>(),
        "spec": spec,
    })
}

fn stage(graph: &Graph, stage: &crate::dataflow::graph::Stage) -> Value {
    let (source, from) = match &stage.input {
        StageInput::Source { name, .. } => (Some(name), Vec::new()),
        StageInput::Edges(edges) => {
            let from = |edge: &usize| {
                let edge = graph.edges.get(*edge)?;
                Some(json!({ "stage": edge.from, "exchange": exchange(edge) }))
            };
            (None, edges.iter().filter_map(from).collect())
        }
    };
    let sinks = stage.leaves.iter().filter_map(|leaf| match leaf {
        Leaf::Sink { name, .. } => Some(name),
        Leaf::Edge(_) => None,
    });
    let operators = stage.chain.describe().into_iter().filter(|line| !line.trim_start().starts_with("-> "));
    json!({
        "name": stage.name,
        "source": source,
        "from": from,
        "operators": operators.collect::<Vec<_>>(),
        "sinks": sinks.collect::<Vec<_>>(),
    })
}
