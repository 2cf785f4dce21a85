//! From an open transaction to a committable: every record acknowledged, the producer known to the coordinator.

use std::sync::Arc;

use checkpoint::ids::Epoch;
use checkpoint::manifest::{Committable, Expiry};
use tokio::runtime;

use super::Target;
use super::handle::Failed;
use super::reports::Acknowledged;
use super::writer::Open;
use crate::connectors::kafka::client::{Backoff, Coordinated, TopicId};
use crate::connectors::kafka::outcome::{PreparedTransaction, Witness};
use crate::connectors::{Retry, SinkError, WriterIdentity};
use crate::crashpoint;
use crate::worker::StopSignal;

/// What a pre-commit needs, away from the data path.
pub(super) struct Sealing {
    pub(super) target: Arc<Target>,
    pub(super) identity: WriterIdentity,
    pub(super) stop: StopSignal,
    pub(super) runtime: runtime::Handle,
}

impl Sealing {
    /// Blocks until the brokers have everything, however long that takes: a checkpoint that times out is covered by the
    /// next, and librdkafka gives up when the transaction would have expired.
    ///
    /// # Errors
    /// A record that was not taken; a coordinator that knows another transaction under this id, or none; a stop.
    pub(super) fn seal(&self, open: &Open, epoch: Epoch) -> Result<Committable, SinkError> {
        let target = &self.target;
        target.flush(&open.handle, epoch, &self.stop)?;
        let acknowledged = open.handle.acknowledged();
        let count: u64 = acknowledged.iter().map(|partition| partition.count).sum();
        if count != open.records {
            return Err(target.transient(format!("{count} of {} records were acknowledged", open.records)));
        }
        self.hit("kafka.flushed")?;
        let prepared = self.runtime.block_on(self.prepared(open, &acknowledged))?;
        self.hit("kafka.described")?;
        let handle = serde_json::to_string(&prepared)
            .map_err(|error| SinkError::Committable { sink: target.sink.clone(), message: error.to_string() })?;
        let limits = target.limits();
        Ok(Committable {
            sink: target.sink.clone(),
            writer: self.identity.subtask,
            attempt: self.identity.attempt,
            epoch,
            rows: open.records,
            expiry: Some(Expiry {
                start_ms: open.start.unwrap_or_default().as_millis() as u64,
                timeout_ms: limits.transaction_timeout.as_millis() as u64,
                commit_budget_ms: limits.commit_budget.as_millis() as u64,
            }),
            handle,
        })
    }

    fn hit(&self, step: &'static str) -> Result<(), SinkError> {
        crashpoint::hit(step).map_err(|error| self.target.transient(error.to_string()))
    }

    /// The coordinator's word on producer, epoch and start: it is what an end will be compared with.
    async fn prepared(&self, open: &Open, acknowledged: &[Acknowledged]) -> Result<PreparedTransaction, SinkError> {
        let (target, id) = (&self.target, open.handle.id.as_str());
        let client = &target.client;
        let told = |error| target.asked("the transaction cannot be described", &error);
        let described = client.retried(&Backoff::SHORT, || client.describe_transaction(id)).await.map_err(told)?;
        let described = described.filter(|described| described.state == "Ongoing");
        let Some((described, start_ms)) =
            described.and_then(|described| described.start_ms.map(|start| (described, start)))
        else {
            return Err(target.transient(format!("transaction `{id}` is not open any more: the broker has ended it")));
        };
        check_partitions(&described, &target.topic, acknowledged).map_err(|failed| target.failed(&failed))?;
        let topics = [target.topic.as_str()];
        let metadata = client.retried(&Backoff::SHORT, || client.metadata(&topics)).await.map_err(told)?;
        let topic = metadata.topics.iter().find(|topic| topic.name == target.topic && topic.code.is_none());
        let topic = topic.ok_or_else(|| target.transient(format!("topic `{}` is gone", target.topic)))?;
        target.note_partitions(topic.partitions.len());
        Ok(PreparedTransaction {
            cluster_id: metadata.cluster_id,
            transactional_id: id.to_owned(),
            producer_id: described.producer.id,
            producer_epoch: described.producer.epoch,
            start_ms,
            timeout_ms: i64::from(described.timeout_ms),
            record_count: open.records,
            witnesses: witnesses(&target.topic, topic.id, acknowledged),
        })
    }
}

/// Partitions that took records must be part of what an end will end.
fn check_partitions(described: &Coordinated, topic: &str, acknowledged: &[Acknowledged]) -> Result<(), Failed> {
    let is_part =
        |partition: i32| described.partitions.iter().any(|(name, index)| name == topic && *index == partition);
    match acknowledged.iter().find(|one| !is_part(one.partition)) {
        None => Ok(()),
        Some(one) => Err(Failed::new(
            format!(
                "partition {} of topic `{topic}` took records of transaction `{}`, and the coordinator does not count it in",
                one.partition, described.transactional_id
            ),
            Retry::Backoff,
        )),
    }
}

fn witnesses(topic: &str, topic_id: TopicId, acknowledged: &[Acknowledged]) -> Vec<Witness> {
    let witness = |one: &Acknowledged| Witness {
        topic: topic.to_owned(),
        topic_id,
        partition: one.partition,
        first_offset: one.first_offset,
        last_offset: one.last_offset,
    };
    acknowledged.iter().map(witness).collect()
}
