//! Dataflow nodes: push, columnar, synchronous.

pub(crate) mod aggregate;
pub(crate) mod chain;
mod dense;
pub(crate) mod exact;
pub(crate) mod groups;
pub(crate) mod preaggregate;
pub(crate) mod project;
pub(crate) mod session;
pub(crate) mod values;
pub(crate) mod window;
pub(crate) mod window_columns;
pub mod windows;

use checkpoint::ids::OperatorId;

pub use api::statistics::OperatorCounters;

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
    fn restore(&mut self, operator: &OperatorId, runs: Vec<Run>) -> Result<(), OperatorError>;
    fn counters(&self) -> Vec<OperatorCounters>;
}

/// Where an operator's rows go: the operators after it in the tree.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(Batch) -> Result<(), OperatorError>;

/// One node of a chain.
pub(crate) trait Operator: Send {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError>;
    /// Emits what is final at `watermark`; the chain tells the operators after it once this has returned.
    fn advance(&mut self, _watermark: Timestamp, _emit: Emit<'_>) -> Result<(), OperatorError> {
        Ok(())
    }
    fn flush(&mut self, _emit: Emit<'_>) -> Result<(), OperatorError> {
        Ok(())
    }
    /// `None` for operators without state.
    fn snapshot(&mut self) -> Result<Option<OperatorRuns>, OperatorError> {
        Ok(None)
    }
    /// Returns the runs if they belong to another operator.
    fn restore(&mut self, _operator: &OperatorId, runs: Vec<Run>) -> Result<Option<Vec<Run>>, OperatorError> {
        Ok(Some(runs))
    }
    fn counters(&self) -> Option<OperatorCounters> {
        None
    }
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
