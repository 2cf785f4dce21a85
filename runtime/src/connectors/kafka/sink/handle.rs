//! One librdkafka producer under one transactional id, for one transaction: it is initialised ahead of time, written to
//! between two barriers, and dropped without an end. Whoever holds the decision ends it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::urge::urge;
use crate::connectors::Retry;
use crate::connectors::kafka::librdkafka::{log, retry_of};
use crate::worker::StopSignal;

/// Waits of librdkafka in one piece, so that a stop is noticed.
const PIECE: Duration = Duration::from_millis(500);
/// Pieces until an initialisation is given up, to be begun anew.
const MOST_PIECES: u32 = 60;

/// What librdkafka said, and whether waiting helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failed {
    pub(super) message: String,
    pub(super) retry: Retry,
}

/// Acknowledged records of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) partition: i32,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) count: u64,
}

/// Filled by delivery reports.
#[derive(Default)]
struct Reports {
    delivered: Mutex<Delivered>,
}

#[derive(Default)]
struct Delivered {
    /// By partition, as they come.
    partitions: Vec<Acknowledged>,
    failed: Option<Failed>,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Delivered> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log("error", &format!("{error}: {reason}"));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut delivered = self.lock();
        match result {
            Ok(message) => delivered.add(message.partition(), message.offset()),
            Err((error, message)) => {
                let place = format!("partition {} of topic `{}`", message.partition(), message.topic());
                delivered.failed.get_or_insert_with(|| Failed {
                    message: format!("a record was not taken by {place}: {error}"),
                    retry: retry_of(error.rdkafka_error_code()),
                });
            }
        }
    }
}

impl Delivered {
    fn add(&mut self, partition: i32, offset: i64) {
        match self.partitions.iter_mut().find(|known| known.partition == partition) {
            Some(known) => {
                known.first_offset = known.first_offset.min(offset);
                known.last_offset = known.last_offset.max(offset);
                known.count += 1;
            }
            None => {
                self.partitions.push(Acknowledged { partition, first_offset: offset, last_offset: offset, count: 1 });
            }
        }
    }
}

/// What became of a record that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    /// The queue is full: offer it again later.
    Full,
}

pub(super) struct Handle {
    producer: BaseProducer<Reports>,
    pub(super) id: String,
    pub(super) slot: u32,
}

impl Handle {
    /// Initialises `id` and begins its transaction, of which the broker learns with the first record. Blocks.
    ///
    /// # Errors
    /// The broker does not answer in time, or refuses; the attempt is over.
    pub(super) fn start(
        config: &ClientConfig,
        topic: &str,
        id: String,
        slot: u32,
        stop: &StopSignal,
    ) -> Result<Self, Failed> {
        let mut config = config.clone();
        config.set("transactional.id", &id);
        let failed = |error: &KafkaError| Failed {
            message: format!("transactional id `{id}` cannot be initialised: {error}"),
            retry: retry_of(error.rdkafka_error_code()),
        };
        let producer: BaseProducer<Reports> =
            config.create_with_context(Reports::default()).map_err(|error| failed(&error))?;
        // An initialisation that finds no broker connected looks again after half a second only. The first answer makes
        // librdkafka leave the bootstrap address for a broker that it names; with the second that one is connected.
        // Whatever is wrong, the initialisation says so, too.
        let _ = producer.client().fetch_metadata(Some(topic), PIECE);
        let _ = producer.client().fetch_metadata(Some(topic), PIECE);
        let mut pieces = 0;
        loop {
            match producer.init_transactions(PIECE) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && pieces < MOST_PIECES && !stop.is_stopped() =>
                {
                    pieces += 1;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        producer.begin_transaction().map_err(|error| failed(&error))?;
        Ok(Self { producer, id, slot })
    }

    /// Without transactions. Does not block.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub(super) fn plain(config: &ClientConfig) -> Result<Self, Failed> {
        let producer = config.create_with_context(Reports::default());
        let producer = producer.map_err(|error| Failed { message: error.to_string(), retry: Retry::Never })?;
        Ok(Self { producer, id: String::new(), slot: 0 })
    }

    /// Offers a record to librdkafka, which copies it.
    ///
    /// # Errors
    /// It is refused at once (too large, a transaction that has failed already).
    pub(super) fn offer(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Offered, Failed> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.key = key;
        record.payload = value;
        match self.producer.send(record) {
            Ok(()) => Ok(Offered::Taken),
            Err((error, _)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Ok(Offered::Full),
                code => Err(Failed { message: error.to_string(), retry: retry_of(code) }),
            },
        }
    }

    /// Takes delivery reports in.
    ///
    /// # Errors
    /// A record that was not taken.
    pub(super) fn poll(&self, wait: Duration) -> Result<(), Failed> {
        self.producer.poll(wait);
        match &self.producer.context().lock().failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(()),
        }
    }

    /// Has all that waits for `linger.ms` sent now. Blocks no longer than `most`; sees no acknowledgement.
    pub(super) fn urge(&self, most: Duration) {
        urge(&self.producer, most);
    }

    /// Records that are not acknowledged, or whose acknowledgement was not taken in.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.producer.context().lock().partitions.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_keep_first_last_and_count_of_each_partition() {
        let mut delivered = Delivered::default();
        for (partition, offset) in [(1, 7), (0, 3), (1, 9), (1, 8), (0, 2)] {
            delivered.add(partition, offset);
        }
        let expected =
            |partition, first_offset, last_offset, count| Acknowledged { partition, first_offset, last_offset, count };
        assert_eq!(delivered.partitions, [expected(1, 7, 9, 3), expected(0, 2, 3, 2)]);
    }
}
