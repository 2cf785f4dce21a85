//! Ends of transactions on one partition, written in the coordinator's place.

use kafka_protocol::messages::WriteTxnMarkersRequest;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};

use super::batches::Marker;
use super::cluster::Client;
use super::error::{Code, Error};
use super::partitions::name;
use super::transactions::Producer;

impl Client {
    /// Writes the end of what `producer` has open on a partition; returns when it is replicated. The partition asks nobody
    /// whether that is so: the caller must know that the coordinator has decided `end` for this very transaction.
    /// `coordinator_epoch`: what the partition knows of the producer's coordinator, and not more, so that no coordinator is
    /// fenced.
    ///
    /// # Errors
    /// No answer came, or a refusal: 31 without `CLUSTER_ACTION` (or `ALTER`, Kafka 4) on the cluster, 47 where the producer
    /// has a newer epoch there.
    ///
    /// # Source
    /// KIP-664, whose tool aborts hanging transactions by the same request.
    pub async fn write_marker(
        &self,
        (topic, partition): (&str, i32),
        producer: Producer,
        end: Marker,
        coordinator_epoch: i32,
    ) -> Result<(), Error> {
        let place = WritableTxnMarkerTopic::default().with_name(name(topic)).with_partition_indexes(vec![partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_transaction_result(end == Marker::Commit)
            .with_coordinator_epoch(coordinator_epoch.max(0))
            .with_topics(vec![place]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let code = |answer: &kafka_protocol::messages::WriteTxnMarkersResponse| {
            let topics = &answer.markers.first()?.topics;
            Some(Code(topics.first()?.partitions.first()?.error_code))
        };
        self.of_leader((topic, partition), &request, code).await?;
        Ok(())
    }
}
