//! What is read.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::Column;
use super::duration::Duration;

/// A named input. Exactly one of files, generator is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.files), has(self.generator)].filter(x, x).size() == 1", "set exactly one of files, generator"),
    validation = Rule::new("!has(self.generator) || !has(self.format)")
        .message("a generator makes rows without decoding; remove format")
        .field_path(".format"),
    validation = Rule::new("!has(self.generator) || has(self.files) || self.columns.all(c, has(c.generate))")
        .message("with generator every column needs generate; set sequence, random or choice in it")
        .field_path(".columns"),
    validation = Rule::new("!has(self.files) || has(self.generator) || self.columns.all(c, !has(c.generate))")
        .message("generate is for generator sources only; remove it, or set generator in place of files")
        .field_path(".columns"),
    validation = Rule::new("!has(self.eventTime) || self.columns.exists(c, c.name == self.eventTime.column && c.type == 'TIMESTAMP')")
        .message("eventTime.column must be the name of a column of type TIMESTAMP")
        .field_path(".eventTime.column")
)]
pub struct Source {
    /// Name that SQL reads it by.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// Files, read once from their beginning to their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
    /// Rows made from a seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorSource>,
    /// Encoding of the files' rows; JSON Lines when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Columns, by name; what else the data holds is not read.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub columns: Vec<Column>,
    /// Which column is the time of the event; windows need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTime>,
}

/// The one input that is set.
#[derive(Clone, Copy, Debug)]
pub enum SourceInput<'a> {
    Files(&'a FilesSource),
    Generator(&'a GeneratorSource),
}

/// The one decoder that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoder {
    Json(JsonFormat),
    Csv(CsvFormat),
    Parquet(ParquetFormat),
}

impl Source {
    /// `None` only for a spec that was not validated.
    pub fn input(&self) -> Option<SourceInput<'_>> {
        let files = self.files.as_ref().map(SourceInput::Files);
        files.or_else(|| self.generator.as_ref().map(SourceInput::Generator))
    }

    /// The format with its default: JSON Lines that fail on an undecodable row.
    pub fn decoder(&self) -> Decoder {
        let format = self.format.clone().unwrap_or_default();
        match (format.csv, format.parquet) {
            (Some(csv), _) => Decoder::Csv(csv),
            (None, Some(parquet)) => Decoder::Parquet(parquet),
            (None, None) => Decoder::Json(format.json.unwrap_or_default()),
        }
    }
}

/// Files by path or glob; the set is resolved once, when a pipeline first starts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesSource {
    /// Path or glob (`data/orders*.jsonl`); relative ones resolve against the manifest's folder.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// Rows made from a seed: row k depends on (seed, k) only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorSource {
    /// How many rows; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub rows: Option<u64>,
    /// All subtasks together; absent: as fast as they are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_u64))]
    pub rows_per_second: Option<u64>,
    /// Another seed, other values.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
}

/// Encoding of rows. At most one field is set; none means json.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("[has(self.json), has(self.csv), has(self.parquet)].filter(x, x).size() <= 1", "set at most one of json, csv, parquet"))]
pub struct Format {
    /// JSON Lines: one object a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
    /// Comma separated values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvFormat>,
    /// Apache Parquet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetFormat>,
}

/// JSON Lines.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonFormat {
    /// What to do with a row that cannot be decoded.
    #[serde(default)]
    pub on_error: OnError,
}

/// Comma separated values, quoted as RFC 4180.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CsvFormat {
    /// The first line of each file names the columns; without it columns stand in the manifest's order.
    #[serde(default = "default_header")]
    pub header: bool,
    /// One ASCII character.
    #[serde(default = "default_delimiter")]
    #[schemars(length(min = 1, max = 1), regex(pattern = "^[ -~\t]$"))]
    pub delimiter: String,
    /// What to do with a row that cannot be decoded.
    #[serde(default)]
    pub on_error: OnError,
}

impl CsvFormat {
    /// The delimiter as a byte (a comma for a spec that was not validated).
    pub fn delimiter_byte(&self) -> u8 {
        self.delimiter.bytes().next().unwrap_or(b',')
    }
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { header: default_header(), delimiter: default_delimiter(), on_error: OnError::default() }
    }
}

/// Apache Parquet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParquetFormat {}

/// What to do with a row that cannot be decoded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop with an error that names file and position.
    #[default]
    Fail,
    /// Drop the row and count it.
    Skip,
}

/// Event time and how late rows may come.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.idleTimeout) || duration(self.idleTimeout) > duration('0s')")
    .message("idleTimeout must be longer than 0s; remove it to wait without limit")
    .field_path(".idleTimeout"))]
pub struct EventTime {
    /// A column of type TIMESTAMP.
    #[schemars(length(min = 1, max = 128))]
    pub column: String,
    /// How far behind the newest row of the same file or slice a row may be.
    #[serde(default)]
    pub max_out_of_orderness: Duration,
    /// A source that is silent this long no longer holds windows back; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
}

fn default_header() -> bool {
    true
}

fn default_delimiter() -> String {
    ",".to_owned()
}
