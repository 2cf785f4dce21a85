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
    /// Where its records lie; one would do, more survive deleted topics and retention. At most [`Self::MOST_WITNESSES`].
    pub witnesses: Vec<Witness>,
}

/// The records of the transaction on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: i32,
    /// Of its first and its last record, as the broker acknowledged them.
    pub first_offset: i64,
    pub last_offset: i64,
}

impl PreparedTransaction {
    pub const MOST_WITNESSES: usize = 4;

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
        for witness in &self.witnesses {
            write!(f, ", {witness}")?;
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
    const STORED: &str = r#"{"clusterId":"c1","transactionalId":"onceward/1","producerId":7,"producerEpoch":3,"startMs":5,"timeoutMs":9,"recordCount":2,"witnesses":[{"topic":"out","topicId":"000000000000000000000000000000ff","partition":1,"firstOffset":10,"lastOffset":12}]}"#;

    #[test]
    fn the_stored_form_stays_readable() {
        let prepared: PreparedTransaction = serde_json::from_str(STORED).unwrap();
        assert_eq!(serde_json::to_string(&prepared).unwrap(), STORED);
        assert_eq!(prepared.witnesses[0].topic_id, TopicId(255));
        assert_eq!(
            prepared.to_string(),
            "transaction onceward/1 (producer 7, epoch 3, 2 records, out-1 offsets 10 to 12)"
        );
    }
}
