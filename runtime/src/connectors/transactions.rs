//! Transactions of targets that have them, as people and clean-up see them.

use std::sync::Arc;

use checkpoint::ids::{Attempt, PipelineId, Subtask};
use checkpoint::record::Claim;
use serde::Serialize;

/// Who may have left something open, by what the claims of the log say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub pipeline: PipelineId,
    /// Attempts below this one are meant.
    pub before: Attempt,
    /// Newest attempt first.
    pub ids: Arc<[IdRange]>,
}

/// The transactional ids that one sink of one attempt may have used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub attempt: Attempt,
    pub sink: String,
    pub prefix: String,
    pub writers: u32,
    /// Ids of each writer.
    pub slots: u32,
}

impl Earlier {
    /// Everything that `claims` (newest first) allow below `before`.
    pub fn of<'a>(
        pipeline: PipelineId,
        before: Attempt,
        claims: impl IntoIterator<Item = (Attempt, &'a Claim)>,
    ) -> Self {
        let mut ids = Vec::new();
        for (attempt, claim) in claims {
            for sink in &claim.sinks {
                if let Some(prefix) = sink.prefix.clone().filter(|_| attempt < before) {
                    let (writers, slots) = (sink.writers, sink.slots);
                    ids.push(IdRange { attempt, sink: sink.name.clone(), prefix, writers, slots });
                }
            }
        }
        Self { pipeline, before, ids: ids.into() }
    }
}

/// Which transactions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// What one sink's attempts may have open, whatever its state is now.
    Earlier(Earlier),
    /// Whatever begins so, whoever it belongs to.
    Prefix(String),
    /// This one.
    Id(String),
}

/// A transaction as its target tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    pub id: String,
    /// The cluster that it lives in.
    pub cluster: String,
    #[serde(flatten)]
    pub stamp: Stamp,
    /// The target's own word.
    pub state: String,
    pub phase: Phase,
    /// Milliseconds since 1970 on the target's clock; None outside of a transaction.
    pub start_ms: Option<u64>,
    /// How long after that the target aborts it by itself.
    pub timeout_ms: u64,
    /// What it has written to, each as `topic-partition`.
    pub partitions: Vec<String>,
    /// Read from the id; None for one that this program would not have made.
    pub owner: Option<Owner>,
}

/// Which of the transactions that one id has named after each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    pub producer_id: i64,
    pub producer_epoch: i16,
}

/// Whether it holds readers up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Until somebody ends it, or its time is over.
    Open,
    /// Its end is being written.
    Ending,
    /// It does not: nothing is open under this id.
    Over,
}

/// Whose a transactional id is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub prefix: String,
    pub pipeline: PipelineId,
    pub attempt: Attempt,
    pub sink: String,
    pub writer: Subtask,
    pub slot: u32,
}
