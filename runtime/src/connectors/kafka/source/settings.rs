//! What the manifest says of a source, and how much it may hold and wait.

use std::time::Duration;

use api::pipeline::{KafkaProperties, KafkaSource as Manifest, PartitionOffset, StartPosition};

use crate::connectors::kafka::client::{Backoff, Patience};

/// Bytes of one partition in an answer, unless the manifest says otherwise; a larger batch comes whole.
const PARTITION_BYTES: u32 = 1 << 20;
/// Bytes of one answer.
const ANSWER_BYTES: i32 = 8 << 20;
/// Kilobytes that a reader holds before they are rows, unless the manifest says otherwise.
const QUEUED_KILOBYTES: u32 = 32 << 10;
/// Most and least of it for one partition.
const QUEUED_OF_PARTITION: (usize, usize) = (4 << 20, 64 << 10);
/// How long a broker waits for records, unless the manifest says otherwise.
const WAIT_MS: u32 = 100;
/// The same while a partition is left out because it has no room: it must not wait for the others' records.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(5);
/// How often topics are asked for new partitions, unless the manifest says otherwise.
const DISCOVERY_MS: u32 = 30_000;
const FIRST_BACKOFF_MS: u32 = 50;

/// Where reading ends, as the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Never,
    /// What is committed when a new pipeline starts.
    Latest,
    /// Before the first record of this time or later, in milliseconds since 1970.
    Time(i64),
    /// Partitions that are not among them are not read.
    Offsets(Vec<PartitionOffset>),
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) topics: Vec<String>,
    pub(super) start: StartPosition,
    pub(super) end: End,
    pub(super) group: String,
}

impl Reading {
    /// `prefix`: of the connection; `pipeline`: its name.
    pub(super) fn new(manifest: &Manifest, prefix: &str, pipeline: &str) -> Self {
        use api::pipeline::Bound;
        let end = match manifest.bound() {
            Bound::Unbounded => End::Never,
            Bound::Latest => End::Latest,
            Bound::Moment(moment) => End::Time(moment.millis()),
            Bound::Offsets(offsets) => End::Offsets(offsets.to_vec()),
        };
        Self {
            topics: manifest.topics.clone(),
            start: manifest.start_from.clone(),
            end,
            group: manifest.group(prefix, pipeline),
        }
    }

    pub(super) fn is_endless(&self) -> bool {
        self.end == End::Never
    }

    pub(super) fn topic_names(&self) -> Vec<&str> {
        self.topics.iter().map(String::as_str).collect()
    }
}

/// Bounds of fetching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) patience: Patience,
    pub(super) partition_bytes: i32,
    pub(super) backoff: Backoff,
    pub(super) discovery: Duration,
    queued_bytes: usize,
}

impl Limits {
    pub(super) fn new(properties: &KafkaProperties) -> Self {
        let millis = |set: Option<u32>, default: u32| Duration::from_millis(u64::from(set.unwrap_or(default)));
        let count = |set: Option<u32>, default: u32| i32::try_from(set.unwrap_or(default)).unwrap_or(i32::MAX);
        let partition_bytes = count(properties.max_partition_fetch_bytes, PARTITION_BYTES);
        let patience = Patience {
            wait: millis(properties.fetch_wait_max_ms, WAIT_MS),
            least_bytes: count(properties.fetch_min_bytes, 1),
            most_bytes: ANSWER_BYTES.max(partition_bytes),
        };
        let first = millis(properties.fetch_error_backoff_ms, FIRST_BACKOFF_MS).max(Duration::from_millis(1));
        Self {
            patience,
            partition_bytes,
            // Tried for as long as the attempt lives.
            backoff: Backoff { first, most: first.max(Duration::from_secs(1)), tries: u32::MAX },
            discovery: millis(properties.topic_metadata_refresh_interval_ms, DISCOVERY_MS),
            queued_bytes: (properties.queued_max_messages_kbytes.unwrap_or(QUEUED_KILOBYTES) as usize) << 10,
        }
    }

    /// Bytes that may wait for a reader of one partition among so many.
    pub(super) fn room(&self, partitions: usize) -> usize {
        let (most, least) = QUEUED_OF_PARTITION;
        (self.queued_bytes / partitions.max(1)).clamp(least, most)
    }

    /// How long to wait for an answer; `is_held_up`: a partition has no room and is not asked for.
    pub(super) fn patience(&self, is_held_up: bool) -> Patience {
        let wait = if is_held_up { self.patience.wait.min(WAIT_FOR_ROOM) } else { self.patience.wait };
        Patience { wait, ..self.patience }
    }
}
