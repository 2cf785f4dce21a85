//! Dataflow nodes: push, columnar, synchronous.

use crate::element::{Batch, Timestamp};
use crate::state::{OperatorRuns, Run};

/// Where a chain's results go. `leaf` indexes `dataflow::graph::Stage::leaves`.
pub trait Output {
    fn emit(&mut self, leaf: usize, batch: Batch) -> Result<(), OperatorError>;
    fn watermark(&mut self, leaf: usize, watermark: Timestamp) -> Result<(), OperatorError>;
}

/// All operators of one subtask of one stage, a tree from the stage's input to its leaves.
pub trait Chain: Send {
    fn process(&mut self, batch: Batch, out: &mut dyn Output) -> Result<(), OperatorError>;
    /// Event time of the stage's (combined) input reached `watermark`: windows fire, leaves are told.
    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError>;
    /// Called before every barrier: whatever must not be held across one (the pre-aggregation) is emitted.
    fn flush(&mut self, out: &mut dyn Output) -> Result<(), OperatorError>;
    /// Seals the state at the barrier; synchronous and cheap (no copy of the state).
    fn snapshot(&mut self) -> Result<Vec<OperatorRuns>, OperatorError>;
    /// Called before anything else, once for each stored subtask's snapshot of each stateful operator of this chain,
    /// with all runs of that snapshot in the order in which `snapshot` gave them (their `part` already set).
    /// Rows of key groups that are not this subtask's are left out.
    fn restore(&mut self, operator: &checkpoint::ids::OperatorId, runs: Vec<Run>) -> Result<(), OperatorError>;
    fn counters(&self) -> Vec<OperatorCounters>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCounters {
    pub operator: String,
    pub records_in: u64,
    pub records_out: u64,
    pub late_dropped: u64,
    pub windows_fired: u64,
    pub state_keys: u64,
    pub state_bytes: u64,
}

/// A row or a state that an operator cannot digest; never healed by a restart.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("operator `{operator}`: {message}")]
    Row { operator: String, message: String },
    #[error("operator `{operator}`: state cannot be restored: {message}")]
    State { operator: String, message: String },
    #[error(transparent)]
    Sink(#[from] crate::connectors::SinkError),
}
