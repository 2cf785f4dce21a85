//! Answers to Fetch and the heads of record batches, read without decompressing anything. Every step is checked: what is
//! cut off or damaged ends the reading, and nothing is set aside for what a length merely promises.

use super::error::Code;

/// Format of all batches since Kafka 0.11; older ones know no transactions.
const MAGIC: i8 = 2;
const IS_TRANSACTIONAL: i16 = 1 << 4;
const IS_CONTROL: i16 = 1 << 5;

/// How a transaction ended on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

/// The head of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub leader_epoch: i32,
    /// -1 for producers without transactions or idempotence.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub is_transactional: bool,
    /// What the broker wrote at the end of a transaction, instead of data.
    pub marker: Option<Marker>,
}

impl Batch {
    pub fn covers(&self, offset: i64) -> bool {
        (self.base_offset..=self.last_offset).contains(&offset)
    }
}

/// The one partition of an answer to Fetch version 13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// Of the request as a whole.
    pub(super) code: Code,
    /// None if the answer holds no partition, as after an error of the request.
    pub(super) partition: Option<PartitionAnswer<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionAnswer<'a> {
    pub(super) topic_id: u128,
    pub(super) index: i32,
    pub(super) code: Code,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    /// Producer and first offset.
    pub(super) aborted: Vec<(i64, i64)>,
    pub(super) records: &'a [u8],
}

/// Reads the answer that a request for one partition gets. None: it is something else.
pub(super) fn answer(bytes: &[u8]) -> Option<Answer<'_>> {
    let mut reader = Reader(bytes);
    let _throttle_ms = reader.i32()?;
    let code = Code(reader.i16()?);
    let _session = reader.i32()?;
    let partition = match reader.length()? {
        0 => None,
        1 => Some(topic(&mut reader)?),
        _ => return None,
    };
    reader.skip_tags()?;
    Some(Answer { code, partition })
}

fn topic<'a>(reader: &mut Reader<'a>) -> Option<PartitionAnswer<'a>> {
    let topic_id = u128::from_be_bytes(reader.take()?);
    (reader.length()? == 1).then_some(())?;
    let index = reader.i32()?;
    let code = Code(reader.i16()?);
    let (high_watermark, last_stable_offset, log_start_offset) = (reader.i64()?, reader.i64()?, reader.i64()?);
    let mut aborted = vec![];
    for _ in 0..reader.length()? {
        aborted.push((reader.i64()?, reader.i64()?));
        reader.skip_tags()?;
    }
    let _preferred_read_replica = reader.i32()?;
    let length = reader.length()?;
    let records = reader.slice(length)?;
    reader.skip_tags()?;
    reader.skip_tags()?;
    Some(PartitionAnswer {
        topic_id,
        index,
        code,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        aborted,
        records,
    })
}

/// The batches whose heads are there, in order; a batch that is cut off behind its head counts (a broker cuts the last).
pub(super) fn batches(records: &[u8]) -> Vec<Batch> {
    let mut reader = Reader(records);
    std::iter::from_fn(|| batch(&mut reader)).collect()
}

fn batch(reader: &mut Reader<'_>) -> Option<Batch> {
    let base_offset = reader.i64()?;
    let length = usize::try_from(reader.i32()?).ok()?;
    let mut rest = Reader(reader.slice_at_most(length));
    let leader_epoch = rest.i32()?;
    if i8::from_be_bytes(rest.take()?) != MAGIC {
        return None;
    }
    let _checksum = rest.i32()?;
    let attributes = rest.i16()?;
    let last_offset = base_offset.checked_add(i64::from(rest.i32()?))?;
    let _timestamps = (rest.i64()?, rest.i64()?);
    let (producer_id, producer_epoch) = (rest.i64()?, rest.i16()?);
    let _sequence_and_count = (rest.i32()?, rest.i32()?);
    let marker = if attributes & IS_CONTROL == 0 { None } else { marker(&mut rest) };
    let is_transactional = attributes & IS_TRANSACTIONAL != 0;
    Some(Batch { base_offset, last_offset, leader_epoch, producer_id, producer_epoch, is_transactional, marker })
}

/// The key of a control batch's only record: a version and a kind.
fn marker(rest: &mut Reader<'_>) -> Option<Marker> {
    let _length = rest.variable()?;
    let _attributes = rest.take::<1>()?;
    let (_timestamp, _offset, _key_length) = (rest.variable()?, rest.variable()?, rest.variable()?);
    let _version = rest.i16()?;
    match rest.i16()? {
        0 => Some(Marker::Abort),
        1 => Some(Marker::Commit),
        _ => None,
    }
}

/// Takes from the front of what is there; None when that is too little.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn slice_at_most(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take()?))
    }

    /// Up to ten bytes of seven bits each; the sign's coding does not matter to who only skips it.
    fn variable(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A compact length: one more than it is, and zero for none.
    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.variable()?.saturating_sub(1)).ok()
    }

    fn skip_tags(&mut self) -> Option<()> {
        for _ in 0..self.variable()? {
            let _tag = self.variable()?;
            let size = usize::try_from(self.variable()?).ok()?;
            self.slice(size)?;
        }
        Some(())
    }
}
