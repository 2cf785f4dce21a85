//! One librdkafka producer under one transactional id, for one transaction: it is initialised ahead of time, written to
//! between two barriers, and dropped without an end. Whoever holds the decision ends it.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::reports::{Acknowledged, Reports};
use super::rows::Records;
use super::urge::urge;
use crate::connectors::Retry;
use crate::connectors::kafka::librdkafka::retry_of;
use crate::origin::Origin;
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
    /// Source and place of the row that is to blame, where one is and it is known.
    pub(super) origin: Option<String>,
    /// The bytes of the largest record of requests that a broker has called too large.
    pub(super) too_large: Option<usize>,
}

impl Failed {
    /// Without a row to blame.
    pub(super) fn new(message: String, retry: Retry) -> Self {
        Self { message, retry, origin: None, too_large: None }
    }
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
        let failed = |error: &KafkaError| {
            let message = format!("transactional id `{id}` cannot be initialised: {error}");
            Failed::new(message, retry_of(error.rdkafka_error_code()))
        };
        let producer: BaseProducer<Reports> = config.create_with_context(Reports::default()).map_err(|error| {
            let retry = if is_of_a_setting(&error) { Retry::Never } else { failed(&error).retry };
            Failed { retry, ..failed(&error) }
        })?;
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
        let producer = producer.map_err(|error| Failed::new(error.to_string(), Retry::Never))?;
        Ok(Self { producer, id: String::new(), slot: 0 })
    }

    /// Offers records of a batch to librdkafka, which copies them, from the one at `begin` on; how many it has room for.
    ///
    /// # Errors
    /// One of them is refused at once (too large, a transaction that has failed already).
    pub(super) fn offer(
        &self,
        topic: &str,
        records: &Records,
        origin: Option<&Origin>,
        begin: usize,
    ) -> Result<usize, Failed> {
        let rows = records.len().saturating_sub(begin);
        let reports = self.producer.context();
        let first = reports.number(origin, begin, rows);
        for nth in 0..rows {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, first.wrapping_add(nth));
            (record.key, record.payload) = records.get(begin + nth);
            let Err((error, _)) = self.producer.send(record) else { continue };
            return match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) if nth > 0 || self.in_flight() > 0 => {
                    reports.give_back(rows - nth);
                    Ok(nth)
                }
                code => {
                    let origin = origin.and_then(|origin| origin.describe(begin + nth));
                    // Waiting makes no room where nothing waits.
                    let failed = if code == Some(RDKafkaErrorCode::QueueFull) {
                        let why = "it is larger than all that may wait to be sent (queue.buffering.max.kbytes)";
                        Failed::new(why.to_owned(), Retry::Never)
                    } else {
                        Failed::new(error.to_string(), retry_of(code))
                    };
                    Err(Failed { origin, ..failed })
                }
            };
        }
        Ok(rows)
    }

    /// Takes delivery reports in.
    ///
    /// # Errors
    /// A record that was not taken.
    pub(super) fn poll(&self, wait: Duration) -> Result<(), Failed> {
        self.producer.poll(wait);
        self.producer.context().failed().map_or(Ok(()), Err)
    }

    /// Has all that waits for `linger.ms` sent now. Blocks no longer than `most`; sees no acknowledgement.
    pub(super) fn urge(&self, most: Duration) {
        urge(&self.producer, most);
    }

    /// Records that are not acknowledged, and whatever librdkafka has to say that was not taken in.
    pub(super) fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.producer.context().acknowledged()
    }
}

/// One that librdkafka does not take, or not together with another one; and not that there are no threads left.
fn is_of_a_setting(error: &KafkaError) -> bool {
    match error {
        KafkaError::ClientConfig(..) => true,
        KafkaError::ClientCreation(why) => !why.contains("thread"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray};
    use arrow::record_batch::RecordBatch;

    use super::super::rows::RowEncoder;
    use super::*;
    use crate::origin::tests::Rows;
    use crate::worker::stop_signal;

    fn records(lengths: &[usize]) -> Records {
        let values = lengths.iter().map(|length| vec![b'x'; *length]).collect::<Vec<_>>();
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
        let rows = RecordBatch::try_from_iter([("value", values)]).unwrap();
        RowEncoder::new(&rows.schema(), &[], true).unwrap().encode(&rows).unwrap()
    }

    /// Nobody listens there, so that whatever finds room stays.
    fn config() -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("queue.buffering.max.kbytes", "2");
        config
    }

    #[test]
    fn a_record_that_never_finds_room_is_refused_with_its_row_and_the_others_wait() {
        let handle = Handle::plain(&config()).unwrap();
        let origin = Origin::new("numbers".into(), Arc::new(Rows(2)));
        // Whatever librdkafka says of the broker waits among the reports, and counts as in flight until it is taken in.
        let refused = (0..1_000).find_map(|_| {
            handle.poll(Duration::ZERO).unwrap();
            handle.offer("out", &records(&[3_000, 10]), Some(&origin), 0).err()
        });
        let failed = refused.expect("nothing is in flight");
        assert_eq!((failed.retry, failed.origin.as_deref()), (Retry::Never, Some("source `numbers`, row 0")));
        assert!(failed.message.contains("queue.buffering.max.kbytes"), "{failed}");
        let others = records(&[1_000, 3_000]);
        assert_eq!(handle.offer("out", &others, Some(&origin), 0), Ok(1));
        assert_eq!(
            handle.offer("out", &others, Some(&origin), 1),
            Ok(0),
            "there may be room once the first one is sent"
        );
    }

    #[test]
    fn a_setting_that_librdkafka_refuses_is_not_tried_again() {
        let (_stopper, stop) = stop_signal();
        let mut apart = config();
        apart.set("transaction.timeout.ms", "5000").set("socket.timeout.ms", "60000");
        for (config, named) in
            [(config().set("message.max.bytes", "5"), "message.max.bytes"), (&mut apart, "timeout.ms")]
        {
            let failed = Handle::start(config, "out", "id".to_owned(), 0, &stop).err().expect("it is refused");
            assert!(failed.retry == Retry::Never && failed.message.contains(named), "{failed}");
        }
    }
}
