//! The graph as people read it: stages, their operators, exchanges with key and parallelism. Stable text.

use std::fmt::Write;

use super::graph::{Edge, Graph, Leaf, Partitioning, StageInput};

/// Prints `graph` as it would run at `parallelism`.
pub fn explain(graph: &Graph, parallelism: u32, max_parallelism: u32) -> String {
    let mut text = format!("parallelism {parallelism}, key groups {max_parallelism}\n");
    for (index, stage) in graph.stages.iter().enumerate() {
        let _ = writeln!(text, "stage {index} `{}` x {parallelism}", stage.name);
        match &stage.input {
            StageInput::Source { name, columns } => {
                let _ = writeln!(text, "  source `{name}`: {}", columns.join(", "));
            }
            StageInput::Edges(edges) => {
                for edge in edges.iter().filter_map(|edge| graph.edges.get(*edge)) {
                    let from = graph.stages.get(edge.from).map_or("?", |stage| stage.name.as_str());
                    let _ = writeln!(text, "  from stage {} `{from}` {}", edge.from, exchange(edge));
                }
            }
        }
        for line in stage.chain.describe() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            let leaf = trimmed.strip_prefix("-> ").and_then(|leaf| stage.leaves.get(leaf.parse::<usize>().ok()?));
            let shown = match leaf {
                Some(Leaf::Sink { name, .. }) => format!("-> sink `{name}`"),
                Some(Leaf::Edge(edge)) => {
                    let to = graph.edges.get(*edge).map_or(0, |edge| edge.to);
                    let name = graph.stages.get(to).map_or("?", |stage| stage.name.as_str());
                    format!("-> stage {to} `{name}`")
                }
                None => trimmed.to_owned(),
            };
            let _ = writeln!(text, "  {:indent$}{shown}", "");
        }
    }
    text
}

/// How rows come over an edge, for people.
pub(crate) fn exchange(edge: &Edge) -> String {
    match &edge.partitioning {
        Partitioning::Forward => "forward, subtask to subtask".to_owned(),
        Partitioning::KeyGroups(keys) if keys.is_empty() => "exchange without a key, to one subtask".to_owned(),
        Partitioning::KeyGroups(keys) => {
            let names = keys.iter().filter_map(|key| edge.schema.fields().get(*key)).map(|field| field.name().as_str());
            format!("exchange by key group of {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}
