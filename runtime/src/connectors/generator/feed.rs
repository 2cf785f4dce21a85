//! One split of a generator: its position, its pace, its blocks.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde::{Deserialize, Serialize};

use super::columns::GeneratedColumn;
use crate::connectors::reader::{Fed, Feed};
use crate::connectors::{Reached, SourceError};
use crate::origin::Places;

/// A generator that fell behind its rate (a pause, backpressure) catches up at most this much.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Where a split is. Block size and number of splits are part of it: they say which rows are this split's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Position {
    pub(super) splits: u64,
    pub(super) block_rows: u64,
    /// Of the whole generator; resolved once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u64>,
    pub(super) block: u64,
    /// Rows of `block` that are out.
    pub(super) row: u64,
}

impl Position {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("numbers under fixed names always encode")
    }

    pub(super) fn decode(source: &str, text: &str) -> Result<Self, SourceError> {
        let unusable = |message: String| SourceError::Position { source_name: source.to_owned(), message };
        let position: Self = serde_json::from_str(text).map_err(|error| unusable(format!("{text}: {error}")))?;
        let usable = position.splits > 0 && position.block_rows > 0 && position.row <= position.block_rows;
        if usable { Ok(position) } else { Err(unusable(text.to_owned())) }
    }

    /// First row of the block that is next.
    fn block_start(&self) -> Option<u64> {
        self.block.checked_mul(self.block_rows)
    }

    /// Rows that the block holds: none behind the end.
    fn block_len(&self) -> u64 {
        let Some(start) = self.block_start() else { return 0 };
        // Row numbers stay below 2^63, so that sequences can be computed in 64 bits.
        let end = self.rows.unwrap_or(u64::MAX >> 1);
        end.saturating_sub(start).min(self.block_rows)
    }
}

pub(super) struct GeneratorFeed {
    columns: Arc<[GeneratedColumn]>,
    schema: SchemaRef,
    position: Position,
    /// Time from one block of this split to its next.
    block_pause: Duration,
    /// Rows of the block that were out before the chunk that is being delivered.
    begun: u64,
    /// When the next block is due.
    due: Option<Duration>,
    bytes: u64,
}

impl GeneratorFeed {
    pub(super) fn new(
        columns: Arc<[GeneratedColumn]>,
        schema: SchemaRef,
        position: Position,
        rows_per_second: Option<u64>,
    ) -> Self {
        let block_pause = rows_per_second.map_or(Duration::ZERO, |rate| {
            let nanos = u128::from(position.block_rows) * u128::from(position.splits) * 1_000_000_000;
            Duration::from_nanos(u64::try_from(nanos / u128::from(rate.max(1))).unwrap_or(u64::MAX))
        });
        Self { columns, schema, position, block_pause, begun: 0, due: None, bytes: 0 }
    }

    fn pace(&mut self, now: Duration) -> Option<Duration> {
        if self.block_pause.is_zero() {
            return None;
        }
        let due = self.due.unwrap_or(now).max(now.saturating_sub(CATCH_UP));
        if due > now {
            return Some(due.saturating_sub(now));
        }
        self.due = Some(due.saturating_add(self.block_pause));
        None
    }
}

/// Rows that follow each other.
#[derive(Debug)]
struct Numbered {
    first: u64,
}

impl Places for Numbered {
    fn place(&self, row: usize) -> Option<String> {
        Some(format!("row {}", self.first.saturating_add(row as u64)))
    }
}

impl Feed for GeneratorFeed {
    fn poll(&mut self, now: Duration) -> Result<Fed, SourceError> {
        if self.position.row >= self.position.block_len() {
            // Only a block whose rows are all out leaves the position here (or the end was reached).
            if self.position.row > 0 {
                self.position.block += self.position.splits;
                self.position.row = 0;
            }
            if self.position.block_len() == 0 {
                return Ok(Fed::End);
            }
        }
        if let Some(pause) = self.pace(now) {
            return Ok(Fed::Wait(pause));
        }
        let begin = self.position.block_start().unwrap_or(u64::MAX) + self.position.row;
        let count = (self.position.block_len() - self.position.row) as usize;
        let arrays = self.columns.iter().map(|column| column.make(begin, count)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("generated columns have the schema's types and the block's length");
        self.bytes += self.columns.iter().map(|column| column.width_bytes() * count as u64).sum::<u64>();
        self.begun = self.position.row;
        Ok(Fed::Rows(rows))
    }

    fn deliver(&mut self, rows: usize) {
        self.position.row = self.begun + rows as u64;
    }

    fn place(&self, begin: usize, end: usize) -> String {
        let first = self.position.block_start().unwrap_or(u64::MAX).saturating_add(self.begun);
        let at = |row: usize| first.saturating_add(row as u64);
        format!("rows {} to {}", at(begin), at(end).saturating_sub(1))
    }

    fn places(&self) -> Option<Arc<dyn Places>> {
        let first = self.position.block_start().unwrap_or(u64::MAX).saturating_add(self.begun);
        Some(Arc::new(Numbered { first }))
    }

    fn reached(&self) -> Reached {
        let Position { splits, block, row, .. } = self.position;
        let next = self.position.block_start().unwrap_or(u64::MAX).saturating_add(row);
        // Blocks go round the splits.
        Reached {
            split: format!("split {}", block.checked_rem(splits).unwrap_or_default()),
            next: format!("row {next}"),
        }
    }

    fn position(&self) -> String {
        self.position.encode()
    }

    fn may_idle(&self) -> bool {
        self.position.rows.is_none()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
