//! Bytes of a run: magic, format version, a checksum, then an Arrow IPC stream.
//!
//! The checksum is looked at first, so damaged bytes are refused before anything is allocated by what they say.

use std::io::Cursor;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

const MAGIC: &[u8; 4] = b"OWRN";
/// Version of this layout; a newer one is refused by name.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = MAGIC.len() + 1 + CHECKSUM_BYTES;

/// State bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not a state part (it is {length} bytes long and does not begin with `OWRN`)")]
    NotAPart { length: usize },
    #[error("state part has format version {found}, this build reads up to {VERSION}; use a newer build")]
    NewerVersion { found: u8 },
    #[error("state part is damaged: checksum differs")]
    Checksum,
    #[error("state part cannot be {what}: {message}")]
    Arrow { what: &'static str, message: String },
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.iter_mut().zip(blake3::hash(body).as_bytes()).for_each(|(to, from)| *to = *from);
    sum
}

/// Encodes batches of one schema.
///
/// # Errors
/// [`Error::Arrow`] if there is no batch, or the schemas differ.
pub fn encode(rows: &[RecordBatch]) -> Result<Vec<u8>, Error> {
    let failed = |message: String| Error::Arrow { what: "written", message };
    let first = rows.first().ok_or_else(|| failed("a run without rows".to_owned()))?;
    let mut bytes =
        Vec::with_capacity(HEADER_BYTES + rows.iter().map(RecordBatch::get_array_memory_size).sum::<usize>());
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
    let mut writer = StreamWriter::try_new(&mut bytes, &first.schema()).map_err(|error| failed(error.to_string()))?;
    for batch in rows {
        writer.write(batch).map_err(|error| failed(error.to_string()))?;
    }
    writer.finish().map_err(|error| failed(error.to_string()))?;
    drop(writer);
    let sum = checksum(bytes.get(HEADER_BYTES..).unwrap_or_default());
    let header = bytes.iter_mut().skip(MAGIC.len() + 1);
    header.zip(sum).for_each(|(to, from)| *to = from);
    Ok(bytes)
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// Every other input is refused; memory stays in proportion to `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, Error> {
    let not_a_part = Error::NotAPart { length: bytes.len() };
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else { return Err(not_a_part) };
    let Some(rest) = header.strip_prefix(MAGIC.as_slice()) else { return Err(not_a_part) };
    match rest.split_first() {
        Some((&VERSION, sum)) if *sum == checksum(body) => {}
        Some((&VERSION, _)) => return Err(Error::Checksum),
        Some((&found, _)) => return Err(Error::NewerVersion { found }),
        None => return Err(not_a_part),
    }
    let failed = |error: arrow::error::ArrowError| Error::Arrow { what: "read", message: error.to_string() };
    let reader = StreamReader::try_new(Cursor::new(body), None).map_err(failed)?;
    reader.collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn batch(numbers: &[Option<i64>]) -> RecordBatch {
        let texts: StringArray = numbers.iter().map(|n| n.map(|n| format!("text {n}"))).collect();
        let columns: [(&str, ArrayRef, bool); 2] =
            [("n", Arc::new(Int64Array::from(numbers.to_vec())), true), ("t", Arc::new(texts), true)];
        RecordBatch::try_from_iter_with_nullable(columns).expect("same lengths")
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            first in prop::collection::vec(any::<Option<i64>>(), 1..50),
            second in prop::collection::vec(any::<Option<i64>>(), 1..50),
        ) {
            let rows = vec![batch(&first), batch(&second)];
            prop_assert_eq!(decode(&encode(&rows).expect("same schema")).expect("just written"), rows);
        }

        #[test]
        fn a_damaged_part_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = encode(&[batch(&[Some(1), None, Some(3)])]).expect("one batch");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_truncated_part_is_refused(length in any::<prop::sample::Index>()) {
            let bytes = encode(&[batch(&[Some(1), None, Some(3)])]).expect("one batch");
            prop_assert!(decode(&bytes[..length.index(bytes.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = encode(&[batch(&[Some(1)])]).expect("one batch");
        bytes[4] = 9;
        assert_eq!(decode(&bytes), Err(Error::NewerVersion { found: 9 }));
    }
}
