//! Topics and their logs: where they are, what is in them, how far they go.

use std::fmt;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, FetchRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetForLeaderEpochRequest, TopicName, describe_producers_request,
};
use kafka_protocol::protocol::StrBytes;
use serde::{Deserialize, Serialize};

use super::batches::{self, Batch};
use super::cluster::{Client, is_misdirected};
use super::error::{Code, Error};
use super::transactions::refuse;
use super::wire::Ask;

/// A debug client's replica id: one that is no broker.
const NO_REPLICA: i32 = -1;

/// A topic's identity: another one after it was deleted and made again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(#[serde(with = "hexadecimal")] pub u128);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a topic id is 32 hexadecimal digits"))
    }
}

/// What a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Uncommitted,
    Committed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub cluster_id: String,
    pub brokers: Vec<Broker>,
    pub topics: Vec<Topic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    /// `host:port`.
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub id: TopicId,
    /// 3 where there is no such topic, or none that this user may see (then 29 where it is known).
    pub code: Code,
    /// By index.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: usize,
    pub in_sync: usize,
}

/// One fetch from one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub log_start_offset: i64,
    pub last_stable_offset: i64,
    pub high_watermark: i64,
    /// Producer id and first offset of each aborted transaction that the batches may belong to ([`Isolation::Committed`] only).
    pub aborted: Vec<(i64, i64)>,
    /// Heads, in order; the first may begin before the offset that was asked for.
    pub batches: Vec<Batch>,
}

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    Earliest,
    /// The end of what a reader of this isolation may see.
    Latest(Isolation),
    /// The first record whose time is this or later, in milliseconds since 1970.
    Time(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// None: no record is that late.
    pub offset: Option<i64>,
    pub leader_epoch: i32,
}

/// The end of what was written under a leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The highest epoch that is known and not above the one asked for; -1 for none.
    pub leader_epoch: i32,
    /// -1 for none.
    pub end_offset: i64,
}

/// A producer that a partition's leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: i64,
    pub epoch: i32,
    /// Of the coordinator that wrote its newest marker here; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub open_since: Option<i64>,
}

impl Client {
    /// Nodes, the cluster's id, and these topics (none if empty). Never creates one.
    ///
    /// # Errors
    /// No node answers.
    pub async fn metadata(&self, topics: &[&str]) -> Result<Metadata, Error> {
        let wanted = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic)))).collect();
        let request = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false);
        let answer = self.any(&request).await?;
        let broker = |broker: kafka_protocol::messages::metadata_response::MetadataResponseBroker| Broker {
            id: broker.node_id.0,
            address: match broker.host.as_str() {
                host if host.contains(':') => format!("[{host}]:{}", broker.port),
                host => format!("{host}:{}", broker.port),
            },
        };
        let topic = |topic: kafka_protocol::messages::metadata_response::MetadataResponseTopic| Topic {
            name: topic.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            id: TopicId(topic.topic_id.as_u128()),
            code: Code(topic.error_code),
            partitions: partitions(&topic.partitions),
        };
        let metadata = Metadata {
            cluster_id: answer.cluster_id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            brokers: answer.brokers.into_iter().map(broker).collect(),
            topics: answer.topics.into_iter().map(topic).collect(),
        };
        self.remember(&metadata);
        Ok(metadata)
    }

    /// Asks a partition's leader. What was remembered of it is forgotten when it was of no use.
    pub(super) async fn of_leader<R: Ask>(
        &self,
        (topic, partition): (&str, i32),
        request: &R,
        code: impl Fn(&R::Response) -> Option<Code>,
    ) -> Result<R::Response, Error> {
        let node = self.leader(topic, partition).await?;
        let answer = self.node(node, request).await;
        let code = answer.as_ref().ok().map(|answer| code(answer).ok_or_else(|| incomplete(R::NAME)));
        if code.as_ref().is_none_or(|code| code.as_ref().is_ok_and(|code| is_misdirected(*code))) {
            self.forget_leader(topic, partition);
        }
        if let Some(code) = code {
            refuse(R::NAME, || format!("{topic}-{partition}"), code?)?;
        }
        answer
    }

    /// What is in a partition's log from `offset` on, without waiting for more: at least one batch if there is one, and no
    /// further than `most_bytes`.
    ///
    /// # Errors
    /// No answer came, or a refusal: 1 out of range, 3 no such partition, 100 or 103 another topic of that name.
    pub async fn fetch(
        &self,
        (topic, id, partition): (&str, TopicId, i32),
        offset: i64,
        isolation: Isolation,
        most_bytes: i32,
    ) -> Result<Fetched, Error> {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(most_bytes);
        let wanted = FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(id.0)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_bytes(most_bytes)
            .with_isolation_level(level(isolation))
            .with_session_epoch(-1)
            .with_topics(vec![wanted]);
        let node = self.leader(topic, partition).await?;
        let bytes = self.node_raw(node, &request).await.inspect_err(|_| self.forget_leader(topic, partition))?;
        let answer = batches::answer(&bytes).ok_or_else(|| incomplete("Fetch"))?;
        let about = || format!("{topic}-{partition}");
        if is_misdirected(answer.code) || answer.partition.as_ref().is_some_and(|found| is_misdirected(found.code)) {
            self.forget_leader(topic, partition);
        }
        refuse("Fetch", about, answer.code)?;
        let found = answer.partition.filter(|found| found.index == partition && found.topic_id == id.0);
        let found = found.ok_or_else(|| incomplete("Fetch"))?;
        refuse("Fetch", about, found.code)?;
        Ok(Fetched {
            log_start_offset: found.log_start_offset,
            last_stable_offset: found.last_stable_offset,
            high_watermark: found.high_watermark,
            batches: batches::batches(found.records),
            aborted: found.aborted,
        })
    }

    /// An offset of a partition.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn offset(&self, topic: &str, partition: i32, at: OffsetAt) -> Result<OffsetFound, Error> {
        let (timestamp, isolation) = match at {
            OffsetAt::Earliest => (-2, Isolation::Uncommitted),
            OffsetAt::Latest(isolation) => (-1, isolation),
            OffsetAt::Time(time_ms) => (time_ms, Isolation::Uncommitted),
        };
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let wanted = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(NO_REPLICA.into())
            .with_isolation_level(level(isolation))
            .with_topics(vec![wanted]);
        let answer = self
            .of_leader((topic, partition), &request, |answer| {
                Some(Code(answer.topics.first()?.partitions.first()?.error_code))
            })
            .await?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| incomplete("ListOffsets"))?;
        let offset = Some(found.offset).filter(|offset| *offset >= 0);
        Ok(OffsetFound { offset, leader_epoch: found.leader_epoch })
    }

    /// How far the log went under `leader_epoch`: shorter than what was read means that records were lost.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn epoch_end(&self, topic: &str, partition: i32, leader_epoch: i32) -> Result<EpochEnd, Error> {
        let wanted = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(leader_epoch);
        let wanted = OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![wanted]);
        let request =
            OffsetForLeaderEpochRequest::default().with_replica_id(NO_REPLICA.into()).with_topics(vec![wanted]);
        let answer = self
            .of_leader((topic, partition), &request, |answer| {
                Some(Code(answer.topics.first()?.partitions.first()?.error_code))
            })
            .await?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| incomplete("OffsetForLeaderEpoch"))?;
        Ok(EpochEnd { leader_epoch: found.leader_epoch, end_offset: found.end_offset })
    }

    /// Producers that a partition's leader remembers.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn active_producers(&self, topic: &str, partition: i32) -> Result<Vec<ActiveProducer>, Error> {
        let wanted = describe_producers_request::TopicRequest::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
        let answer = self
            .of_leader((topic, partition), &request, |answer| {
                Some(Code(answer.topics.first()?.partitions.first()?.error_code))
            })
            .await?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| incomplete("DescribeProducers"))?;
        let active = found.active_producers.iter().map(|producer| ActiveProducer {
            id: producer.producer_id.0,
            epoch: producer.producer_epoch,
            coordinator_epoch: producer.coordinator_epoch,
            open_since: Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0),
        });
        Ok(active.collect())
    }

    /// Tells a group how far it got, for tools that show lag; nothing here goes by it. `offsets`: topic, partition, next offset.
    ///
    /// # Errors
    /// No answer came, or a refusal for one of them.
    pub async fn report_offsets(&self, group: &str, offsets: &[(&str, i32, i64)]) -> Result<(), Error> {
        let group_id = StrBytes::from_string(group.to_owned());
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group_id.clone()]);
        let found = self.any(&request).await?;
        let about = || format!("group {group}");
        let found = found.coordinators.first().ok_or_else(|| Error::Leaderless { about: about() })?;
        refuse("FindCoordinator", about, Code(found.error_code))?;
        let topics = offsets.iter().map(|(topic, partition, offset)| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1);
            OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(group_id))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        let answer = self.node(found.node_id.0, &request).await?;
        let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|found| Code(found.error_code));
        codes.try_for_each(|code| refuse("OffsetCommit", about, code))
    }
}

fn partitions(found: &[kafka_protocol::messages::metadata_response::MetadataResponsePartition]) -> Vec<Partition> {
    let mut partitions: Vec<_> = found
        .iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.len(),
            in_sync: partition.isr_nodes.len(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    partitions
}

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn level(isolation: Isolation) -> i8 {
    match isolation {
        Isolation::Uncommitted => 0,
        Isolation::Committed => 1,
    }
}

pub(super) fn incomplete(request: &'static str) -> Error {
    let message = "it does not say what was asked for".to_owned();
    Error::Malformed { address: "the leader".to_owned(), request, message }
}
