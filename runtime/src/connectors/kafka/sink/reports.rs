//! What brokers say of the records of one producer, and which rows these are.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use super::handle::Failed;
use crate::connectors::Retry;
use crate::connectors::kafka::librdkafka::{log, retry_of};
use crate::origin::Origin;

/// Records whose rows are remembered: more than librdkafka holds by itself. Older ones are told without their place.
const MOST_REMEMBERED: usize = 1 << 18;
/// Batches whose rows are remembered: of one that a filter has left a single row, the places of its whole chunk are kept.
const MOST_BATCHES: usize = 256;

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
pub(super) struct Reports {
    delivered: Mutex<Delivered>,
    offered: Mutex<Tickets>,
}

#[derive(Default)]
struct Delivered {
    /// By partition, as they come.
    partitions: Vec<Acknowledged>,
    failed: Option<(Failed, usize)>,
}

/// Numbers of the records that were offered, in order.
#[derive(Default)]
struct Tickets {
    next: usize,
    remembered: usize,
    batches: VecDeque<Offered>,
}

/// Rows of a batch from one on, each with the next number.
struct Offered {
    ticket: usize,
    row: usize,
    rows: usize,
    origin: Option<Origin>,
}

impl Reports {
    pub(super) fn failed(&self) -> Option<Failed> {
        self.lock().failed.as_ref().map(|(failed, _)| failed.clone())
    }

    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.lock().partitions.clone()
    }

    /// `rows` rows of a batch, from `row` on, are about to be offered: the number of the first of them.
    pub(super) fn number(&self, origin: Option<&Origin>, row: usize, rows: usize) -> usize {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).add(origin, row, rows)
    }

    /// The last `rows` rows that were given numbers found no room.
    pub(super) fn give_back(&self, rows: usize) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).give_back(rows);
    }

    fn lock(&self) -> MutexGuard<'_, Delivered> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origin(&self, ticket: usize) -> Option<String> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).origin(ticket)
    }
}

impl Tickets {
    fn add(&mut self, origin: Option<&Origin>, row: usize, rows: usize) -> usize {
        let ticket = self.next;
        self.next = ticket.wrapping_add(rows);
        self.batches.push_back(Offered { ticket, row, rows, origin: origin.cloned() });
        self.remembered += rows;
        while (self.remembered > MOST_REMEMBERED || self.batches.len() > MOST_BATCHES)
            && let Some(oldest) = self.batches.pop_front()
        {
            self.remembered -= oldest.rows;
        }
        ticket
    }

    fn give_back(&mut self, rows: usize) {
        if let Some(last) = self.batches.back_mut() {
            let rows = rows.min(last.rows);
            last.rows -= rows;
            self.remembered -= rows;
            self.next = self.next.wrapping_sub(rows);
            if last.rows == 0 {
                self.batches.pop_back();
            }
        }
    }

    fn origin(&self, ticket: usize) -> Option<String> {
        let batch = self.batches.iter().rev().find(|batch| batch.ticket <= ticket)?;
        let nth = ticket - batch.ticket;
        batch.origin.as_ref().filter(|_| nth < batch.rows)?.describe(batch.row + nth)
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
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        match result {
            Ok(message) => self.lock().add(message.partition(), message.offset()),
            Err((error, message)) => {
                let bytes = message.payload_len() + message.key_len();
                let code = error.rdkafka_error_code();
                let retry = retry_of(code);
                let mut delivered = self.lock();
                if !delivered.is_worse(retry, bytes) {
                    return;
                }
                let place = format!("partition {} of topic `{}`", message.partition(), message.topic());
                let message = format!("a record of {bytes} bytes was not taken by {place}: {error}");
                let is_too_large = matches!(
                    code,
                    Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
                );
                let too_large = is_too_large.then_some(bytes);
                delivered.failed = Some((Failed { message, retry, origin: self.origin(ticket), too_large }, bytes));
            }
        }
    }
}

impl Delivered {
    /// A broker refuses the records of a request together. That one of them is too large is the largest one's fault, and
    /// those that had no fault of their own say something that time may heal.
    fn is_worse(&self, retry: Retry, bytes: usize) -> bool {
        match &self.failed {
            None => true,
            Some((known, known_bytes)) => {
                retry == Retry::Never && (known.retry == Retry::Backoff || bytes > *known_bytes)
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::origin::tests::Rows;

    fn origin(source: &str) -> Origin {
        Origin::new(source.into(), Arc::new(Rows(usize::MAX))).from(100)
    }

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

    #[test]
    fn numbers_lead_back_to_rows_also_of_what_found_no_room_at_first() {
        let mut tickets = Tickets::default();
        assert_eq!(tickets.add(Some(&origin("a")), 0, 10), 0);
        assert_eq!(tickets.add(None, 0, 5), 10);
        assert_eq!(tickets.add(Some(&origin("b")), 0, 8), 15);
        tickets.give_back(4);
        for _ in 0..1_000 {
            assert_eq!(tickets.add(Some(&origin("b")), 4, 4), 19);
            tickets.give_back(4);
        }
        assert_eq!(tickets.add(Some(&origin("b")), 4, 4), 19);
        assert_eq!((tickets.batches.len(), tickets.remembered), (4, 23));
        let told = |ticket| tickets.origin(ticket);
        assert_eq!(told(9).as_deref(), Some("source `a`, row 109"));
        assert_eq!(told(12), None, "rows that are made of several");
        assert_eq!(told(18).as_deref(), Some("source `b`, row 103"));
        assert_eq!(told(19).as_deref(), Some("source `b`, row 104"));
        assert_eq!(told(23), None, "none has this number yet");
    }

    #[test]
    fn no_more_rows_are_remembered_than_the_bound() {
        let mut tickets = Tickets::default();
        for _ in 0..4 {
            tickets.add(Some(&origin("a")), 0, MOST_REMEMBERED / 2);
        }
        assert_eq!(tickets.remembered, MOST_REMEMBERED);
        assert_eq!(tickets.batches.len(), 2);
        assert_eq!(tickets.origin(0), None);
        assert_eq!(tickets.origin(MOST_REMEMBERED).as_deref(), Some("source `a`, row 100"));
    }

    #[test]
    fn places_of_chunks_that_left_a_row_each_are_not_kept_for_ever() {
        let mut tickets = Tickets::default();
        let places: Vec<Arc<Rows>> = (0..2 * MOST_BATCHES).map(|_| Arc::new(Rows(1))).collect();
        for places in &places {
            let origin = Origin::new("a".into(), Arc::<Rows>::clone(places));
            tickets.add(Some(&origin), 0, 1);
        }
        let kept = places.iter().filter(|places| Arc::strong_count(places) > 1).count();
        assert_eq!((kept, tickets.remembered), (MOST_BATCHES, MOST_BATCHES));
        assert_eq!(tickets.origin(2 * MOST_BATCHES - 1).as_deref(), Some("source `a`, row 0"));
    }

    #[test]
    fn of_records_that_are_refused_together_the_largest_is_named() {
        let mut delivered = Delivered::default();
        let mut fail = |retry, bytes| {
            let is_worse = delivered.is_worse(retry, bytes);
            if is_worse {
                delivered.failed = Some((Failed::new(String::new(), retry), bytes));
            }
            is_worse
        };
        assert!(fail(Retry::Backoff, 700));
        assert!(!fail(Retry::Backoff, 900));
        assert!(fail(Retry::Never, 100));
        assert!(fail(Retry::Never, 101));
        assert!(!fail(Retry::Never, 101));
        assert!(!fail(Retry::Backoff, 1_000));
    }
}
