//! What is read.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::Column;
use super::duration::Duration;
use super::kafka::{KafkaSource, Metadata};

/// A named input. Exactly one of files, kafka, generator is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = ("[has(self.files), has(self.kafka), has(self.generator)].filter(x, x).size() == 1", "set exactly one of files, kafka, generator"),
    validation = Rule::new("!has(self.generator) || !has(self.format)")
        .message("a generator makes rows without decoding; remove format")
        .field_path(".format"),
    validation = Rule::new("!has(self.generator) || has(self.files) || has(self.kafka) || self.columns.all(c, has(c.generate))")
        .message("with generator every column needs generate; set sequence, random or choice in it")
        .field_path(".columns"),
    validation = Rule::new("!(has(self.files) || has(self.kafka)) || has(self.generator) || self.columns.all(c, !has(c.generate))")
        .message("generate is for generator sources only; remove it, or set generator as the input")
        .field_path(".columns"),
    validation = Rule::new("!has(self.files) || !has(self.format) || !has(self.format.raw)")
        .message("raw is for kafka, whose records have bounds; set json, csv or parquet")
        .field_path(".format"),
    validation = Rule::new("!has(self.kafka) || !has(self.format) || !(has(self.format.csv) || has(self.format.parquet))")
        .message("a kafka record is no table; set json or raw")
        .field_path(".format"),
    validation = Rule::new("!has(self.kafka) || !has(self.format) || !has(self.format.raw) || (self.columns.size() == 1 && self.columns[0].type == 'VARBINARY')")
        .message("raw yields the record's bytes as they are; declare exactly one column, of type VARBINARY")
        .field_path(".columns"),
    validation = Rule::new("!has(self.metadata) || has(self.kafka) || self.metadata.size() == 0")
        .message("metadata is what kafka records have; remove it")
        .field_path(".metadata"),
    validation = Rule::new("!has(self.metadata) || self.metadata.all(m, !self.columns.exists(c, c.name == m.column))")
        .message("a metadata column has the name of one of columns; rename one of them")
        .field_path(".metadata"),
    validation = Rule::new("!has(self.eventTime) || self.columns.exists(c, c.name == self.eventTime.column && c.type == 'TIMESTAMP') || (has(self.metadata) && self.metadata.exists(m, m.column == self.eventTime.column && m.from == 'timestamp'))")
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
    /// Topics of a Kafka cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// Rows made from a seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorSource>,
    /// Encoding of rows; JSON when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Columns, by name; what else the data holds is not read.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub columns: Vec<Column>,
    /// Kafka only: further columns, from what stands around a record's value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["column".into()]))]
    pub metadata: Vec<Metadata>,
    /// Which column is the time of the event; windows need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTime>,
}

/// The one input that is set.
#[derive(Clone, Copy, Debug)]
pub enum SourceInput<'a> {
    Files(&'a FilesSource),
    Kafka(&'a KafkaSource),
    Generator(&'a GeneratorSource),
}

/// The one decoder that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoder {
    Json(JsonFormat),
    Csv(CsvFormat),
    Parquet(ParquetFormat),
    /// The bytes of a record's value, into the only column.
    Raw,
}

impl Source {
    /// `None` only for a spec that was not validated.
    pub fn input(&self) -> Option<SourceInput<'_>> {
        let files = self.files.as_ref().map(SourceInput::Files);
        let kafka = || self.kafka.as_ref().map(SourceInput::Kafka);
        files.or_else(kafka).or_else(|| self.generator.as_ref().map(SourceInput::Generator))
    }

    /// All columns that SQL sees: the declared ones, then those of metadata.
    pub fn all_columns(&self) -> Vec<Column> {
        let of_metadata = |metadata: &Metadata| Column {
            name: metadata.column.clone(),
            column_type: metadata.from.column_type(),
            generate: None,
        };
        self.columns.iter().cloned().chain(self.metadata.iter().map(of_metadata)).collect()
    }

    /// The format with its default: JSON that fails on an undecodable row.
    pub fn decoder(&self) -> Decoder {
        let format = self.format.clone().unwrap_or_default();
        if format.raw.is_some() {
            return Decoder::Raw;
        }
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
#[x_kube(validation = ("[has(self.json), has(self.csv), has(self.parquet), has(self.raw)].filter(x, x).size() <= 1", "set at most one of json, csv, parquet, raw"))]
pub struct Format {
    /// One object a line, or a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
    /// Comma separated values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvFormat>,
    /// Apache Parquet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetFormat>,
    /// Kafka only: the bytes of a record's value, into the only column; NULL for a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawFormat>,
}

/// JSON.
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

/// Bytes as they stand.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawFormat {}

/// What to do with a row that cannot be decoded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop with an error that names the input and the position.
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
    /// How far behind the newest row of the same file, partition or slice a row may be.
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
