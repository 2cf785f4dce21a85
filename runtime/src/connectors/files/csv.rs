//! Comma separated values to columns: RFC 4180, any ASCII delimiter, records over several lines.

use api::pipeline::ColumnType;

use crate::connectors::formats::buffer::ColumnBuffer;
use crate::connectors::formats::json_text::Fault;
use crate::connectors::formats::records::{BadRecord, CHUNK_ROWS, Decode, Mark, OnFault, Rows};
use crate::connectors::values::{hex, temporal};

/// Decoder of CSV for a fixed list of columns.
pub(super) struct CsvDecoder {
    delimiter: u8,
    has_header: bool,
    on_fault: OnFault,
    /// Column of each field; `None` where nobody wants it.
    fields: Vec<Option<usize>>,
    scratch: Vec<u8>,
    found: Vec<Field>,
}

/// A field of the record being read, in the bytes that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    begin: usize,
    end: usize,
    quoted: bool,
    /// Holds doubled quotes.
    escaped: bool,
}

/// What stands at the start of some bytes.
#[derive(Debug)]
enum Record {
    /// Its end and whether its quoting is right.
    Whole(Mark, bool),
    Incomplete,
}

impl CsvDecoder {
    /// `declared`: all columns of the manifest in order; without a header line they are the fields.
    pub(super) fn new(
        delimiter: u8,
        has_header: bool,
        declared: &[String],
        columns: &[ColumnBuffer],
        on_fault: OnFault,
    ) -> Self {
        let fields = declared.iter().map(|name| columns.iter().position(|column| column.name == *name)).collect();
        Self { delimiter, has_header, on_fault, fields, scratch: Vec::new(), found: Vec::new() }
    }

    /// Finds the fields of the record at the start of `bytes`.
    fn split(&mut self, bytes: &[u8], last: bool) -> Record {
        self.found.clear();
        let (mut at, mut lines, mut right) = (0, 0, true);
        loop {
            let Some(mut field) = find_field(bytes, at, last) else { return Record::Incomplete };
            lines += bytes.get(field.begin..field.end).map_or(0, |text| memchr::memchr_iter(b'\n', text).count());
            let mut behind = field.end + usize::from(field.quoted);
            let tail = bytes.get(behind..).unwrap_or_default();
            let stop = memchr::memchr2(self.delimiter, b'\n', tail);
            if stop.is_none() && !last {
                return Record::Incomplete;
            }
            let stop = stop.unwrap_or(tail.len());
            if field.quoted {
                // Only the line end may stand between a closing quote and the next delimiter.
                right &= bytes.get(field.end) == Some(&b'"') && matches!(tail.get(..stop), Some(b"" | b"\r"));
            } else {
                field.end = behind + stop;
            }
            behind += stop;
            let is_delimiter = bytes.get(behind) == Some(&self.delimiter);
            if !is_delimiter && !field.quoted && field.end > field.begin && bytes.get(field.end - 1) == Some(&b'\r') {
                field.end -= 1;
            }
            self.found.push(field);
            if is_delimiter {
                at = behind + 1;
                continue;
            }
            let end = (behind + 1).min(bytes.len());
            return Record::Whole(Mark { bytes: end, lines: lines + 1 }, right);
        }
    }

    /// Sets the row's columns from the fields that were found.
    fn record(&mut self, bytes: &[u8], right: bool, rows: &mut Rows) -> Result<(), Box<Fault>> {
        let fault = |at: usize, column: Option<&str>, message: String| {
            Box::new(Fault { at, column: column.map(ToOwned::to_owned), message })
        };
        if !right {
            return Err(fault(0, None, "quotes do not pair up".to_owned()));
        }
        if self.found.len() != self.fields.len() {
            let message = format!("has {} fields, not {}", self.found.len(), self.fields.len());
            return Err(fault(0, None, message));
        }
        let row = rows.row();
        for (field, target) in self.found.iter().zip(&self.fields) {
            let Some(column) = target.and_then(|index| rows.columns.get_mut(index)) else { continue };
            let text = bytes.get(field.begin..field.end).unwrap_or_default();
            if !set(row, column, *field, text, &mut self.scratch) {
                return Err(fault(field.begin, Some(&column.name), format!("is not a {}", column.column_type)));
            }
        }
        Ok(())
    }
}

/// The field that begins at `at`; of an unquoted one only the begin. `None` if a quoted one has no end yet.
fn find_field(bytes: &[u8], at: usize, last: bool) -> Option<Field> {
    if bytes.get(at) != Some(&b'"') {
        return Some(Field { begin: at, end: at, quoted: false, escaped: false });
    }
    let (begin, mut end, mut escaped) = (at + 1, at + 1, false);
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        let Some(quote) = memchr::memchr(b'"', rest) else {
            // A quote that nothing closes ends with the input; the record is refused for the missing quote.
            return last.then_some(Field { begin, end: bytes.len(), quoted: true, escaped });
        };
        end += quote;
        match bytes.get(end + 1) {
            Some(b'"') => {
                escaped = true;
                end += 2;
            }
            None if !last => return None,
            _ => return Some(Field { begin, end, quoted: true, escaped }),
        }
    }
}

/// Sets a column from a field: nothing between two delimiters is null, nothing between two quotes an empty text.
fn set(row: usize, column: &mut ColumnBuffer, field: Field, text: &[u8], scratch: &mut Vec<u8>) -> bool {
    if text.is_empty() && !(field.quoted && column.column_type == ColumnType::Varchar) {
        if !column.required {
            column.set_null(row);
        }
        return true;
    }
    let text = if field.escaped {
        scratch.clear();
        let mut quote_before = false;
        scratch.extend(text.iter().filter(|byte| {
            quote_before = **byte == b'"' && !quote_before;
            !quote_before
        }));
        scratch.as_slice()
    } else {
        text
    };
    match column.column_type {
        ColumnType::Varchar => {
            std::str::from_utf8(text).is_ok()
                && column.set_bytes(row, |out| {
                    out.extend_from_slice(text);
                    true
                })
        }
        ColumnType::Varbinary => column.set_bytes(row, |out| hex::parse(text, out)),
        ColumnType::Timestamp if text.iter().skip(1).all(u8::is_ascii_digit) => {
            let millis = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            millis.and_then(temporal::from_millis).is_some_and(|timestamp| column.set_integer(row, timestamp))
        }
        _ => column.set_text(row, text),
    }
}

impl Decode for CsvDecoder {
    fn on_fault(&self) -> OnFault {
        self.on_fault
    }

    fn record_end(&self, bytes: &[u8], quoted: &mut bool) -> Option<usize> {
        for at in memchr::memchr2_iter(b'"', b'\n', bytes) {
            match bytes.get(at) {
                Some(b'"') => *quoted = !*quoted,
                _ if !*quoted => return Some(at + 1),
                _ => {}
            }
        }
        None
    }

    fn decode(&mut self, bytes: &[u8], last: bool, rows: &mut Rows) -> Result<(), BadRecord> {
        while rows.row() < CHUNK_ROWS {
            let begin = rows.consumed;
            let rest = bytes.get(begin.bytes..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            let Record::Whole(length, right) = self.split(rest, last) else { return Ok(()) };
            let end = Mark { bytes: begin.bytes + length.bytes, lines: begin.lines + length.lines };
            if rest.get(..length.bytes).is_some_and(|record| record.trim_ascii().is_empty()) && self.fields.len() > 1 {
                // A blank line is no record (where a record has one field only, it is a null).
                rows.consumed = end;
                continue;
            }
            let record = self.record(rest, right, rows);
            rows.end_record(record, end, self.on_fault)?;
        }
        Ok(())
    }

    fn header(&mut self, bytes: &[u8], last: bool, rows: &Rows) -> Result<Option<Mark>, Box<Fault>> {
        if !self.has_header {
            return Ok(Some(Mark::default()));
        }
        let Record::Whole(end, right) = self.split(bytes, last) else { return Ok(None) };
        let refuse = |message: String| Box::new(Fault { at: 0, column: None, message });
        if !right {
            return Err(refuse("the header's quotes do not pair up".to_owned()));
        }
        let name = |field: &Field| {
            let text = String::from_utf8_lossy(bytes.get(field.begin..field.end).unwrap_or_default()).into_owned();
            if field.escaped { text.replace("\"\"", "\"") } else { text }
        };
        let names: Vec<String> = self.found.iter().map(name).collect();
        for column in &rows.columns {
            let count = names.iter().filter(|name| **name == column.name).count();
            if count != 1 {
                return Err(refuse(format!(
                    "the header names column `{}` {count} times; it has {}",
                    column.name,
                    names.join(", ")
                )));
            }
        }
        self.fields = names.iter().map(|name| rows.columns.iter().position(|column| column.name == *name)).collect();
        Ok(Some(end))
    }
}
