//! Which batches of an answer were written by transactions that were aborted, told as Kafka's own consumer tells it.

use std::collections::HashSet;

use super::batch::{Batch, Head, Malformed};
use super::records::OpenBatch;

/// Goes through the batches of one answer, in order.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    /// (first offset, producer), the lowest offset last.
    begin: Vec<(i64, i64)>,
    /// Producers inside of an aborted transaction.
    inside: HashSet<i64>,
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rows,
    /// Written by the broker.
    Control,
    Aborted,
}

impl Aborted {
    /// `listed`: producer and first offset of each aborted transaction, as the answer lists them.
    pub(super) fn new(listed: &[(i64, i64)]) -> Self {
        let mut begin: Vec<_> = listed.iter().map(|(producer, first)| (*first, *producer)).collect();
        begin.sort_unstable_by(|a, b| b.cmp(a));
        Self { begin, inside: HashSet::new() }
    }

    /// # Errors
    /// A control batch that cannot be read.
    pub(super) fn judge(&mut self, batch: &Batch) -> Result<Kind, Malformed> {
        let head = &batch.head;
        if head.producer_id >= 0 {
            while self.begin.last().is_some_and(|(first, _)| *first <= head.last_offset) {
                self.inside.extend(self.begin.pop().map(|(_, producer)| producer));
            }
        }
        if head.is_control() {
            if is_abort_marker(batch)? {
                self.inside.remove(&head.producer_id);
            }
            return Ok(Kind::Control);
        }
        let is_aborted = |head: &Head| head.is_transactional() && self.inside.contains(&head.producer_id);
        Ok(if is_aborted(head) { Kind::Aborted } else { Kind::Rows })
    }
}

/// The key of a control batch's only record is a version and a type, 0 for an abort. A compacted one holds none.
fn is_abort_marker(batch: &Batch) -> Result<bool, Malformed> {
    let mut open = OpenBatch::open(batch)?;
    let record = open.next_record()?;
    let key = record.and_then(|record| record.key).unwrap_or_default();
    Ok(matches!(key, [_, _, 0, 0, ..]))
}
