//! What text formats share: records in, columns out, with the place of every row.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::buffer::ColumnBuffer;
use super::json_text::{Fault, Parsed};

/// Rows per chunk.
pub(in crate::connectors) const CHUNK_ROWS: usize = 8192;

/// Whether a record that cannot be decoded stops the source or is skipped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connectors) enum OnFault {
    Fail,
    Skip,
}

/// A place relative to the bytes that were given to a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::connectors) struct Mark {
    pub(in crate::connectors) bytes: usize,
    pub(in crate::connectors) lines: usize,
}

/// A record that stops the source: where it begins, and what is wrong where in it.
#[derive(Debug)]
pub(in crate::connectors) struct BadRecord {
    pub(in crate::connectors) begin: Mark,
    pub(in crate::connectors) fault: Box<Fault>,
}

/// Rows under construction.
#[derive(Debug)]
pub(in crate::connectors) struct Rows {
    pub(in crate::connectors) columns: Vec<ColumnBuffer>,
    /// The place behind each row.
    pub(in crate::connectors) ends: Vec<Mark>,
    /// The place behind everything that was consumed.
    pub(in crate::connectors) consumed: Mark,
    pub(in crate::connectors) skipped: u64,
}

/// Turns bytes into rows.
pub(in crate::connectors) trait Decode: Send {
    /// Decodes whole records of `bytes` behind `rows.consumed` until they are used up or the rows are
    /// [`CHUNK_ROWS`]. `last`: nothing follows, so that what is left is a record even without a line end.
    fn decode(&mut self, bytes: &[u8], last: bool, rows: &mut Rows) -> Result<(), BadRecord>;

    fn on_fault(&self) -> OnFault;

    /// Where the record ends that `bytes` begin or go on with, if they hold its end. `quoted`: whether they begin in
    /// quotes; set for the bytes that follow.
    fn record_end(&self, bytes: &[u8], quoted: &mut bool) -> Option<usize> {
        let _ = quoted;
        memchr::memchr(b'\n', bytes).map(|at| at + 1)
    }

    /// Bytes at the start of a file that are no records, if they are whole in `bytes`.
    fn header(&mut self, bytes: &[u8], last: bool, rows: &Rows) -> Parsed<Option<Mark>> {
        let _ = (bytes, last, rows);
        Ok(Some(Mark::default()))
    }
}

impl Rows {
    pub(in crate::connectors) fn new(columns: Vec<ColumnBuffer>) -> Self {
        Self { columns, ends: Vec::new(), consumed: Mark::default(), skipped: 0 }
    }

    /// Begins a chunk.
    pub(in crate::connectors) fn clear(&mut self) {
        self.ends.clear();
        self.consumed = Mark::default();
        for column in &mut self.columns {
            column.truncate(0);
        }
    }

    /// Index of the row under construction.
    pub(in crate::connectors) fn row(&self) -> usize {
        self.ends.len()
    }

    /// Ends a record: its values become a row, or are forgotten.
    pub(in crate::connectors) fn end_record(
        &mut self,
        record: Parsed<()>,
        end: Mark,
        on_fault: OnFault,
    ) -> Result<(), BadRecord> {
        match record.and_then(|()| self.fill()) {
            Ok(()) => self.ends.push(end),
            Err(fault) if on_fault == OnFault::Fail => return Err(BadRecord { begin: self.consumed, fault }),
            Err(_) => {
                let row = self.row();
                self.skipped += 1;
                self.columns.iter_mut().for_each(|column| column.truncate(row));
            }
        }
        self.consumed = end;
        Ok(())
    }

    /// Missing fields are nulls, except where a value is needed.
    #[inline]
    fn fill(&mut self) -> Parsed<()> {
        let row = self.ends.len();
        for column in &mut self.columns {
            if column.is_set(row) {
                continue;
            }
            if column.required {
                return missing(&column.name);
            }
            column.set_null(row);
        }
        Ok(())
    }

    pub(in crate::connectors) fn finish(&mut self) -> Result<Vec<ArrayRef>, String> {
        let rows = self.ends.len();
        let finish = |column: &mut ColumnBuffer| {
            column.finish(rows).map_err(|error| format!("column `{}`: {error}", column.name))
        };
        self.columns.iter_mut().map(finish).collect()
    }
}

/// Event time that is null or not there.
#[cold]
pub(in crate::connectors) fn missing(column: &str) -> Parsed<()> {
    Err(Box::new(Fault { at: 0, column: Some(column.to_owned()), message: "event time is missing or null".to_owned() }))
}

/// Columns of a source by name, for decoders that look fields up.
pub(in crate::connectors) fn quoted_names(columns: &[ColumnBuffer]) -> Arc<[Vec<u8>]> {
    let quote = |column: &ColumnBuffer| format!("\"{}\"", column.name).into_bytes();
    columns.iter().map(quote).collect()
}
