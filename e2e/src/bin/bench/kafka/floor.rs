//! What librdkafka needs by itself: as many records as the filter writes, from a buffer into a topic.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kafka::Broker;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::batch::process_cpu;

/// CPU-seconds for each million records, with the sink's settings, keys and 100 bytes of value.
pub(crate) fn cpu_seconds(broker: &Broker, topic: &str, records: u64) -> Result<f64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random").set("linger.ms", "5").set("batch.num.messages", "100000");
    config.set("queue.buffering.max.messages", "200000").set("queue.buffering.max.kbytes", "32768");
    let producer: BaseProducer = config.create()?;
    let value = [b'x'; 100];
    let before = process_cpu();
    for n in 0..records {
        let key = (n % 10_000).to_be_bytes();
        loop {
            match producer.send(BaseRecord::to(topic).key(&key).payload(&value)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    ensure!(records > 0, "no records");
    Ok(process_cpu().saturating_sub(before).as_secs_f64() * 1e6 / records as f64)
}
