//! `Pipeline`, `onceward.dev/v1alpha1`: the types are the schema. Field docs become the custom resource's docs,
//! bounds and defaults stand in the schema, rules over several fields are CEL with a message that names the fix.
#![expect(unreachable_pub, reason = "KubeSchema repeats each type inside a function body, with its visibility")]

mod checkpoint;
mod columns;
mod duration;
mod factor;
mod sinks;
mod sources;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use self::checkpoint::{
    CheckpointSpec, ExponentialDelay, FailureRate, FixedDelay, LocalStorage, Never, RestartPolicy, RestartStrategy,
    Storage,
};
pub use self::columns::{Column, ColumnType, Generate, InvalidColumnType, Literal, Random, Sequence};
pub use self::duration::{Duration, InvalidDuration};
pub use self::factor::{Factor, InvalidFactor};
pub use self::sinks::{DiscardSink, FilesSink, Guarantee, JsonOut, Sink, SinkFormat, SinkTarget};
pub use self::sources::{
    CsvFormat, Decoder, EventTime, FilesSource, Format, GeneratorSource, JsonFormat, OnError, ParquetFormat, Source,
    SourceInput,
};

/// API group of all kinds.
pub const GROUP: &str = "onceward.dev";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";
/// Key groups when the manifest does not say.
pub const DEFAULT_MAX_PARALLELISM: u32 = 128;

/// What a pipeline reads, computes and writes.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "onceward.dev",
    version = "v1alpha1",
    kind = "Pipeline",
    plural = "pipelines",
    shortname = "ow",
    category = "onceward",
    namespaced,
    derive = "PartialEq",
    doc = "Sources, SQL transforms and sinks; every committed result reflects every input record exactly once.",
    printcolumn(name = "Parallelism", type_ = "integer", json_path = ".spec.parallelism"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineSpec {
    /// Subtasks per operator; at most maxParallelism. May be changed at any time.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 1024))]
    pub parallelism: u32,
    /// Key groups that state is divided into. Immutable.
    #[serde(default = "default_max_parallelism")]
    #[schemars(range(min = 1, max = 32768))]
    pub max_parallelism: u32,
    /// What is read.
    #[schemars(length(min = 1, max = 16))]
    pub sources: Vec<Source>,
    /// Named queries, in order: each may read sources and earlier transforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub transforms: Vec<Transform>,
    /// What is written.
    #[schemars(length(min = 1, max = 16))]
    pub sinks: Vec<Sink>,
    /// How often and where progress is made durable; output becomes visible at this rhythm.
    pub checkpoint: CheckpointSpec,
    /// What happens after a failure that can heal.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Transforms (by their old name) whose state may be thrown away by this change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub drop_state_of: Vec<String>,
}

/// A named query.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transform {
    /// Name that later transforms and sinks read it by; also names its state.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// A SELECT over sources and earlier transforms.
    #[schemars(length(min = 1, max = 16384))]
    pub sql: String,
}

fn default_parallelism() -> u32 {
    1
}

fn default_max_parallelism() -> u32 {
    DEFAULT_MAX_PARALLELISM
}
