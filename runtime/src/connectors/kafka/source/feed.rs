//! One partition as a split: batches to rows, with the place behind each row.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::answer::{Answer, Step};
use super::batch::Malformed;
use super::columns::{self, Parts};
use super::inbox::Inbox;
use super::position::Position;
use super::records::{OpenBatch, Record};
use crate::connectors::formats::json::JsonDecoder;
use crate::connectors::formats::json_text::Fault;
use crate::connectors::formats::records::{BadRecord, CHUNK_ROWS, Mark, OnFault, Rows};
use crate::connectors::reader::{Fed, Feed};
use crate::connectors::{Lag, Reached, SourceError};
use crate::origin::Places;

/// Bytes of values in a chunk; one record more may come on top.
const CHUNK_BYTES: usize = 4 << 20;
/// Until the partition is looked at again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
const FIX: &str = "set `onError: Skip` in the source's format to leave such records out, counted";

/// How a value becomes columns.
pub(super) enum Values {
    Json(JsonDecoder),
    /// Its bytes go into this column, if anybody wants them.
    Raw(Option<usize>),
}

/// What all partitions of a source have in common.
pub(super) struct Columns {
    pub(super) source: Arc<str>,
    pub(super) schema: SchemaRef,
    pub(super) parts: Parts,
}

/// How far one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    next: i64,
    leader_epoch: Option<i32>,
}

pub(super) struct PartitionFeed {
    columns: Arc<Columns>,
    /// Right behind the last delivered row.
    position: Position,
    inbox: Arc<Inbox>,
    values: Values,
    rows: Rows,
    /// Behind each row of the chunk.
    behind: Arc<Vec<Point>>,
    /// Where the chunk began.
    begun: i64,
    /// Behind all that was read.
    read: Point,
    answer: Option<Answer>,
    batch: Option<OpenBatch>,
    bytes: u64,
    pause: Duration,
}

impl PartitionFeed {
    pub(super) fn new(
        columns: Arc<Columns>,
        position: Position,
        inbox: Arc<Inbox>,
        values: Values,
        rows: Rows,
    ) -> Self {
        let read = Point { next: position.next, leader_epoch: position.leader_epoch };
        Self {
            columns,
            begun: position.next,
            position,
            inbox,
            values,
            rows,
            behind: Arc::default(),
            read,
            answer: None,
            batch: None,
            bytes: 0,
            pause: PAUSE.0,
        }
    }

    /// Records that could be read and were not, once a broker has said.
    pub(super) fn lag(&self) -> Option<Lag> {
        let stable = self.inbox.last_stable()?;
        let end = self.position.until.map_or(stable, |until| until.min(stable));
        Some(Lag {
            topic: self.position.topic.clone(),
            partition: self.position.partition.unsigned_abs(),
            records: u64::try_from(end - self.position.next).unwrap_or(0),
        })
    }

    pub(super) fn at(&self) -> &Position {
        &self.position
    }

    fn has_ended(&self) -> bool {
        self.position.until.is_some_and(|until| self.read.next >= until)
    }

    /// Goes on to `next`, never back and never beyond the end.
    fn reach(&mut self, next: i64, leader_epoch: Option<i32>) {
        let next = next.max(self.read.next);
        let next = self.position.until.map_or(next, |until| next.min(until));
        self.read = Point { next, leader_epoch: leader_epoch.or(self.read.leader_epoch) };
    }

    /// Reads records until the chunk is full or nothing is there.
    fn fill(&mut self) -> Result<(), SourceError> {
        let before = self.bytes;
        while self.rows.row() < CHUNK_ROWS && self.bytes - before < CHUNK_BYTES as u64 && !self.has_ended() {
            if let Some(batch) = self.batch.take() {
                self.read_batch(batch, before)?;
            } else if !self.step()? {
                break;
            }
        }
        Ok(())
    }

    /// The next batch. False: nothing has come.
    fn step(&mut self) -> Result<bool, SourceError> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => match self.inbox.pop() {
                Some(fetched) => self.answer.insert(Answer::new(fetched)),
                None => return Ok(false),
            },
        };
        match answer.step().map_err(|malformed| self.damaged(&malformed))? {
            Step::Rows(batch) => self.batch = Some(batch),
            Step::Skipped { next, leader_epoch } => self.reach(next, Some(leader_epoch)),
            Step::End { empty_below } => {
                self.answer = None;
                self.reach(empty_below, None);
            }
        }
        Ok(true)
    }

    fn read_batch(&mut self, mut batch: OpenBatch, before: u64) -> Result<(), SourceError> {
        // Nobody else has them before the chunk is out, so that nothing is copied.
        let mut behind = std::mem::take(&mut self.behind);
        let read = self.read_records(&mut batch, before, Arc::make_mut(&mut behind));
        self.behind = behind;
        if read? {
            self.batch = Some(batch);
        }
        Ok(())
    }

    /// Whether it has more.
    fn read_records(
        &mut self,
        batch: &mut OpenBatch,
        before: u64,
        behind: &mut Vec<Point>,
    ) -> Result<bool, SourceError> {
        let (last, leader_epoch) = (batch.head.last_offset, Some(batch.head.leader_epoch));
        while self.rows.row() < CHUNK_ROWS && self.bytes - before < CHUNK_BYTES as u64 {
            match batch.next_record().map_err(|malformed| self.damaged(&malformed))? {
                // A batch may begin before the offset that was asked for.
                Some(record) if record.offset < self.read.next => (),
                Some(record) if self.position.until.is_some_and(|until| record.offset >= until) => {
                    self.reach(record.offset, leader_epoch);
                    return Ok(false);
                }
                Some(record) => {
                    self.decode(&record)?;
                    self.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
                    self.reach(record.offset + 1, leader_epoch);
                    if self.rows.row() > behind.len() {
                        behind.push(self.read);
                    }
                }
                None => {
                    // Compaction may have taken the last records away.
                    self.reach(last + 1, leader_epoch);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn decode(&mut self, record: &Record<'_>) -> Result<(), SourceError> {
        let Self { columns, position, values, rows, .. } = self;
        let row = rows.row();
        columns::set(&columns.parts, record, position.partition, row, &mut rows.columns);
        let end = Mark { bytes: rows.consumed.bytes + record.value.map_or(0, <[u8]>::len), lines: 0 };
        let decoded = match (values, record.value) {
            (Values::Json(json), Some(value)) => json.decode_one(value, rows),
            (Values::Json(json), None) => {
                let message = "is a tombstone: it has no value".to_owned();
                let on_fault = json.on_record_fault();
                rows.end_record(Err(Box::new(Fault { at: 0, column: None, message })), end, on_fault)
            }
            (Values::Raw(column), value) => {
                let column = column.and_then(|column| rows.columns.get_mut(column));
                if let (Some(column), Some(value)) = (column, value) {
                    column.set_bytes(row, |out| {
                        out.extend_from_slice(value);
                        true
                    });
                }
                rows.end_record(Ok(()), end, OnFault::Fail)
            }
        };
        decoded.map_err(|bad| self.undecodable(record.offset, &bad))
    }

    fn undecodable(&self, offset: i64, bad: &BadRecord) -> SourceError {
        let fault = &bad.fault;
        let column = fault.column.as_ref().map(|column| format!(", column `{column}`")).unwrap_or_default();
        let fix = match self.values {
            Values::Json(_) => FIX,
            Values::Raw(_) => "take the event time from another column",
        };
        SourceError::Malformed {
            source_name: self.columns.source.to_string(),
            position: format!("{} offset {offset} (byte {}){column}", self.inbox.place, fault.at),
            message: format!("{}; {fix}", fault.message),
        }
    }

    fn damaged(&self, malformed: &Malformed) -> SourceError {
        SourceError::Malformed {
            source_name: self.columns.source.to_string(),
            position: format!("{} from offset {}", self.inbox.place, self.read.next),
            message: malformed.to_string(),
        }
    }

    fn chunk(&mut self) -> Result<Fed, SourceError> {
        self.pause = PAUSE.0;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.row()));
        let rows = self.rows.finish().and_then(|columns| {
            RecordBatch::try_new_with_options(Arc::clone(&self.columns.schema), columns, &options)
                .map_err(|error| error.to_string())
        });
        rows.map(Fed::Rows).map_err(|message| self.damaged(&Malformed(message)))
    }
}

/// Of the rows of a chunk.
struct Offsets {
    inbox: Arc<Inbox>,
    behind: Arc<Vec<Point>>,
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {}", self.behind.len(), self.inbox.place)
    }
}

impl Places for Offsets {
    fn place(&self, row: usize) -> Option<String> {
        Some(format!("{} offset {}", self.inbox.place, self.behind.get(row)?.next - 1))
    }
}

impl Feed for PartitionFeed {
    fn poll(&mut self, _: Duration) -> Result<Fed, SourceError> {
        self.rows.clear();
        match Arc::get_mut(&mut self.behind) {
            Some(behind) => behind.clear(),
            // Rows of it are on their way to a target.
            None => self.behind = Arc::default(),
        }
        let begun = self.read;
        self.begun = begun.next;
        self.fill()?;
        if self.rows.row() > 0 || self.read != begun {
            return self.chunk();
        }
        if self.has_ended() {
            return Ok(Fed::End);
        }
        if let Some(error) = self.inbox.failure() {
            return Err(error);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE.1);
        Ok(Fed::Wait(pause))
    }

    fn deliver(&mut self, rows: usize) {
        let reached = match rows {
            _ if rows == self.behind.len() => Some(self.read),
            0 => None,
            _ => self.behind.get(rows - 1).copied(),
        };
        if let Some(Point { next, leader_epoch }) = reached {
            self.position.next = next;
            self.position.leader_epoch = leader_epoch;
        }
    }

    fn place(&self, begin: usize, end: usize) -> String {
        let behind = |rows: usize| match rows {
            0 => self.begun,
            _ => self.behind.get(rows - 1).map_or(self.begun, |reached| reached.next),
        };
        format!("{} offsets {} to {}", self.inbox.place, behind(begin), behind(end) - 1)
    }

    fn places(&self) -> Option<Arc<dyn Places>> {
        Some(Arc::new(Offsets { inbox: Arc::clone(&self.inbox), behind: Arc::clone(&self.behind) }))
    }

    fn reached(&self) -> Reached {
        Reached { split: self.inbox.place.to_string(), next: format!("offset {}", self.position.next) }
    }

    fn position(&self) -> String {
        self.position.encode()
    }

    /// A broker that does not answer is not a partition without records.
    fn may_idle(&self) -> bool {
        self.position.until.is_none() && self.inbox.is_caught_up()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn decode_errors(&self) -> u64 {
        self.rows.skipped
    }
}
