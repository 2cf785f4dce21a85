//! What is kept of a transaction before its epoch is decided.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::connectors::kafka::client::{Producer, TopicId};

/// A flushed transaction that waits for its decision. Any process that has it can commit it and can find out what
/// became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedTransaction {
    /// Where: the same id elsewhere is another transaction.
    pub cluster_id: String,
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// When the coordinator saw it begin, in milliseconds since 1970 on its clock.
    pub start_ms: i64,
    /// How long after that the coordinator aborts it.
    pub timeout_ms: i64,
    /// Acknowledged records.
    pub record_count: u64,
    /// Where its records lie, on every partition: a commit may miss one (KAFKA-20734). Stored by topic.
    #[serde(rename = "topics", with = "by_topic")]
    pub witnesses: Vec<Witness>,
}

/// The records of the transaction on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: i32,
    /// Of its first and its last record, as the broker acknowledged them.
    pub first_offset: i64,
    pub last_offset: i64,
}

/// The short form of witnesses: there may be thousands.
mod by_topic {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{TopicId, Witness};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Records {
        topic: String,
        topic_id: TopicId,
        /// Partition, first offset, last offset.
        partitions: Vec<(i32, i64, i64)>,
    }

    pub(super) fn serialize<S: Serializer>(witnesses: &[Witness], serializer: S) -> Result<S::Ok, S::Error> {
        let is_same = |a: &Witness, b: &Witness| (&a.topic, a.topic_id) == (&b.topic, b.topic_id);
        let topic = |of: &[Witness]| {
            let first = of.first()?;
            let partitions = of.iter().map(|one| (one.partition, one.first_offset, one.last_offset)).collect();
            Some(Records { topic: first.topic.clone(), topic_id: first.topic_id, partitions })
        };
        let topics: Vec<Records> = witnesses.chunk_by(is_same).filter_map(topic).collect();
        topics.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Witness>, D::Error> {
        let topics = Vec::<Records>::deserialize(deserializer)?;
        let witnesses = topics.into_iter().flat_map(|Records { topic, topic_id, partitions }| {
            partitions.into_iter().map(move |(partition, first_offset, last_offset)| {
                let topic = topic.clone();
                Witness { topic, topic_id, partition, first_offset, last_offset }
            })
        });
        Ok(witnesses.collect())
    }
}

impl PreparedTransaction {
    /// Places that a message names.
    const MOST_NAMED: usize = 4;

    pub fn producer(&self) -> Producer {
        Producer { id: self.producer_id, epoch: self.producer_epoch }
    }
}

impl fmt::Display for PreparedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactional_id, producer_id, producer_epoch, record_count, .. } = self;
        write!(
            f,
            "transaction {transactional_id} (producer {producer_id}, epoch {producer_epoch}, {record_count} records"
        )?;
        for witness in self.witnesses.iter().take(Self::MOST_NAMED) {
            write!(f, ", {witness}")?;
        }
        if let Some(more) = self.witnesses.len().checked_sub(Self::MOST_NAMED).filter(|more| *more > 0) {
            write!(f, ", and {more} more partitions")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} offsets {} to {}", self.topic, self.partition, self.first_offset, self.last_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored in checkpoints: must be read for ever.
    const STORED: &str = r#"{"clusterId":"c1","transactionalId":"onceward/1","producerId":7,"producerEpoch":3,"startMs":5,"timeoutMs":9,"recordCount":2,"topics":[{"topic":"out","topicId":"000000000000000000000000000000ff","partitions":[[1,10,12],[4,0,0]]}]}"#;

    #[test]
    fn the_stored_form_stays_readable() {
        let prepared: PreparedTransaction = serde_json::from_str(STORED).unwrap();
        assert_eq!(serde_json::to_string(&prepared).unwrap(), STORED);
        assert_eq!(prepared.witnesses.iter().map(|one| one.topic_id).collect::<Vec<_>>(), [TopicId(255), TopicId(255)]);
        assert_eq!(
            prepared.to_string(),
            "transaction onceward/1 (producer 7, epoch 3, 2 records, out-1 offsets 10 to 12, out-4 offsets 0 to 0)"
        );
    }

    #[test]
    fn a_message_names_a_few_of_many_partitions() {
        let mut prepared: PreparedTransaction = serde_json::from_str(STORED).unwrap();
        prepared.witnesses = (0..7).map(|partition| Witness { partition, ..prepared.witnesses[0].clone() }).collect();
        let said = prepared.to_string();
        assert!(said.ends_with("out-3 offsets 10 to 12, and 3 more partitions)"), "{said}");
    }
}
