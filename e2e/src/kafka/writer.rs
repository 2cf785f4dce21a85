//! Transactions written by librdkafka and left open, as a worker that is gone leaves them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use runtime::clock::{Clock as _, SystemClock};
use runtime::connectors::kafka::client::Client;
use runtime::connectors::kafka::outcome::{PreparedTransaction, Witness};

/// For each blocking call of librdkafka.
const MOST_CALL: Duration = Duration::from_secs(30);

/// What became of the records.
#[derive(Default)]
struct Reports {
    state: Mutex<Delivered>,
}

#[derive(Default)]
struct Delivered {
    count: u64,
    failed: Vec<String>,
    /// First and last offset by topic and partition.
    offsets: BTreeMap<(String, i32), (i64, i64)>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err((error, _)) => state.failed.push(error.to_string()),
            Ok(message) => {
                state.count += 1;
                let place = (message.topic().to_owned(), message.partition());
                let offset = message.offset();
                let (first, last) = state.offsets.entry(place).or_insert((offset, offset));
                *first = offset.min(*first);
                *last = offset.max(*last);
            }
        }
    }
}

/// One handle with one transactional id.
pub struct Writer {
    id: String,
    timeout: Duration,
    producer: BaseProducer<Reports>,
}

impl Writer {
    /// Initialises `id` at a plaintext broker.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn start(bootstrap: &str, id: &str, timeout: Duration) -> Result<Self> {
        Self::start_with(bootstrap, id, timeout, &[])
    }

    /// As [`Self::start`], with settings of librdkafka.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn start_with(bootstrap: &str, id: &str, timeout: Duration, settings: &[(&str, &str)]) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("transactional.id", id);
        config.set("transaction.timeout.ms", timeout.as_millis().to_string());
        // Else they would follow the transaction's timeout, and a dead broker would go unnoticed for as long.
        let socket = timeout.min(Duration::from_secs(10));
        config.set("socket.timeout.ms", socket.as_millis().to_string());
        config.set("message.timeout.ms", timeout.as_millis().to_string());
        config.set("linger.ms", "0");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
        producer.init_transactions(MOST_CALL).context("init_transactions")?;
        Ok(Self { id: id.to_owned(), timeout, producer })
    }

    /// Begins a transaction and writes `count` records to each of `partitions`, all acknowledged.
    ///
    /// # Errors
    /// What librdkafka says, or a record that was not acknowledged.
    pub fn write(&self, partitions: &[(&str, i32)], count: u64) -> Result<()> {
        self.producer.begin_transaction().context("begin_transaction")?;
        for (topic, partition) in partitions {
            for n in 0..count {
                let (key, value) = (n.to_string(), format!("{}/{topic}-{partition}/{n}", self.id));
                let record = BaseRecord::to(topic).partition(*partition).key(&key).payload(&value);
                self.producer.send(record).map_err(|(error, _)| error).context("send")?;
            }
        }
        // Not `flush`: it waits a tenth of a second whatever there is.
        let clock = SystemClock;
        let begun = clock.monotonic();
        while self.producer.in_flight_count() > 0 {
            ensure!(clock.monotonic().saturating_sub(begun) < MOST_CALL, "records are not acknowledged");
            self.producer.poll(Duration::from_millis(1));
        }
        let state = self.producer.context().state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = count * partitions.len() as u64;
        if state.count != wanted || !state.failed.is_empty() {
            bail!("{} of {wanted} records were acknowledged; {:?}", state.count, state.failed);
        }
        Ok(())
    }

    /// Everything that another process needs to know of the open transaction. The handle goes without an abort.
    ///
    /// # Errors
    /// What the coordinator or the cluster says.
    pub async fn prepare(self, client: &Client) -> Result<PreparedTransaction> {
        let described = client.describe_transaction(&self.id).await?.context("the id is known")?;
        ensure!(described.state == "Ongoing", "{described:?}");
        let names: Vec<String> = described.partitions.iter().map(|(topic, _)| topic.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let metadata = client.metadata(&names).await?;
        let state = self.producer.context().state.lock().unwrap_or_else(PoisonError::into_inner);
        let witnesses = state.offsets.iter().map(|((topic, partition), (first_offset, last_offset))| {
            let found = metadata.topics.iter().find(|found| found.name == *topic).context("the topic is known")?;
            let (first_offset, last_offset) = (*first_offset, *last_offset);
            let (topic, topic_id, partition) = (topic.clone(), found.id, *partition);
            Ok(Witness { topic, topic_id, partition, first_offset, last_offset })
        });
        Ok(PreparedTransaction {
            cluster_id: metadata.cluster_id.clone(),
            transactional_id: self.id.clone(),
            producer_id: described.producer.id,
            producer_epoch: described.producer.epoch,
            start_ms: described.start_ms.context("an open transaction has begun")?,
            timeout_ms: self.timeout.as_millis() as i64,
            record_count: state.count,
            witnesses: witnesses.collect::<Result<_>>()?,
        })
    }
}
