//! `Pipeline`, `onceward.dev/v1alpha1`: the types are the schema. Field docs become the custom resource's docs,
//! bounds and defaults stand in the schema, rules over several fields are CEL with a message that names the fix.
#![expect(unreachable_pub, reason = "KubeSchema repeats each type inside a function body, with its visibility")]

mod checkpoint;
mod cluster;
mod columns;
mod connections;
mod duration;
mod factor;
mod instant;
mod kafka;
mod kafka_properties;
mod positions;
mod schema;
mod sinks;
mod sources;
mod status;
mod storage;
mod values;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use self::checkpoint::{
    CheckpointSpec, ExponentialDelay, FailureRate, FixedDelay, Never, OnDelete, RestartPolicy, RestartStrategy,
};
pub use self::cluster::{PodTemplate, RestoreFrom};
pub use self::columns::{Column, ColumnType, Generate, InvalidColumnType, Literal, Random, Sequence};
pub(crate) use self::connections::{BROKER, SECRET_KEY, SECRET_NAME};
pub use self::connections::{
    Connection, DEFAULT_TRANSACTIONAL_ID_PREFIX, KafkaConnection, Sasl, SaslMechanism, SecretRef, Tls,
};
pub use self::duration::{Duration, InvalidDuration};
pub use self::factor::{Factor, InvalidFactor};
pub use self::instant::{days_of_date, micros_of_rfc3339};
pub(crate) use self::kafka::TOPIC;
pub use self::kafka::{KafkaSink, KafkaSource, Metadata, RecordPart};
pub use self::kafka_properties::{AddressFamily, Compression, KafkaProperties};
pub(crate) use self::positions::MOMENT;
pub use self::positions::{Bound, InvalidPosition, Moment, PartitionOffset, StartPosition, Until};
pub use self::schema::{definition, schema};
pub use self::sinks::{DiscardSink, Encoder, FilesSink, Guarantee, JsonOut, RawOut, Sink, SinkFormat, SinkTarget};
pub use self::sources::{
    CsvFormat, Decoder, EventTime, FilesSource, Format, GeneratorSource, JsonFormat, OnError, ParquetFormat, RawFormat,
    Source, SourceInput,
};
pub use self::status::{
    ActionStatus, Actions, AttemptRestarts, CheckpointStatus, Completed, Condition, Failed, Floor, LogStatus,
    PendingCommitStatus, Phase, PipelineStatus, Restarts, Restored, Workers,
};
pub(crate) use self::storage::{ACCOUNT, BUCKET, CONTAINER, ENDPOINT, GCS_BUCKET, HTTPS, PREFIX, REGION};
pub use self::storage::{
    AzureCredentials, AzureStorage, GcsCredentials, GcsStorage, LocalStorage, S3Credentials, S3Storage, Storage,
    StoragePlace,
};
pub use self::values::{InvalidRecipe, Recipe, Value};

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
    status = "PipelineStatus",
    derive = "PartialEq",
    doc = "Sources, SQL transforms and sinks; every committed result reflects every input record exactly once.",
    validation = ("self.metadata.name.size() <= 52", "metadata.name must have at most 52 characters; names of pods and files are built from it"),
    scale(
        spec_replicas_path = ".spec.parallelism",
        status_replicas_path = ".status.parallelism",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.checkpoints.lastCompleted.epoch"),
    printcolumn(name = "Last-Checkpoint", type_ = "date", json_path = ".status.checkpoints.lastCompleted.completedTime"),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts.total"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Guarantee", type_ = "string", json_path = ".status.guarantee", priority = 1),
    printcolumn(name = "Pending-Commits", type_ = "integer", json_path = ".status.pendingCommittables", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.parallelism <= self.maxParallelism")
        .message("parallelism must not exceed maxParallelism; lower it, since maxParallelism cannot be changed")
        .field_path(".parallelism"),
    validation = Rule::new("self.maxParallelism == oldSelf.maxParallelism")
        .message("maxParallelism is immutable, because state is divided by it; set it back, or create a pipeline of another name")
        .field_path(".maxParallelism"),
    validation = Rule::new("self.workers == 1")
        .message("workers must be 1 for now: records are not exchanged between pods yet; raise parallelism and the worker's resources instead")
        .field_path(".workers"),
    validation = Rule::new("self.transforms.all(t, !self.sources.exists(s, s.name == t.name))")
        .message("a transform has the name of a source; rename one of them")
        .field_path(".transforms"),
    validation = Rule::new("self.sinks.all(k, self.sources.exists(s, s.name == k.input) || self.transforms.exists(t, t.name == k.input))")
        .message("a sink's input names nothing; set it to the name of a source or transform")
        .field_path(".sinks"),
    validation = Rule::new("self.sources.all(s, !has(s.kafka) || self.connections.exists(c, c.name == s.kafka.connection))")
        .message("a source's connection names nothing; set it to the name of one of spec.connections")
        .field_path(".sources"),
    validation = Rule::new("self.sinks.all(k, !has(k.kafka) || self.connections.exists(c, c.name == k.kafka.connection))")
        .message("a sink's connection names nothing; set it to the name of one of spec.connections")
        .field_path(".sinks"),
    validation = Rule::new(TRANSACTIONS_LAST)
        .message("transactionTimeout must be longer than (checkpoint.tolerableFailedCheckpoints + 1) * (checkpoint.interval + checkpoint.timeout) + commitBudget \
            (a quarter of transactionTimeout when absent), or the broker aborts what was not committed yet; lengthen it, or shorten the others")
        .field_path(".sinks")
)]
pub struct PipelineSpec {
    /// Subtasks per operator; at most maxParallelism. May be changed at any time.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 1024))]
    pub parallelism: u32,
    /// Key groups that state is divided into. Immutable.
    #[serde(default = "default_max_parallelism")]
    #[schemars(range(min = 1, max = 32768))]
    pub max_parallelism: u32,
    /// Systems that sources and sinks speak to, with addresses and logins.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub connections: Vec<Connection>,
    /// What is read.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sources: Vec<Source>,
    /// Named queries, in order: each may read sources and earlier transforms.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub transforms: Vec<Transform>,
    /// What is written.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<Sink>,
    /// How often and where progress is made durable; output becomes visible at this rhythm.
    pub checkpoint: CheckpointSpec,
    /// What happens after a failure that can heal.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Sources and transforms (by their old name) whose state may be thrown away by this change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub drop_state_of: Vec<String>,
    /// On a cluster: stop with a last checkpoint, finish its commits, and wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// On a cluster: worker pods. One, until records can be exchanged between pods; parallelism is within it.
    #[serde(default = "default_workers")]
    #[schemars(range(min = 1, max = 64))]
    pub workers: u32,
    /// On a cluster: the worker's image. Absent: the controller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// On a cluster: where a new Pipeline begins, instead of with an empty log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFrom>,
    /// On a cluster: how long a deletion may wait for commits; what is left then is reported.
    #[serde(default = "default_deletion_timeout")]
    pub deletion_timeout: Duration,
    /// On a cluster: merged into the worker's pod, as `kubectl patch` does it; the container is named `worker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// A transaction outlasts all the checkpoints that may fail before one decides it, and then the commit. Milliseconds are
/// asked only of what is shorter than a timeout, so they fit 32 bits.
const TRANSACTIONS_LAST: &str = "self.sinks.all(k, !has(k.kafka) || !has(k.kafka.transactionTimeout) || \
    duration(k.kafka.transactionTimeout) > duration('596h') || (\
    duration(k.kafka.transactionTimeout) > duration(self.checkpoint.interval) + duration(self.checkpoint.timeout) && \
    (has(k.kafka.commitBudget) \
    ? duration(k.kafka.transactionTimeout) > duration(k.kafka.commitBudget) && (duration(k.kafka.transactionTimeout) - duration(k.kafka.commitBudget)).getMilliseconds() > \
    (self.checkpoint.tolerableFailedCheckpoints + 1) * (duration(self.checkpoint.interval) + duration(self.checkpoint.timeout)).getMilliseconds() \
    : duration(k.kafka.transactionTimeout).getMilliseconds() * 3 > \
    (self.checkpoint.tolerableFailedCheckpoints + 1) * (duration(self.checkpoint.interval) + duration(self.checkpoint.timeout)).getMilliseconds() * 4)))";

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

fn default_workers() -> u32 {
    1
}

fn default_deletion_timeout() -> Duration {
    Duration::from_millis(300_000)
}

fn default_max_parallelism() -> u32 {
    DEFAULT_MAX_PARALLELISM
}
