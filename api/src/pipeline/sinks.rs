//! What is written.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kafka::KafkaSink;

/// A named output. Exactly one of files, kafka, discard is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.files), has(self.kafka), has(self.discard)].filter(x, x).size() == 1", "set exactly one of files, kafka, discard"),
    validation = Rule::new("!has(self.discard) || !has(self.format)")
        .message("discard writes nothing; remove format")
        .field_path(".format"),
    validation = Rule::new("!has(self.files) || !has(self.format) || !has(self.format.raw)")
        .message("raw is for kafka, whose records have bounds; write json for files")
        .field_path(".format"),
    validation = Rule::new("has(self.kafka) || self.guarantee == 'ExactlyOnce'")
        .message("files and discard are ExactlyOnce at no cost; remove guarantee")
        .field_path(".guarantee"),
    validation = Rule::new("!has(self.kafka) || self.guarantee == 'ExactlyOnce' || !(has(self.kafka.transactionTimeout) || has(self.kafka.commitBudget))")
        .message("AtLeastOnce uses no transactions; remove transactionTimeout and commitBudget")
        .field_path(".guarantee")
)]
pub struct Sink {
    /// Part of the output's names: file names here, transactional ids elsewhere.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// The source or transform that is written.
    #[schemars(length(min = 1, max = 63))]
    pub input: String,
    /// A folder of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSink>,
    /// A Kafka topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSink>,
    /// Nowhere: rows are counted and dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard: Option<DiscardSink>,
    /// Encoding of rows; JSON when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<SinkFormat>,
    /// What holds after any failure.
    #[serde(default)]
    pub guarantee: Guarantee,
}

/// The one target that is set.
#[derive(Clone, Copy, Debug)]
pub enum SinkTarget<'a> {
    Files(&'a FilesSink),
    Kafka(&'a KafkaSink),
    Discard(&'a DiscardSink),
}

impl Sink {
    /// `None` only for a spec that was not validated.
    pub fn target(&self) -> Option<SinkTarget<'_>> {
        let files = self.files.as_ref().map(SinkTarget::Files);
        let kafka = || self.kafka.as_ref().map(SinkTarget::Kafka);
        files.or_else(kafka).or_else(|| self.discard.as_ref().map(SinkTarget::Discard))
    }

    /// The format with its default, JSON.
    pub fn encoder(&self) -> Encoder {
        match self.format.and_then(|format| format.raw) {
            Some(_) => Encoder::Raw,
            None => Encoder::Json,
        }
    }
}

/// Files that appear whole, once their checkpoint is decided.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesSink {
    /// A folder, created when missing; a relative one resolves against the manifest's folder.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// For measuring.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscardSink {}

/// Encoding of rows. At most one field is set; none means json.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("!has(self.json) || !has(self.raw)", "set at most one of json, raw"))]
pub struct SinkFormat {
    /// One object a line, or a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonOut>,
    /// Kafka only: the bytes of the one VARBINARY column beside the key, which is at most one column, of VARBINARY or VARCHAR; NULL makes a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawOut>,
}

/// The one encoder that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    Json,
    Raw,
}

/// Bytes as they stand.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawOut {}

/// JSON.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonOut {}

/// What holds after any failure.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Every input record is reflected exactly once in what becomes visible.
    #[default]
    ExactlyOnce,
    /// Kafka only: written without transactions, so it is seen at once, and after a failure some of it again.
    AtLeastOnce,
}

impl Guarantee {
    /// What holds for a pipeline with these sinks, in the manifest's words.
    pub fn weakest(sinks: &[Sink]) -> &'static str {
        let is_exact = sinks.iter().all(|sink| sink.guarantee == Self::ExactlyOnce);
        if is_exact { "ExactlyOnce" } else { "AtLeastOnce" }
    }
}
