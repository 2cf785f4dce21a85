//! What one partition's reader and its fetcher share: answers that came and were not read yet, bounded by bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::batch::{Batch, Malformed};
use crate::connectors::SourceError;
use crate::connectors::kafka::client::{Answered, TopicId, Wanted};

/// Answers without a batch from a log that goes further, after which a bounded reader takes the offsets up to there for
/// empty: compaction may take all of them away. (Whoever reads without end just waits for the next record.)
const EMPTY_ANSWERS: u32 = 3;

/// A partition by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) id: TopicId,
    pub(super) partition: i32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topic `{}` partition {}", self.topic, self.partition)
    }
}

/// Whole batches, in order, as a broker sent them.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) records: Bytes,
    pub(super) aborted: Vec<(i64, i64)>,
    /// Offsets below it that no batch holds are not there.
    pub(super) empty_below: i64,
}

/// Where the fetcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) next: i64,
    /// -1: no batch was read.
    pub(super) leader_epoch: i32,
}

pub(super) struct Inbox {
    pub(super) place: Place,
    until: Option<i64>,
    /// Bytes that may wait; one answer more may come on top.
    most_bytes: usize,
    state: Mutex<State>,
    /// Tells the fetcher that there is something to do.
    room: watch::Sender<()>,
}

struct State {
    cursor: Cursor,
    queue: VecDeque<Fetched>,
    bytes: usize,
    last_stable: Option<i64>,
    /// The last answer held nothing, and there was nothing.
    is_caught_up: bool,
    empty_answers: u32,
    /// Tries to fetch that came to nothing, one after the other.
    failures: u32,
    /// Answers that knew no such topic, one after the other.
    missing: u32,
    failed: Option<SourceError>,
    is_over: bool,
}

impl Inbox {
    pub(super) fn new(
        place: Place,
        cursor: Cursor,
        until: Option<i64>,
        most_bytes: usize,
        room: watch::Sender<()>,
    ) -> Self {
        let state = State {
            cursor,
            queue: VecDeque::new(),
            bytes: 0,
            last_stable: None,
            is_caught_up: false,
            empty_answers: 0,
            failures: 0,
            missing: 0,
            failed: None,
            is_over: until.is_some_and(|until| cursor.next >= until),
        };
        Self { place, until, most_bytes, state: Mutex::new(state), room }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the reader: what came next.
    pub(super) fn pop(&self) -> Option<Fetched> {
        let mut state = self.state();
        let fetched = state.queue.pop_front()?;
        let was_full = state.bytes >= self.most_bytes;
        state.bytes = state.bytes.saturating_sub(fetched.records.len());
        if was_full && state.bytes < self.most_bytes {
            drop(state);
            self.room.send_replace(());
        }
        Some(fetched)
    }

    /// For the reader, when nothing is left to pop: why nothing will come, once.
    pub(super) fn failure(&self) -> Option<SourceError> {
        self.state().failed.take()
    }

    /// Whether the broker has said that there is nothing more, and nothing is left here.
    pub(super) fn is_caught_up(&self) -> bool {
        let state = self.state();
        state.is_caught_up && state.queue.is_empty() && state.failures == 0
    }

    /// How far committed records go.
    pub(super) fn last_stable(&self) -> Option<i64> {
        self.state().last_stable
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.state().cursor
    }

    /// Nothing is to be fetched any more.
    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Gives the partition up: the reader learns why when it has read the rest.
    pub(super) fn fail(&self, error: SourceError) {
        let mut state = self.state();
        state.is_over = true;
        state.failed = Some(error);
    }

    /// A try to fetch came to nothing.
    pub(super) fn count_failure(&self) {
        let mut state = self.state();
        state.is_caught_up = false;
        state.failures = state.failures.saturating_add(1);
    }

    /// Tries that came to nothing since the last answer.
    pub(super) fn failures(&self) -> u32 {
        self.state().failures
    }

    /// Nobody knows the topic. Returns how often that was said in a row.
    pub(super) fn count_missing(&self) -> u32 {
        let mut state = self.state();
        state.missing = state.missing.saturating_add(1);
        state.missing
    }

    pub(super) fn is_not_missing(&self) {
        self.state().missing = 0;
    }

    /// What to ask for. None: nothing now, for what came fills the room.
    pub(super) fn wanted(&self, leader_epoch: i32, most_bytes: i32) -> Option<Wanted> {
        let state = self.state();
        if state.is_over || state.bytes >= self.most_bytes {
            return None;
        }
        Some(Wanted {
            topic: self.place.id,
            partition: self.place.partition,
            offset: state.cursor.next,
            leader_epoch,
            last_epoch: state.cursor.leader_epoch,
            most_bytes,
        })
    }

    /// Takes what a broker answered. `was_first`: a batch came whatever the limits, if there was one. `whole_bytes`: of
    /// the answer, with all its partitions.
    ///
    /// # Errors
    /// What came are no batches.
    pub(super) fn push(&self, answered: Answered, was_first: bool, whole_bytes: usize) -> Result<(), Malformed> {
        let mut state = self.state();
        state.failures = 0;
        state.last_stable = Some(answered.last_stable_offset);
        let is_empty = answered.records.is_empty();
        let (records, end) = whole_batches(&answered.records, state.cursor)?;
        // What is kept keeps the answer that it is a part of: a small part is better copied.
        let records = if records.len() < whole_bytes / 2 { Bytes::copy_from_slice(&records) } else { records };
        let before = state.cursor.next;
        state.cursor = end;
        state.is_caught_up = is_empty && end.next >= answered.last_stable_offset;
        let is_hole = is_empty && was_first && end.next < answered.last_stable_offset;
        state.empty_answers = if is_hole { state.empty_answers + 1 } else { 0 };
        if let Some(until) = self.until {
            if state.empty_answers >= EMPTY_ANSWERS {
                state.cursor.next = until.min(answered.last_stable_offset);
            }
            state.is_over |= state.cursor.next >= until;
        }
        let empty_below = state.cursor.next;
        if empty_below > before {
            state.bytes += records.len();
            state.queue.push_back(Fetched { records, aborted: answered.aborted, empty_below });
        }
        Ok(())
    }
}

/// Leaves a batch out that is cut off, and tells where the others end.
fn whole_batches(records: &Bytes, begin: Cursor) -> Result<(Bytes, Cursor), Malformed> {
    let (mut rest, mut cursor) = (records.clone(), begin);
    while let Some(batch) = Batch::take(&mut rest)? {
        if batch.head.last_offset >= cursor.next {
            cursor = Cursor { next: batch.head.last_offset + 1, leader_epoch: batch.head.leader_epoch };
        }
    }
    Ok((records.slice(..records.len() - rest.len()), cursor))
}
