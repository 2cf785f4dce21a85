//! Record batches as they stand in a log: heads, checksums, and where one ends. Nothing from the wire is trusted.

use bytes::Bytes;

/// What stands before a batch's length ends.
const PREFIX_BYTES: usize = 12;
/// The whole head, prefix included.
const HEAD_BYTES: usize = 61;
/// The checksum covers all from here on.
const CHECKED_FROM: usize = 21;
/// Format of all batches since Kafka 0.11.
const MAGIC: u8 = 2;

/// Bytes that are no batch, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

/// What is known of a batch before it is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) base_offset: i64,
    /// Kept by compaction, even when the record of that offset is gone.
    pub(super) last_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) first_timestamp: i64,
    pub(super) max_timestamp: i64,
    /// -1 for producers without transactions or idempotence.
    pub(super) producer_id: i64,
    pub(super) records: i32,
    attributes: i16,
    checksum: u32,
}

impl Head {
    /// Number of the codec.
    pub(super) fn codec(&self) -> i16 {
        self.attributes & 0x07
    }

    /// The broker's time holds for all records instead of their own.
    pub(super) fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Written by the broker at the end of a transaction: never rows.
    pub(super) fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }
}

/// A whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) head: Head,
    bytes: Bytes,
}

impl Batch {
    /// Takes a batch from the front. None: what is there is less than a batch (a broker cuts the last one).
    ///
    /// # Errors
    /// It is no batch.
    pub(super) fn take(bytes: &mut Bytes) -> Result<Option<Self>, Malformed> {
        let Some(length) = field(bytes, 8).map(i32::from_be_bytes) else { return Ok(None) };
        let whole = usize::try_from(length).ok().and_then(|length| length.checked_add(PREFIX_BYTES));
        let Some(whole) = whole.filter(|whole| *whole >= HEAD_BYTES) else {
            return Err(Malformed(format!("a batch of {length} bytes is shorter than its head")));
        };
        if let Some(magic) = bytes.get(16).filter(|magic| **magic != MAGIC) {
            return Err(Malformed(format!(
                "format {magic} of record batches is not read; Kafka 0.11 and newer write 2"
            )));
        }
        if bytes.len() < whole {
            return Ok(None);
        }
        let bytes = bytes.split_to(whole);
        let head = head(&bytes).ok_or_else(|| Malformed("offsets or counts of a batch make no sense".to_owned()))?;
        Ok(Some(Self { head, bytes }))
    }

    /// The records, as they were compressed.
    ///
    /// # Errors
    /// The checksum is another one.
    pub(super) fn body(&self) -> Result<Bytes, Malformed> {
        let found = crc32c::crc32c(self.bytes.get(CHECKED_FROM..).unwrap_or_default());
        if found != self.head.checksum {
            return Err(Malformed(format!(
                "the checksum of a batch is {found:08x} where {:08x} is written: the data is damaged",
                self.head.checksum
            )));
        }
        Ok(self.bytes.slice(HEAD_BYTES.min(self.bytes.len())..))
    }
}

fn head(bytes: &[u8]) -> Option<Head> {
    let base_offset = i64::from_be_bytes(field(bytes, 0)?);
    let last = i32::from_be_bytes(field(bytes, 23)?);
    let records = i32::from_be_bytes(field(bytes, 57)?);
    let makes_sense = base_offset >= 0 && last >= 0 && records >= 0;
    Some(Head {
        base_offset,
        // One more must still be an offset.
        last_offset: base_offset.checked_add(i64::from(last)).filter(|last| makes_sense && *last < i64::MAX)?,
        leader_epoch: i32::from_be_bytes(field(bytes, 12)?),
        checksum: u32::from_be_bytes(field(bytes, 17)?),
        attributes: i16::from_be_bytes(field(bytes, 21)?),
        first_timestamp: i64::from_be_bytes(field(bytes, 27)?),
        max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
        producer_id: i64::from_be_bytes(field(bytes, 43)?),
        records,
    })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
