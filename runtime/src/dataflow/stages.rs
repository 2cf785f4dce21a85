//! Cuts the nodes of a plan into stages: an exchange or a union begins a new one.

use std::sync::Arc;

use super::graph::{Edge, Graph, Leaf, Partitioning, Stage, StageInput};
use super::plan::{Node, NodeId, NodeKind};
use crate::operators::chain::{Tree, TreeBuilder};

struct Draft {
    name: String,
    input: StageInput,
    leaves: Vec<Leaf>,
    /// The node that the stage begins with.
    root: usize,
}

/// Builds the graph of `nodes`, of which every one is read by another one or by a sink.
pub(crate) fn cut(nodes: &[Node], sinks: &[(String, NodeId)], max_parallelism: u32) -> Graph {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut edges: Vec<Edge> = Vec::new();
    let mut stage_of: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut leaves_of: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let (name, inputs, partitioning) = match &node.kind {
            NodeKind::Operator { input, .. } => {
                stage_of.push(stage_of.get(input.0).copied().unwrap_or(0));
                if let Some(list) = followers.get_mut(input.0) {
                    list.push(index);
                }
                continue;
            }
            NodeKind::Source { name, columns } => {
                let input = StageInput::Source { name: name.clone(), columns: columns.clone() };
                stage_of.push(drafts.len());
                drafts.push(Draft { name: name.clone(), input, leaves: Vec::new(), root: index });
                continue;
            }
            NodeKind::Exchange { name, input, keys } => (name, vec![*input], Some(keys.clone())),
            NodeKind::Union { name, inputs } => (name, inputs.clone(), None),
        };
        let to = drafts.len();
        let mut numbers = Vec::with_capacity(inputs.len());
        for input in inputs {
            let from = stage_of.get(input.0).copied().unwrap_or(0);
            let partitioning = partitioning.clone().map_or(Partitioning::Forward, Partitioning::KeyGroups);
            numbers.push(edges.len());
            let leaf = Leaf::Edge(edges.len());
            edges.push(Edge { from, to, schema: node.schema.clone(), partitioning });
            add_leaf(&mut drafts, &mut leaves_of, from, input, leaf);
        }
        stage_of.push(to);
        drafts.push(Draft { name: name.clone(), input: StageInput::Edges(numbers), leaves: Vec::new(), root: index });
    }
    for (name, node) in sinks {
        let from = stage_of.get(node.0).copied().unwrap_or(0);
        let schema = nodes.get(node.0).map(|node| node.schema.clone());
        let Some(schema) = schema else { continue };
        add_leaf(&mut drafts, &mut leaves_of, from, *node, Leaf::Sink { name: name.clone(), schema });
    }
    let stages = drafts.into_iter().map(|draft| {
        let tree = tree(draft.root, nodes, &followers, &leaves_of);
        let chain = Arc::new(TreeBuilder { tree, max_parallelism });
        Stage { name: draft.name, input: draft.input, leaves: draft.leaves, chain }
    });
    Graph { stages: stages.collect(), edges }
}

fn add_leaf(drafts: &mut [Draft], leaves_of: &mut [Vec<usize>], stage: usize, node: NodeId, leaf: Leaf) {
    if let (Some(draft), Some(leaves)) = (drafts.get_mut(stage), leaves_of.get_mut(node.0)) {
        leaves.push(draft.leaves.len());
        draft.leaves.push(leaf);
    }
}

fn tree(node: usize, nodes: &[Node], followers: &[Vec<usize>], leaves_of: &[Vec<usize>]) -> Tree {
    let children = followers.get(node).into_iter().flatten().filter_map(|next| match &nodes.get(*next)?.kind {
        NodeKind::Operator { factory, .. } => Some((factory.clone(), tree(*next, nodes, followers, leaves_of))),
        NodeKind::Source { .. } | NodeKind::Exchange { .. } | NodeKind::Union { .. } => None,
    });
    Tree { children: children.collect(), leaves: leaves_of.get(node).cloned().unwrap_or_default() }
}
