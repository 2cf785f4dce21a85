//! The physical graph: stages of chained operators, joined by edges.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use checkpoint::ids::{OperatorId, Subtask};

use crate::operators::{Chain, OperatorError};

/// The whole pipeline; stages in topological order. Every stage runs at the pipeline's parallelism.
pub struct Graph {
    pub stages: Vec<Stage>,
    pub edges: Vec<Edge>,
}

/// Operators that run in one subtask without an exchange between them.
pub struct Stage {
    pub name: String,
    pub input: StageInput,
    pub leaves: Vec<Leaf>,
    pub chain: Arc<dyn ChainBuilder>,
}

pub enum StageInput {
    /// Name of the source and the columns it must yield, in order.
    Source { name: String, columns: Vec<String> },
    /// Edges merged in arrival order, barriers aligned over all of them, watermarks combined by minimum.
    Edges(Vec<usize>),
}

pub enum Leaf {
    Sink {
        name: String,
        schema: SchemaRef,
    },
    /// Index into `Graph::edges`.
    Edge(usize),
}

pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub schema: SchemaRef,
    pub partitioning: Partitioning,
}

pub enum Partitioning {
    /// Subtask i to subtask i.
    Forward,
    /// By `key_groups::hash` over these columns.
    KeyGroups(Vec<usize>),
}

/// Makes the chain of one subtask; part of the plan, so it holds no state.
pub trait ChainBuilder: Send + Sync {
    fn build(&self, subtask: Subtask, parallelism: u32) -> Result<Box<dyn Chain>, OperatorError>;
    /// Operators with state, for the check of a changed manifest against an old log.
    fn stateful_operators(&self) -> Vec<StatefulOperator>;
    /// For people: one line for each operator, indented by its depth; `-> n` is leaf n.
    fn describe(&self) -> Vec<String>;
}

/// State can be kept by a changed manifest when id and fingerprint are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulOperator {
    pub id: OperatorId,
    /// Describes key columns, window and aggregates with their types; equal means same state layout and meaning.
    pub fingerprint: String,
}
