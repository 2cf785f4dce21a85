//! JSON Lines to columns: one pass over the bytes, values parsed straight into the columns that are wanted.

use std::sync::Arc;

use api::pipeline::ColumnType;

use super::buffer::ColumnBuffer;
use super::json_text::{Cursor, Fault, Parsed, unescape};
use super::records::{BadRecord, CHUNK_ROWS, Decode, Mark, OnFault, Rows, missing, quoted_names};
use crate::connectors::values::{hex, temporal};

/// Decoder of JSON Lines for a fixed list of columns.
pub(in crate::connectors) struct JsonDecoder {
    on_fault: OnFault,
    /// The columns' names in quotes: as a key stands in the line, unless it is escaped.
    keys: Arc<[Vec<u8>]>,
    /// Which column came after which one last time (0: the line's first): fields mostly keep their order.
    follows: Vec<usize>,
    scratch: Vec<u8>,
}

impl JsonDecoder {
    pub(in crate::connectors) fn new(columns: &[ColumnBuffer], on_fault: OnFault) -> Self {
        let follows = (0..=columns.len()).collect();
        Self { on_fault, keys: quoted_names(columns), follows, scratch: Vec::new() }
    }

    fn record(&mut self, line: &[u8], rows: &mut Rows) -> Parsed<()> {
        let row = rows.row();
        let mut cursor = Cursor::new(line);
        cursor.skip_blanks();
        cursor.take(b'{', "`{`")?;
        cursor.skip_blanks();
        if cursor.peek() == b'}' {
            cursor.at += 1;
        } else {
            self.fields(&mut cursor, row, &mut rows.columns)?;
        }
        cursor.skip_blanks();
        if !cursor.at_end() {
            return cursor.fault("something follows the object; a line holds one object");
        }
        if line.is_ascii() || std::str::from_utf8(line).is_ok() {
            Ok(())
        } else {
            let at = std::str::from_utf8(line).err().map_or(0, |error| error.valid_up_to());
            Err(Box::new(Fault { at, column: None, message: "is not UTF-8".to_owned() }))
        }
    }

    fn fields(&mut self, cursor: &mut Cursor<'_>, row: usize, columns: &mut [ColumnBuffer]) -> Parsed<()> {
        let mut before = 0;
        loop {
            let index = self.key(cursor, before)?;
            cursor.skip_blanks();
            cursor.take(b':', "`:`")?;
            cursor.skip_blanks();
            match columns.get_mut(index) {
                Some(column) => {
                    let begin = cursor.at;
                    if let Err(mut fault) = value(cursor, row, column, &mut self.scratch) {
                        fault.column = Some(column.name.clone());
                        fault.at = begin;
                        return Err(fault);
                    }
                    before = index + 1;
                }
                None => cursor.skip_value(&mut self.scratch)?,
            }
            cursor.skip_blanks();
            match cursor.peek() {
                b',' => cursor.at += 1,
                b'}' => {
                    cursor.at += 1;
                    return Ok(());
                }
                _ => return cursor.fault("expected `,` or `}` behind a value"),
            }
            cursor.skip_blanks();
        }
    }

    /// Reads a key and returns its column (past the last one: nobody wants the field).
    #[inline]
    fn key(&mut self, cursor: &mut Cursor<'_>, before: usize) -> Parsed<usize> {
        let guess = self.follows.get(before).copied().unwrap_or(usize::MAX);
        if let Some(key) = self.keys.get(guess)
            && cursor.take_exactly(key)
        {
            return Ok(guess);
        }
        let raw = cursor.string()?;
        let name = if raw.escaped {
            self.scratch.clear();
            if !unescape(raw.text, &mut self.scratch) {
                return cursor.fault("a key holds an escape that is none");
            }
            self.scratch.as_slice()
        } else {
            raw.text
        };
        let is_name = |key: &Vec<u8>| key.len() == name.len() + 2 && key.get(1..key.len() - 1) == Some(name);
        let index = self.keys.iter().position(is_name).unwrap_or(usize::MAX);
        if let Some(follows) = self.follows.get_mut(before).filter(|_| index != usize::MAX) {
            *follows = index;
        }
        Ok(index)
    }
}

impl JsonDecoder {
    /// What becomes of a record that cannot be decoded.
    pub(in crate::connectors) fn on_record_fault(&self) -> OnFault {
        self.on_fault
    }

    /// Takes one record whose ends are known, so that it may hold line ends.
    ///
    /// # Errors
    /// A record that stops the source.
    #[allow(dead_code, reason = "for the Kafka source")]
    pub(in crate::connectors) fn decode_one(&mut self, record: &[u8], rows: &mut Rows) -> Result<(), BadRecord> {
        let Mark { bytes, lines } = rows.consumed;
        let parsed = self.record(record, rows);
        rows.end_record(parsed, Mark { bytes: bytes + record.len(), lines: lines + 1 }, self.on_fault)
    }
}

impl Decode for JsonDecoder {
    fn on_fault(&self) -> OnFault {
        self.on_fault
    }

    fn decode(&mut self, bytes: &[u8], last: bool, rows: &mut Rows) -> Result<(), BadRecord> {
        while rows.row() < CHUNK_ROWS {
            let Mark { bytes: begin, lines } = rows.consumed;
            let rest = bytes.get(begin..).unwrap_or_default();
            let (line, length) = match memchr::memchr(b'\n', rest) {
                Some(at) => (rest.get(..at).unwrap_or_default(), at + 1),
                None if last && !rest.is_empty() => (rest, rest.len()),
                None => return Ok(()),
            };
            let end = Mark { bytes: begin + length, lines: lines + 1 };
            if line.first() != Some(&b'{') && line.trim_ascii().is_empty() {
                // A blank line is no record.
                rows.consumed = end;
                continue;
            }
            let record = self.record(line, rows);
            rows.end_record(record, end, self.on_fault)?;
        }
        Ok(())
    }
}

/// Reads a value of the column's type.
#[inline]
fn value(cursor: &mut Cursor<'_>, row: usize, column: &mut ColumnBuffer, scratch: &mut Vec<u8>) -> Parsed<()> {
    match cursor.peek() {
        b'"' => string(cursor, row, column, scratch),
        b'n' if cursor.take_exactly(b"null") => {
            if column.required {
                return missing(&column.name);
            }
            column.set_null(row);
            Ok(())
        }
        b'-' | b'0'..=b'9' => number(cursor, row, column),
        b't' | b'f' if column.column_type == ColumnType::Boolean => {
            let word = cursor.word()?;
            column.set_boolean(row, word == Some(true));
            Ok(())
        }
        _ => {
            let begin = cursor.at;
            cursor.skip_value(scratch)?;
            cursor.at = begin;
            cursor.fault(format!("is not a {}", column.column_type))
        }
    }
}

#[inline]
fn number(cursor: &mut Cursor<'_>, row: usize, column: &mut ColumnBuffer) -> Parsed<()> {
    let fits = match column.column_type {
        ColumnType::BigInt | ColumnType::Int | ColumnType::SmallInt => match cursor.short_integer() {
            Some(value) => column.set_integer(row, value),
            // 19 digits, or a whole number written as 1e3 or 5.0.
            None => column.set_text(row, cursor.number()?),
        },
        ColumnType::Timestamp => {
            let millis = cursor.short_integer();
            let timestamp = millis.and_then(temporal::from_millis);
            timestamp.is_some_and(|timestamp| column.set_integer(row, timestamp))
        }
        ColumnType::Double | ColumnType::Float => column.set_real(row, cursor.number()?),
        ColumnType::Decimal { .. } => column.set_decimal(row, cursor.number()?),
        _ => false,
    };
    if fits { Ok(()) } else { refused(cursor, column) }
}

#[inline]
fn string(cursor: &mut Cursor<'_>, row: usize, column: &mut ColumnBuffer, scratch: &mut Vec<u8>) -> Parsed<()> {
    let raw = cursor.string()?;
    let fits = match column.column_type {
        ColumnType::Varchar if raw.escaped => column.set_bytes(row, |out| unescape(raw.text, out)),
        ColumnType::Varchar => column.set_bytes(row, |out| {
            out.extend_from_slice(raw.text);
            true
        }),
        // Numbers are numbers in JSON; only decimals are commonly kept from readers that would round them.
        ColumnType::BigInt
        | ColumnType::Int
        | ColumnType::SmallInt
        | ColumnType::Double
        | ColumnType::Float
        | ColumnType::Boolean => false,
        ColumnType::Timestamp | ColumnType::Date | ColumnType::Decimal { .. } | ColumnType::Varbinary => {
            let text = if raw.escaped {
                scratch.clear();
                if !unescape(raw.text, scratch) {
                    return refused(cursor, column);
                }
                scratch.as_slice()
            } else {
                raw.text
            };
            match column.column_type {
                ColumnType::Varbinary => column.set_bytes(row, |out| hex::parse(text, out)),
                _ => column.set_text(row, text),
            }
        }
    };
    if fits { Ok(()) } else { refused(cursor, column) }
}

#[cold]
fn refused(cursor: &Cursor<'_>, column: &ColumnBuffer) -> Parsed<()> {
    let hint = match column.column_type {
        ColumnType::Timestamp => " (an RFC 3339 text, or an integer of milliseconds since 1970)",
        ColumnType::Date => " (a text as 2026-01-31)",
        ColumnType::Varbinary => " (pairs of hexadecimal digits)",
        _ => "",
    };
    cursor.fault(format!("is not a {}{hint}", column.column_type))
}
