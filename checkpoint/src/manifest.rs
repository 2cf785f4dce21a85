//! What a checkpoint consists of: the snapshots to restore from and the committables that its decision decides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Epoch, OperatorId, Subtask};

/// Everything that `Completed(n)` decides. Written before the decision, inlined into the record when small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    /// The operators whose state this is, by which a changed pipeline is judged.
    pub operators: Vec<OperatorPlan>,
    /// Subtasks per stage at the time of the snapshot; any parallelism can restore.
    pub parallelism: u32,
    /// Key groups; immutable for the life of a log.
    pub max_parallelism: u32,
    /// Every source has ended and its last rows are in `committables`: nothing is left to read.
    pub finished: bool,
    /// Rows read since the log began, up to the barrier (for people, as the next).
    pub rows_in: u64,
    /// Rows in all committables decided since the log began, these included.
    pub rows_out: u64,
    pub snapshots: Vec<OperatorSnapshot>,
    /// All undecided committables of the attempt, within one writer in pre-commit order.
    pub committables: Vec<Committable>,
}

impl Manifest {
    /// Of a log in which nothing has been read yet.
    pub fn empty(parallelism: u32, max_parallelism: u32) -> Self {
        Self {
            operators: Vec::new(),
            parallelism,
            max_parallelism,
            finished: false,
            rows_in: 0,
            rows_out: 0,
            snapshots: Vec::new(),
            committables: Vec::new(),
        }
    }
}

/// What an operator's state depends on, as it was when the state was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OperatorPlan {
    pub operator: OperatorId,
    /// Equal fingerprints mean that the state can be used; made by the planner, opaque here.
    pub fingerprint: String,
}

/// One subtask's state of one operator at the barrier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OperatorSnapshot {
    pub operator: OperatorId,
    pub subtask: Subtask,
    pub parts: Vec<StatePart>,
}

/// A piece of state, small ones inside the manifest, others as an object of their own.
/// A part may be referenced by many checkpoints (runs are immutable); retention counts references.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StatePart {
    /// `body`: base64 of the part's bytes.
    Inline { body: String },
    /// `name` is relative to the log's root and carries the attempt that wrote it.
    Stored { name: String, length: u64, hash: ContentHash },
}

/// BLAKE3 of the content, 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ContentHash(pub String);

/// A pre-committed, not yet visible piece of output: serialisable, so that any process with a permit can commit it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Committable {
    pub sink: String,
    pub writer: Subtask,
    /// The attempt and epoch that pre-committed it (a failed epoch's committables are decided by a later one).
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub rows: u64,
    /// When the target itself would throw it away; `None` for targets without a timeout (files).
    pub expiry: Option<Expiry>,
    /// What the sink's committer needs, encoded by the sink (JSON).
    pub handle: String,
}

/// A target's own deadline. `start` is taken before the transaction's first write, on a clock that counts suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expiry {
    pub start_ms: u64,
    pub timeout_ms: u64,
    pub commit_budget_ms: u64,
}
