//! Kafka as a source and as a sink.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checkpoint::CheckpointSpec;
use super::columns::ColumnType;
use super::duration::Duration;
use super::positions::{Bound, PartitionOffset, StartPosition, Until};

/// Records of topics, from all their partitions, those added later too (read from their beginning).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.until) || !has(self.untilOffsets)")
        .message("two ends are given; set at most one of until, untilOffsets")
        .field_path(".untilOffsets"),
    validation = Rule::new("!has(self.untilOffsets) || self.untilOffsets.all(o, o.topic in self.topics)")
        .message("untilOffsets has a topic that is not read; add it to topics, or remove it")
        .field_path(".untilOffsets"),
    validation = Rule::new("self.startFrom in ['Earliest', 'Latest', 'CommittedOffsets'] || timestamp(self.startFrom) >= timestamp('1970-01-01T00:00:00Z')")
        .message("startFrom lies before 1970; write Earliest")
        .field_path(".startFrom"),
    validation = Rule::new("!has(self.until) || self.until == 'Latest' || timestamp(self.until) >= timestamp('1970-01-01T00:00:00Z')")
        .message("until lies before 1970, so nothing would be read; write a later moment")
        .field_path(".until")
)]
pub struct KafkaSource {
    /// The connection, by name.
    #[schemars(length(min = 1, max = 63))]
    pub connection: String,
    /// Topics, by name.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 249), regex(pattern = TOPIC)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub topics: Vec<String>,
    /// Where a new pipeline begins: Earliest, Latest, `CommittedOffsets` (of groupId; a partition without one from its beginning), or the
    /// first record at or after a moment such as "2026-01-01T00:00:00Z". Resolved once; from then on checkpoints alone decide.
    #[serde(default)]
    pub start_from: StartPosition,
    /// Where reading ends: Latest (what is there when the pipeline first starts), or before the first record at or after a moment such as
    /// "2026-01-01T00:00:00Z". Absent, with untilOffsets absent too: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// Where reading ends, partition by partition; one that is not listed is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["topic".into(), "partition".into()]))]
    pub until_offsets: Option<Vec<PartitionOffset>>,
    /// Consumer group that positions are reported to after each checkpoint, for lag tools and `CommittedOffsets`; absent:
    /// `<transactionalIdPrefix>-<pipeline>`. Reading depends on no group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[!-~]+$"))]
    pub group_id: Option<String>,
}

/// What Kafka allows; names of dots alone are out.
pub(crate) const TOPIC: &str = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$";

impl KafkaSource {
    /// Where reading ends.
    pub fn bound(&self) -> Bound<'_> {
        match (&self.until_offsets, &self.until) {
            (Some(offsets), _) => Bound::Offsets(offsets),
            (None, Some(Until::Latest)) => Bound::Latest,
            (None, Some(Until::Moment(moment))) => Bound::Moment(moment),
            (None, None) => Bound::Unbounded,
        }
    }

    /// The group that positions are reported to. `prefix`: the connection's; `pipeline`: its `metadata.name`.
    pub fn group(&self, prefix: &str, pipeline: &str) -> String {
        self.group_id.clone().unwrap_or_else(|| format!("{prefix}-{pipeline}"))
    }
}

/// A column that comes from the record around the value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name in SQL; none of `columns`.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_@$][A-Za-z0-9_@$.-]*$"))]
    pub column: String,
    /// What it holds, which gives its type: key VARBINARY, partition INT, offset BIGINT, timestamp TIMESTAMP, headers VARCHAR.
    pub from: RecordPart,
}

/// Parts of a record beside its value; docs/types.md says what a column holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum RecordPart {
    Key,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

impl RecordPart {
    /// The type of a column that holds it.
    pub fn column_type(self) -> ColumnType {
        match self {
            Self::Key => ColumnType::Varbinary,
            Self::Partition => ColumnType::Int,
            Self::Offset => ColumnType::BigInt,
            Self::Timestamp => ColumnType::Timestamp,
            Self::Headers => ColumnType::Varchar,
        }
    }
}

/// A topic, one record a row.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.transactionTimeout) || (duration(self.transactionTimeout) >= duration('1s') && duration(self.transactionTimeout) <= duration('596h'))")
        .message("transactionTimeout must be 1s to 596h, which is what Kafka can hold")
        .field_path(".transactionTimeout"),
    validation = Rule::new("!has(self.commitBudget) || duration(self.commitBudget) >= duration('1ms')")
        .message("commitBudget must be longer than 0s; remove it for a quarter of transactionTimeout")
        .field_path(".commitBudget")
)]
pub struct KafkaSink {
    /// The connection, by name.
    #[schemars(length(min = 1, max = 63))]
    pub connection: String,
    /// The topic; it is not created.
    #[schemars(length(min = 1, max = 249), regex(pattern = TOPIC))]
    pub topic: String,
    /// Columns that make the record's key, in this order; absent: no key. Rows of one key keep their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub key: Vec<String>,
    /// How long a broker keeps a transaction that nobody ends. Must outlast every outage to be survived, for past it a decided output is lost;
    /// an abandoned one holds readers back as long. Absent: what the broker allows, at most 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_timeout: Option<Duration>,
    /// How much of it is kept for committing what is decided; absent: a quarter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_budget: Option<Duration>,
}

impl KafkaSink {
    /// How much of `transaction_timeout` (the manifest's, or what the broker allows) is kept for committing.
    pub fn commit_budget_of(&self, transaction_timeout: Duration) -> Duration {
        self.commit_budget.unwrap_or_else(|| Duration::from_millis(transaction_timeout.as_millis() / 4))
    }

    /// What a transaction's timeout must be longer than: all the checkpoints that may fail before one decides it, and the
    /// commit's budget.
    pub fn needed_timeout(&self, checkpoint: &CheckpointSpec) -> Duration {
        let undecided = checkpoint.longest_undecided().as_millis();
        let needed = match self.commit_budget {
            Some(budget) => undecided.saturating_add(budget.as_millis()),
            // A quarter is kept: three quarters must be longer than what is waited for.
            None => undecided.saturating_mul(4) / 3,
        };
        Duration::from_millis(needed)
    }
}
