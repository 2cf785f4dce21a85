//! Runs as bytes: Arrow IPC stream format, one message for each batch.

use std::io::Cursor;

use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

/// Bytes that are not a run, or a run that has no bytes.
#[derive(Debug, thiserror::Error)]
#[error("state is not readable: {message}")]
pub struct Error {
    message: String,
}

/// The bytes of `rows`, all of one schema.
///
/// # Errors
/// Batches of different schemas, or a type that the format does not know.
pub fn encode(rows: &[RecordBatch]) -> Result<Vec<u8>, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema()).map_err(unreadable)?;
    for batch in rows {
        writer.write(batch).map_err(unreadable)?;
    }
    writer.into_inner().map_err(unreadable)
}

/// The batches in `body`.
///
/// # Errors
/// Anything that [`encode`] cannot have written.
pub fn decode(body: &[u8]) -> Result<Vec<RecordBatch>, Error> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(Cursor::new(body), None).map_err(unreadable)?;
    reader.collect::<Result<_, _>>().map_err(unreadable)
}

fn unreadable(error: ArrowError) -> Error {
    Error { message: error.to_string() }
}
