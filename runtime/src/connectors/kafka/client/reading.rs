//! Fetching as a stream of large answers: on a connection of its own, since a broker holds an answer back until there is
//! something to say. Records are handed on as they came.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use super::cluster::Client;
use super::connection::Connection;
use super::error::{Code, Error};
use super::partitions::TopicId;
use super::transactions::refuse;

/// A consumer's replica id.
const CONSUMER: i32 = -1;
/// No session: every request says all that it wants.
const NO_SESSION: i32 = -1;
const COMMITTED: i8 = 1;

/// A connection that fetches, one answer at a time.
pub struct Reading {
    connection: Connection,
}

/// What is wanted of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicId,
    pub partition: i32,
    pub offset: i64,
    /// The leader's epoch as the metadata has it: a node that leads no more, or not yet, says so. -1: whatever.
    pub leader_epoch: i32,
    /// Of the last batch that was read; the leader compares it with its own log. -1: none was read.
    pub last_epoch: i32,
    pub most_bytes: i32,
}

/// How long and for how much a broker holds an answer back, and how large it may be. One whole batch comes even so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub wait: Duration,
    pub least_bytes: i32,
    pub most_bytes: i32,
}

/// What came of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub topic: TopicId,
    pub partition: i32,
    pub code: Code,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// The log is another one than what was read: it parts from it behind this epoch and offset.
    pub parted: Option<(i32, i64)>,
    /// Producer id and first offset of each aborted transaction that the batches may belong to.
    pub aborted: Vec<(i64, i64)>,
    /// Batches; the first may begin before the offset that was asked for, the last may be cut off.
    pub records: Bytes,
}

impl Client {
    /// A connection to a node, for fetching.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn open_reading(&self, node: i32) -> Result<Reading, Error> {
        Ok(Reading { connection: self.dedicated(node).await? })
    }
}

impl Reading {
    /// Asks for committed records, in this order, and waits for the answer. After an error the connection is of no use.
    ///
    /// # Errors
    /// No answer came, or a refusal of the whole request; those of single partitions are told with them.
    pub async fn fetch(&mut self, wanted: &[Wanted], patience: Patience) -> Result<Vec<Answered>, Error> {
        let answer = self.connection.call(&request(wanted, patience)).await?;
        refuse("Fetch", || self.connection.address().to_owned(), Code(answer.error_code))?;
        Ok(answered(answer))
    }
}

fn request(wanted: &[Wanted], patience: Patience) -> FetchRequest {
    // The order of partitions is kept, for the first ones get the bytes: a topic may occur more than once.
    let mut topics: Vec<FetchTopic> = vec![];
    for wanted in wanted {
        let id = uuid::Uuid::from_u128(wanted.topic.0);
        let partition = FetchPartition::default()
            .with_partition(wanted.partition)
            .with_current_leader_epoch(wanted.leader_epoch)
            .with_fetch_offset(wanted.offset)
            .with_last_fetched_epoch(wanted.last_epoch)
            .with_partition_max_bytes(wanted.most_bytes);
        match topics.last_mut() {
            Some(topic) if topic.topic_id == id => topic.partitions.push(partition),
            _ => topics.push(FetchTopic::default().with_topic_id(id).with_partitions(vec![partition])),
        }
    }
    FetchRequest::default()
        .with_replica_id(CONSUMER.into())
        .with_max_wait_ms(i32::try_from(patience.wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(patience.least_bytes)
        .with_max_bytes(patience.most_bytes)
        .with_isolation_level(COMMITTED)
        .with_session_epoch(NO_SESSION)
        .with_topics(topics)
}

fn answered(answer: FetchResponse) -> Vec<Answered> {
    let of_topic = |topic: kafka_protocol::messages::fetch_response::FetchableTopicResponse| {
        let id = TopicId(topic.topic_id.as_u128());
        topic.partitions.into_iter().map(move |partition| of_partition(id, partition))
    };
    answer.responses.into_iter().flat_map(of_topic).collect()
}

fn of_partition(topic: TopicId, partition: PartitionData) -> Answered {
    let aborted = partition.aborted_transactions.unwrap_or_default();
    let parted = (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset);
    Answered {
        topic,
        partition: partition.partition_index,
        code: Code(partition.error_code),
        last_stable_offset: partition.last_stable_offset,
        log_start_offset: partition.log_start_offset,
        parted: Some(parted).filter(|(_, end)| *end >= 0),
        aborted: aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect(),
        records: partition.records.unwrap_or_default(),
    }
}

/// By topic and partition, to find what an answer is about.
pub fn by_place(answered: Vec<Answered>) -> BTreeMap<(TopicId, i32), Answered> {
    answered.into_iter().map(|answered| ((answered.topic, answered.partition), answered)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(topic: u128, partition: i32) -> Wanted {
        Wanted { topic: TopicId(topic), partition, offset: 1, leader_epoch: 2, last_epoch: 3, most_bytes: 4 }
    }

    #[test]
    fn partitions_are_asked_for_in_the_order_given() {
        let patience = Patience { wait: Duration::from_millis(7), least_bytes: 1, most_bytes: 9 };
        let request = request(&[wanted(1, 5), wanted(1, 4), wanted(2, 0), wanted(1, 6)], patience);
        let order: Vec<_> = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id.as_u128(), partition.partition)))
            .collect();
        assert_eq!(order, [(1, 5), (1, 4), (2, 0), (1, 6)]);
        assert_eq!((request.isolation_level, request.session_epoch, request.max_wait_ms), (1, -1, 7));
    }
}
