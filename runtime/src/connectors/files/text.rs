//! A text file as a split: bounded buffers, records that never exceed a bound, positions right behind a row.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::position::{At, Position, io_error};
use crate::connectors::SourceError;
use crate::connectors::formats::json_text::Fault;
use crate::connectors::formats::records::{BadRecord, Decode, Mark, OnFault, Rows};
use crate::connectors::reader::Fed;

/// Read at a time; grows to [`RECORD_BYTES`] while a record does not fit.
const BUFFER_BYTES: usize = 512 * 1024;
/// The longest record.
const RECORD_BYTES: usize = 16 * 1024 * 1024;
/// What to do about a row that cannot be read. (A file that is changed in place is not gone on with.)
const FIX: &str = "set `onError: Skip` in the source's format to leave such rows out, counted, or mend the file and start \
                   anew with --fresh";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one text file from a position to its bound.
pub(super) struct TextFeed {
    source: Arc<str>,
    schema: SchemaRef,
    /// Right behind the last delivered row.
    position: Position,
    decoder: Box<dyn Decode>,
    rows: Rows,
    /// Where the chunk that is being delivered began.
    begun: Place,
    /// Where the buffer's next byte stands in the file.
    next: Place,
    open: Option<OpenFile>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    offset: u64,
    line: u64,
}

impl Place {
    fn plus(self, mark: Mark) -> Self {
        Self { offset: self.offset + mark.bytes as u64, line: self.line + mark.lines as u64 }
    }
}

struct OpenFile {
    file: File,
    /// Bytes read and not consumed are `buffer[begin..end]`.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl OpenFile {
    fn unread(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// Reads on, at most `left` bytes; makes room before that. Returns how many bytes came.
    fn fill(&mut self, left: u64) -> std::io::Result<usize> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        if self.end == self.buffer.len() {
            let larger = (self.buffer.len() * 2).clamp(BUFFER_BYTES, RECORD_BYTES + 1);
            self.buffer.resize(larger, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.file.read(room.get_mut(..count).unwrap_or_default())?;
        self.end += count;
        Ok(count)
    }
}

impl TextFeed {
    pub(super) fn new(
        source: Arc<str>,
        schema: SchemaRef,
        position: Position,
        decoder: Box<dyn Decode>,
        rows: Rows,
    ) -> Result<Self, SourceError> {
        let At::Text { offset, line } = position.at else {
            return Err(SourceError::Position {
                source_name: source.to_string(),
                message: format!("{}: it was read as Parquet; start anew with --fresh", position.file.path),
            });
        };
        let begun = Place { offset, line };
        Ok(Self { source, schema, position, decoder, rows, begun, next: begun, open: None, bytes: 0 })
    }

    pub(super) fn poll(&mut self) -> Result<Fed, SourceError> {
        if self.next.offset >= self.position.file.length {
            return self.end();
        }
        self.rows.clear();
        self.open()?;
        if self.next.offset >= self.position.file.length {
            // Nothing but a header.
            return self.end();
        }
        let (left, unread) = (self.left(), self.open.as_ref().map_or(0, |open| open.unread().len()));
        if left > 0 && unread < BUFFER_BYTES / 2 {
            self.fill(left)?;
        }
        // Each round reads more or ends: the buffer is bounded, so the rounds are.
        loop {
            self.begun = self.next;
            let left = self.left();
            let Some(open) = &self.open else { return Ok(Fed::End) };
            let decoded = self.decoder.decode(open.unread(), left == 0, &mut self.rows);
            decoded.map_err(|bad| self.malformed(&bad))?;
            if self.rows.consumed.bytes > 0 {
                return self.chunk();
            }
            if open.unread().len() > RECORD_BYTES && self.decoder.on_fault() == OnFault::Skip {
                return self.skip_record();
            }
            self.fill(left)?;
        }
    }

    /// What was changed meanwhile may have been read: that is found here at the latest.
    fn end(&self) -> Result<Fed, SourceError> {
        self.position.file.verify(&self.source)?;
        Ok(Fed::End)
    }

    /// Passes over a record that is longer than the bound, in one go: there is no position inside a record.
    fn skip_record(&mut self) -> Result<Fed, SourceError> {
        let mut quoted = false;
        // Each round reads on; the file's length bounds them.
        loop {
            let left = self.left();
            let Some(open) = &mut self.open else { break };
            let end = self.decoder.record_end(open.unread(), &mut quoted);
            let bytes = end.unwrap_or(open.unread().len());
            let lines = memchr::memchr_iter(b'\n', open.unread().get(..bytes).unwrap_or_default()).count();
            open.begin += bytes;
            self.next = self.next.plus(Mark { bytes, lines });
            self.bytes += bytes as u64;
            if end.is_some() || left == 0 {
                break;
            }
            self.fill(left)?;
        }
        self.begun = self.next;
        self.rows.skipped += 1;
        self.chunk()
    }

    /// Bytes of the file behind the buffer.
    fn left(&self) -> u64 {
        let buffered = self.open.as_ref().map_or(0, |open| open.unread().len()) as u64;
        self.position.file.length.saturating_sub(self.next.offset + buffered)
    }

    fn fill(&mut self, left: u64) -> Result<(), SourceError> {
        let path = &self.position.file.path;
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.unread().len() > RECORD_BYTES {
            let fault =
                Fault { at: 0, column: None, message: format!("the record is longer than {RECORD_BYTES} bytes") };
            return Err(self.malformed(&BadRecord { begin: Mark::default(), fault: Box::new(fault) }));
        }
        match open.fill(left) {
            Ok(0) => Err(SourceError::DataLost {
                source_name: self.source.to_string(),
                message: format!(
                    "{path}: the file ends before byte {}, where it ended at first",
                    self.position.file.length
                ),
            }),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(io_error(&self.source, path, &error)),
        }
    }

    fn chunk(&mut self) -> Result<Fed, SourceError> {
        let consumed = self.rows.consumed;
        if let Some(open) = &mut self.open {
            open.begin += consumed.bytes;
        }
        self.next = self.next.plus(consumed);
        self.bytes += consumed.bytes as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.row()));
        let rows = self.rows.finish().and_then(|columns| {
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .map_err(|error| error.to_string())
        });
        rows.map(Fed::Rows).map_err(|message| SourceError::Malformed {
            source_name: self.source.to_string(),
            position: format!("{} from byte {}", self.position.file.path, self.begun.offset),
            message,
        })
    }

    /// Opens the file at the next byte, behind byte order mark and header if that is the start.
    fn open(&mut self) -> Result<(), SourceError> {
        if self.open.is_some() {
            return Ok(());
        }
        let file = self.position.file.open(&self.source)?;
        self.open = Some(OpenFile { file, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0 });
        let target = std::mem::take(&mut self.next);
        let header = self.read_header()?;
        if target.offset <= header.offset {
            self.next = header;
            return Ok(());
        }
        self.next = target;
        let Some(open) = &mut self.open else { return Ok(()) };
        (open.begin, open.end) = (0, 0);
        let sought = open.file.seek(SeekFrom::Start(target.offset));
        sought.map(drop).map_err(|error| io_error(&self.source, &self.position.file.path, &error))
    }

    /// The place of the first record; the buffer begins there.
    fn read_header(&mut self) -> Result<Place, SourceError> {
        loop {
            let left = self.left();
            let bytes = self.open.as_ref().map(OpenFile::unread).unwrap_or_default();
            let mark = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            if bytes.len() >= BYTE_ORDER_MARK.len() || left == 0 {
                let header = self.decoder.header(bytes.get(mark..).unwrap_or_default(), left == 0, &self.rows);
                let header = header.map_err(|fault| self.malformed(&BadRecord { begin: Mark::default(), fault }))?;
                if let Some(end) = header {
                    let end = Mark { bytes: end.bytes + mark, lines: end.lines };
                    if let Some(open) = &mut self.open {
                        open.begin += end.bytes;
                    }
                    return Ok(Place::default().plus(end));
                }
            }
            self.fill(left)?;
        }
    }

    fn malformed(&self, bad: &BadRecord) -> SourceError {
        let Place { offset, line } = self.next.plus(bad.begin);
        let column = bad.fault.column.as_ref().map(|column| format!(", column `{column}`")).unwrap_or_default();
        SourceError::Malformed {
            source_name: self.source.to_string(),
            position: format!(
                "{}:{} (byte {}){column}",
                self.position.file.path,
                line + 1,
                offset + bad.fault.at as u64
            ),
            message: format!("{}; {FIX}", bad.fault.message),
        }
    }

    pub(super) fn deliver(&mut self, rows: usize) {
        let behind = match rows {
            _ if rows == self.rows.ends.len() => self.rows.consumed,
            0 => Mark::default(),
            _ => self.rows.ends.get(rows - 1).copied().unwrap_or_default(),
        };
        let Place { offset, line } = self.begun.plus(behind);
        self.position.at = At::Text { offset, line };
    }

    /// Lines of these rows of the chunk.
    pub(super) fn place(&self, begin: usize, end: usize) -> String {
        let behind = |rows: usize| match rows {
            0 => self.begun.line,
            _ => self.begun.line + self.rows.ends.get(rows - 1).map_or(0, |mark| mark.lines as u64),
        };
        format!("{}:{} to {}", self.position.file.path, behind(begin) + 1, behind(end))
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    pub(super) fn rest(&mut self) {
        self.open = None;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn skipped(&self) -> u64 {
        self.rows.skipped
    }
}
