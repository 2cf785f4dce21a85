//! What the controller reports of a `Pipeline`. Output only: nothing is decided by it, but for the floor below which a log
//! must not end.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a pipeline on a cluster.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineStatus {
    /// Generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people; programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Subtasks per operator that run.
    pub parallelism: u32,
    /// Selects the worker pods; for autoscalers.
    #[schemars(length(max = 256))]
    pub selector: String,
    /// What holds after any failure: the weakest of the sinks' guarantees.
    #[schemars(length(max = 32))]
    pub guarantee: String,
    /// Worker pods.
    pub workers: Workers,
    /// `Accepted`, `Ready`, `CheckpointHealthy`, `CommitsSettled`, `Progressing`: True is always the good state.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Checkpoints; at most every 30 seconds while nothing else changes.
    pub checkpoints: CheckpointStatus,
    /// Decided output that is not visible yet.
    #[schemars(length(max = 64))]
    pub pending_commits: Vec<PendingCommitStatus>,
    /// Pieces of all of them.
    pub pending_committables: u64,
    /// Pods that failed or were taken away, and attempts that failed within one.
    pub restarts: Restarts,
    /// The log that the pipeline writes, and how far it was ever known to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStatus>,
    /// Actions that were asked for by annotation and are done: the annotation's value.
    pub actions: Actions,
}

/// One word for the state.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not looked at yet, or refused.
    Pending,
    Starting,
    Running,
    Restarting,
    Suspending,
    Suspended,
    /// Every source has come to its end.
    Finished,
    /// It will not go on by itself.
    Failed,
    Deleting,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Workers {
    /// As spec.workers, or 0 while none should run.
    pub desired: u32,
    /// Those that process records.
    pub ready: u32,
    /// Of the newest spec.
    pub updated: u32,
    /// How many pods were made, for their names.
    pub serial: u64,
}

/// As Kubernetes' own conditions.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `Ready`, `CheckpointHealthy`, `CommitsSettled` or `Progressing`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// True, False or Unknown.
    #[schemars(length(min = 1, max = 8))]
    pub status: String,
    /// One word for programs.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// For people, with what to do.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// When status changed last; RFC 3339.
    #[schemars(length(max = 40))]
    pub last_transition_time: String,
    /// Generation of the spec that this is about.
    pub observed_generation: i64,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckpointStatus {
    /// The newest checkpoint: everything up to it is or becomes visible exactly once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<Completed>,
    /// The newest one that failed; nothing is rolled back by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<Failed>,
    /// Failed since one completed.
    pub consecutive_failures: u32,
    /// Where the present attempt began; absent: at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<Restored>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Completed {
    /// The run that decided it.
    pub attempt: u64,
    /// Its number.
    pub epoch: u64,
    /// What restoreFrom takes.
    #[schemars(length(max = 2048))]
    pub handle: String,
    /// When it was decided; absent: before anybody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub completed_time: Option<String>,
    /// From its barrier to its decision.
    pub duration_milliseconds: u64,
    /// State in it.
    pub size_bytes: u64,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// The run that decided it.
    pub attempt: u64,
    /// Its number.
    pub epoch: u64,
    /// When.
    #[schemars(length(max = 40))]
    pub failed_time: String,
    /// Why.
    #[schemars(length(max = 2048))]
    pub message: String,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The run that decided it.
    pub attempt: u64,
    /// Its number.
    pub epoch: u64,
    /// Its address in the store.
    #[schemars(length(max = 2048))]
    pub handle: String,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PendingCommitStatus {
    /// Whose output it is.
    #[schemars(length(max = 63))]
    pub sink: String,
    /// The run that decided it.
    pub attempt: u64,
    /// Its number.
    pub epoch: u64,
    /// Pieces.
    pub committables: u64,
    /// Since when it is decided.
    #[schemars(length(max = 40))]
    pub since_time: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What the target said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub last_error: Option<String>,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Restarts {
    /// How often it had to start again since the Pipeline was made: pods, and attempts within a pod. Those that somebody
    /// asked for are not among them.
    pub total: u64,
    /// Of pods, since one last ran for as long as the policy's reset, or the spec was changed.
    pub since_reset: u32,
    /// Serial number of the newest pod that is counted, or was told to go.
    pub last_serial: u64,
    /// Pods that were replaced, by what for: `SpecChanged` and `Requested` were asked for, every other one went wrong.
    #[schemars(extend("maxProperties" = 16))]
    pub reasons: BTreeMap<String, u64>,
    /// Attempts that failed within a pod.
    pub attempts: AttemptRestarts,
    /// When something failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub last_time: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub last_reason: Option<String>,
    /// While a replacement waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub next_time: Option<String>,
}

/// Attempts that a worker began itself after one that failed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AttemptRestarts {
    /// Of all pods.
    pub total: u64,
    /// Serial number of the newest pod that has told of some.
    pub serial: u64,
    /// How many that one has told of.
    pub of_serial: u32,
}

/// Compared by log, attempt and slot, and only within the same pipeline id.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// Drawn when the log was begun.
    #[schemars(length(max = 32))]
    pub pipeline_id: String,
    /// Which log of the store path.
    pub log: u64,
    /// The newest attempt.
    pub attempt: u64,
    /// Its newest record.
    pub slot: u64,
    /// The newest decision: a log that ends before it has lost data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

/// A decision; compared by attempt, then epoch.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Floor {
    /// The run that decided it.
    pub attempt: u64,
    /// Its number.
    pub epoch: u64,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Actions {
    /// onceward.dev/restart-requested-at, the newest that was obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub restart_requested_at: Option<String>,
    /// What came of onceward.dev/checkpoint-requested-at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<ActionStatus>,
    /// What came of onceward.dev/savepoint-requested-at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<ActionStatus>,
}

/// A checkpoint that was asked for and is taken, or why it is not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionStatus {
    /// The annotation's value.
    #[schemars(length(max = 64))]
    pub requested_at: String,
    /// The checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Restored>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub message: Option<String>,
}
