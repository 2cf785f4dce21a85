//! Operator state as immutable runs: sealed at a barrier, uploaded once, shared by later checkpoints.

pub mod ipc;
pub(crate) mod runs;

use std::sync::{Arc, OnceLock};

use arrow::record_batch::RecordBatch;
use checkpoint::ids::OperatorId;
use checkpoint::manifest::StatePart;

/// An immutable piece of an operator's state. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Run {
    pub rows: Arc<Vec<RecordBatch>>,
    /// Set once the run is durable; later checkpoints refer to the same part instead of writing it again.
    pub part: Arc<OnceLock<StatePart>>,
}

/// What an operator hands over at a barrier.
#[derive(Clone, Debug)]
pub struct OperatorRuns {
    pub operator: OperatorId,
    pub runs: Vec<Run>,
}
