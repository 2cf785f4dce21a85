//! Records of a decompressed batch, read in place: no object is made for one.

use bytes::Bytes;

use super::batch::{Batch, Head, Malformed};
use super::compression::decompress;

/// One record, as it lies in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) offset: i64,
    /// Milliseconds since 1970; negative where there is none.
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    /// None for a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

/// Headers in the record's order; a name may occur more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Name and value of each.
    pub(super) fn each(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let Self { left, mut bytes } = self;
        (0..left).map_while(move |_| header(&mut bytes))
    }
}

/// A batch on its way out.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) head: Head,
    body: Bytes,
    at: usize,
    left: i32,
}

impl OpenBatch {
    /// # Errors
    /// The batch is damaged.
    pub(super) fn open(batch: &Batch) -> Result<Self, Malformed> {
        let body = decompress(batch.head.codec(), batch.body()?)?;
        Ok(Self { head: batch.head, body, at: 0, left: batch.head.records })
    }

    /// The next record; None behind the last.
    ///
    /// # Errors
    /// What is there is no record.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, Malformed> {
        let all = self.body.get(self.at..).unwrap_or_default();
        if self.left == 0 {
            let message = || Malformed("a batch holds more bytes than its records".to_owned());
            return if all.is_empty() { Ok(None) } else { Err(message()) };
        }
        let mut rest = all;
        let record = record(&mut rest, &self.head);
        let record = record.ok_or_else(|| Malformed("a record is cut off or makes no sense".to_owned()))?;
        self.at += all.len() - rest.len();
        self.left -= 1;
        Ok(Some(record))
    }
}

fn record<'a>(rest: &mut &'a [u8], head: &Head) -> Option<Record<'a>> {
    let length = usize::try_from(variable(rest)?).ok()?;
    let (mut fields, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    let _attributes = take(&mut fields, 1)?;
    let timestamp = head.first_timestamp.checked_add(variable(&mut fields)?)?;
    let offset = head.base_offset.checked_add(variable(&mut fields)?)?;
    if !(head.base_offset..=head.last_offset).contains(&offset) {
        return None;
    }
    let key = nullable(&mut fields)?;
    let value = nullable(&mut fields)?;
    let left = u32::try_from(variable(&mut fields)?).ok()?;
    let headers = Headers { left, bytes: fields };
    // Looked through once here, so that whoever reads them meets no end too soon.
    for _ in 0..left {
        header(&mut fields)?;
    }
    let timestamp = if head.is_log_append_time() { head.max_timestamp } else { timestamp };
    fields.is_empty().then_some(Record { offset, timestamp, key, value, headers })
}

fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let name = nullable(rest)??;
    Some((name, nullable(rest)?))
}

/// None: cut off. A length of -1 is for nothing at all.
#[allow(clippy::option_option, reason = "the outer one is the reader's end, the inner one a value")]
#[inline]
fn nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match variable(rest)? {
        -1 => Some(None),
        length => Some(Some(take(rest, usize::try_from(length).ok()?)?)),
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

/// Seven bits a byte, lowest first; the sign is the lowest bit of all.
#[inline]
fn variable(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}
