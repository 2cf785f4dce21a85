//! What is written.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named output. Exactly one of files, discard is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.files), has(self.discard)].filter(x, x).size() == 1", "set exactly one of files, discard"),
    validation = Rule::new("!has(self.discard) || !has(self.format)")
        .message("discard writes nothing; remove format")
        .field_path(".format")
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
    /// Nowhere: rows are counted and dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard: Option<DiscardSink>,
    /// Encoding of rows; JSON Lines when absent.
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
    Discard(&'a DiscardSink),
}

impl Sink {
    /// `None` only for a spec that was not validated.
    pub fn target(&self) -> Option<SinkTarget<'_>> {
        let files = self.files.as_ref().map(SinkTarget::Files);
        files.or_else(|| self.discard.as_ref().map(SinkTarget::Discard))
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
pub struct SinkFormat {
    /// JSON Lines: one object a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonOut>,
}

/// JSON Lines.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonOut {}

/// What holds after any failure.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Every input record is reflected exactly once in what becomes visible.
    #[default]
    ExactlyOnce,
}
