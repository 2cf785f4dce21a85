//! Batches made by the wire schemas' own encoder or by hand, and what becomes of them.

mod damage;
mod feeds;
mod filter;

use std::io::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::inbox::Fetched;
use crate::connectors::kafka::client::{Answered, Code, TopicId};

const TOPIC: TopicId = TopicId(7);

/// A record with the value `v<offset>`, of nobody's transaction.
fn record(offset: i64) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        // Offsets that go up with their sequence are one batch.
        sequence: offset as i32,
        timestamp: 1_000 + offset,
        key: None,
        value: Some(Bytes::from(format!("v{offset}"))),
        headers: IndexMap::new(),
    }
}

/// Records of one producer's transaction.
fn written(producer_id: i64, offsets: std::ops::Range<i64>) -> Vec<Record> {
    offsets.map(|offset| Record { transactional: true, producer_id, producer_epoch: 0, ..record(offset) }).collect()
}

/// The end of a transaction.
fn marker(producer_id: i64, offset: i64, is_commit: bool) -> Vec<Record> {
    let key = Bytes::from(vec![0, 0, 0, u8::from(is_commit)]);
    let value = Some(Bytes::from(vec![0; 6]));
    let [record] = written(producer_id, offset..offset + 1).try_into().unwrap();
    vec![Record { control: true, key: Some(key), value, ..record }]
}

/// As few batches as hold the records.
fn encoded(records: &[Record], compression: Compression) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    let compress = |records: &mut BytesMut, out: &mut BytesMut, compression: Compression| {
        out.put_slice(&compressed(records, compression));
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, records, &options, Some(compress)).unwrap();
    bytes.freeze()
}

fn plain(records: &[Record]) -> Bytes {
    encoded(records, Compression::None)
}

fn joined(parts: &[Bytes]) -> Bytes {
    parts.concat().into()
}

fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => {
            // Two blocks, as snappy-java writes them.
            let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for part in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
                let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
                out.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
                out.extend_from_slice(&block);
            }
            out
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(vec![]);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 1).unwrap(),
    }
}

fn fetched(records: Bytes, aborted: &[(i64, i64)]) -> Fetched {
    Fetched { records, aborted: aborted.to_vec(), empty_below: 0 }
}

fn answered(records: Bytes, last_stable_offset: i64) -> Answered {
    Answered {
        topic: TOPIC,
        partition: 0,
        code: Code::NONE,
        last_stable_offset,
        log_start_offset: 0,
        parted: None,
        aborted: vec![],
        records,
    }
}

/// The checksum of a batch that was changed by hand.
fn with_checksum(batch: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch.into()
}
