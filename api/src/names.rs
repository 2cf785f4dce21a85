//! Names that the controller, whoever asks it for something, and whoever looks for a worker agree on.

/// Label: name of the Pipeline.
pub const PIPELINE: &str = "onceward.dev/pipeline";
/// Label: what a pod is for.
pub const PURPOSE: &str = "onceward.dev/purpose";
/// Label: the how-manieth pod of the Pipeline it is.
pub const SERIAL: &str = "onceward.dev/serial";
/// Label: hash of what it runs.
pub const CONFIGURATION: &str = "onceward.dev/configuration";
/// Annotation of a Pipeline: a newer time replaces the worker. On a pod: the time that it was made for.
pub const RESTART_REQUESTED_AT: &str = "onceward.dev/restart-requested-at";
/// Annotation of a Pipeline: a newer time takes a checkpoint now.
pub const CHECKPOINT_REQUESTED_AT: &str = "onceward.dev/checkpoint-requested-at";
/// Annotation of a Pipeline: a newer time takes a checkpoint now that is kept for ever.
pub const SAVEPOINT_REQUESTED_AT: &str = "onceward.dev/savepoint-requested-at";

/// Name of the worker's container, for pod templates.
pub const CONTAINER: &str = "worker";
/// Where a worker serves its state, its metrics and its page.
pub const PORT: u16 = 9464;
