//! What stands around a record's value, as columns.

use api::pipeline::RecordPart;

use super::records::{Headers, Record};
use crate::connectors::formats::buffer::ColumnBuffer;
use crate::connectors::values::{hex, temporal};

/// Metadata columns among a source's columns: index and what they hold.
pub(super) type Parts = Vec<(usize, RecordPart)>;

/// Sets the metadata of a row. What a record does not have stays unset, as a field that is missing.
pub(super) fn set(
    parts: &[(usize, RecordPart)],
    record: &Record<'_>,
    partition: i32,
    row: usize,
    columns: &mut [ColumnBuffer],
) {
    for (index, part) in parts {
        let Some(column) = columns.get_mut(*index) else { continue };
        match part {
            RecordPart::Key => {
                if let Some(key) = record.key {
                    column.set_bytes(row, |out| {
                        out.extend_from_slice(key);
                        true
                    });
                }
            }
            RecordPart::Partition => {
                column.set_integer(row, i64::from(partition));
            }
            RecordPart::Offset => {
                column.set_integer(row, record.offset);
            }
            RecordPart::Timestamp => {
                let timestamp = Some(record.timestamp).filter(|millis| *millis >= 0).and_then(temporal::from_millis);
                if let Some(timestamp) = timestamp {
                    column.set_integer(row, timestamp);
                }
            }
            RecordPart::Headers => {
                column.set_bytes(row, |out| {
                    write_headers(record.headers, out);
                    true
                });
            }
        }
    }
}

/// A JSON array in the record's order: names may repeat.
fn write_headers(headers: Headers<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, (name, value)) in headers.each().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
        write_text(&String::from_utf8_lossy(name), out);
        match value.map(|value| (value, std::str::from_utf8(value))) {
            None => out.extend_from_slice(b",\"value\":null}"),
            Some((_, Ok(text))) => {
                out.extend_from_slice(b",\"value\":");
                write_text(text, out);
                out.push(b'}');
            }
            Some((bytes, Err(_))) => {
                out.extend_from_slice(b",\"hex\":\"");
                hex::write(out, bytes);
                out.extend_from_slice(b"\"}");
            }
        }
    }
    out.push(b']');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text is written to memory");
}
