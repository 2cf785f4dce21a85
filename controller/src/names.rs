//! Labels, names and hashes of what the controller makes.

use api::pipeline::Pipeline;

pub use api::names::{
    CHECKPOINT_REQUESTED_AT, CONFIGURATION, CONTAINER, PIPELINE, PORT, PURPOSE, RESTART_REQUESTED_AT,
    SAVEPOINT_REQUESTED_AT, SERIAL,
};

/// Field manager and `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "onceward-controller";
/// Holds a Pipeline until its decided output is visible.
pub const FINALIZER: &str = "onceward.dev/commits";
/// Label: which worker of the Pipeline it is, from 0.
pub const WORKER: &str = "onceward.dev/worker";
/// Annotation of a Pipeline: `ATTEMPT/EPOCH` whose loss a person has taken note of.
pub const ACCEPT_LOSS: &str = "onceward.dev/accept-loss";
/// Annotation of a Pipeline: `ATTEMPT/EPOCH` of the floor below which the log may end after all.
pub const ACCEPT_REWIND: &str = "onceward.dev/accept-rewind";

/// What a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Runs the pipeline.
    Run,
    /// Finishes commits and leaves.
    Commit,
    /// Finishes commits, deletes checkpoints and leaves.
    Delete,
}

impl Purpose {
    pub fn label(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Commit => "commit",
            Self::Delete => "delete",
        }
    }

    /// Whether it leaves when everything decided is visible.
    pub fn only_settles(self) -> bool {
        self != Self::Run
    }

    pub fn of_label(label: &str) -> Option<Self> {
        [Self::Run, Self::Commit, Self::Delete].into_iter().find(|purpose| purpose.label() == label)
    }
}

/// Name of the Pipeline; the API server makes sure that there is one.
pub fn name(pipeline: &Pipeline) -> &str {
    pipeline.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pipeline: &Pipeline) -> &str {
    pipeline.metadata.namespace.as_deref().unwrap_or_default()
}

pub fn uid(pipeline: &Pipeline) -> &str {
    pipeline.metadata.uid.as_deref().unwrap_or_default()
}

/// The same for the same Pipeline and serial number, so that who makes a pod twice makes one; and another one for a
/// Pipeline of the same name that comes later.
pub fn pod(pipeline: &Pipeline, serial: u64) -> String {
    let suffix = short_hash(&[uid(pipeline).as_bytes(), &serial.to_be_bytes()]);
    format!("{}-0-{suffix}", name(pipeline))
}

pub fn config_map(pipeline: &Pipeline, configuration: &str) -> String {
    format!("{}-{configuration}", name(pipeline))
}

/// Ten letters and digits that may stand in any name.
pub fn short_hash(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().chars().take(10).collect()
}

/// Selects the worker pods of a Pipeline.
pub fn selector(pipeline: &Pipeline) -> String {
    format!("{PIPELINE}={}", name(pipeline))
}
