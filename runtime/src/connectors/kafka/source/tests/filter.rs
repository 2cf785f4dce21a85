//! Which records of an answer are rows.

use kafka_protocol::records::{Compression, TimestampType};

use super::super::answer::{Answer, Step};
use super::*;

/// Offsets of the rows of an answer, and where it ends.
fn rows(records: Bytes, aborted: &[(i64, i64)]) -> (Vec<i64>, i64) {
    let mut answer = Answer::new(fetched(records, aborted));
    let (mut offsets, mut end) = (vec![], 0);
    loop {
        match answer.step().unwrap() {
            Step::Rows(mut batch) => {
                while let Some(record) = batch.next_record().unwrap() {
                    assert_eq!(record.value.unwrap(), format!("v{}", record.offset).as_bytes());
                    offsets.push(record.offset);
                }
                end = batch.head.last_offset + 1;
            }
            Step::Skipped { next, leader_epoch } => {
                assert_eq!(leader_epoch, 3);
                end = next;
            }
            Step::End { .. } => return (offsets, end),
        }
    }
}

#[test]
fn every_codec_is_read() {
    let records: Vec<_> = (5..300).map(record).collect();
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        assert_eq!(rows(encoded(&records, codec), &[]), ((5..300).collect(), 300), "{codec:?}");
    }
}

#[test]
fn snappy_without_frames_is_read() {
    let raw = |records: &mut BytesMut, out: &mut BytesMut, _: Compression| {
        out.put_slice(&snap::raw::Encoder::new().compress_vec(records).unwrap());
        Ok(())
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::Snappy };
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &[record(1), record(2)], &options, Some(raw))
        .unwrap();
    assert_eq!(rows(bytes.freeze(), &[]), (vec![1, 2], 3));
}

#[test]
fn aborted_records_and_control_records_are_no_rows() {
    let log = joined(&[
        plain(&written(1, 0..3)),
        plain(&written(2, 3..5)),
        plain(&marker(1, 5, false)),
        // The same producer again, this time for good.
        plain(&written(1, 6..8)),
        plain(&marker(2, 8, true)),
        plain(&marker(1, 9, true)),
        plain(&[record(10)]),
    ]);
    assert_eq!(rows(log, &[(1, 0)]), (vec![3, 4, 6, 7, 10], 11));
}

#[test]
fn a_producer_may_abort_twice_in_one_answer() {
    let log = joined(&[
        plain(&written(1, 0..2)),
        plain(&marker(1, 2, false)),
        plain(&written(1, 3..4)),
        plain(&marker(1, 4, true)),
        plain(&written(1, 5..7)),
        plain(&marker(1, 7, false)),
    ]);
    // The list comes in no particular order.
    assert_eq!(rows(log, &[(1, 5), (1, 0)]), (vec![3], 8));
}

#[test]
fn a_transaction_that_began_before_the_answer_is_known_to_be_aborted() {
    let log = joined(&[plain(&written(4, 10..12)), plain(&written(5, 12..13)), plain(&marker(4, 13, false))]);
    assert_eq!(rows(log, &[(4, 2)]), (vec![12], 14));
}

#[test]
fn a_producer_without_transactions_is_never_aborted() {
    let idempotent = written(1, 3..5).into_iter().map(|record| Record { transactional: false, ..record });
    let log = joined(&[plain(&written(1, 0..3)), plain(&idempotent.collect::<Vec<_>>())]);
    assert_eq!(rows(log, &[(1, 0)]), (vec![3, 4], 5));
}

#[test]
fn a_batch_that_compaction_emptied_is_passed_over() {
    let mut batch = plain(&[record(5), record(6), record(7)])[..61].to_vec();
    batch[8..12].copy_from_slice(&49_i32.to_be_bytes());
    batch[57..61].copy_from_slice(&0_i32.to_be_bytes());
    assert_eq!(rows(with_checksum(&batch), &[]), (vec![], 8));
    // Nor does a marker without its record stop anybody.
    let mut batch = plain(&marker(1, 9, false))[..61].to_vec();
    batch[8..12].copy_from_slice(&49_i32.to_be_bytes());
    batch[57..61].copy_from_slice(&0_i32.to_be_bytes());
    assert_eq!(rows(with_checksum(&batch), &[]), (vec![], 10));
}

#[test]
fn time_of_the_broker_holds_for_all_records_of_a_batch() {
    let mut batch = plain(&[record(1), record(2)]).to_vec();
    batch[22] |= 1 << 3;
    batch[35..43].copy_from_slice(&77_i64.to_be_bytes());
    let mut answer = Answer::new(fetched(with_checksum(&batch), &[]));
    let Step::Rows(mut batch) = answer.step().unwrap() else { panic!("rows") };
    while let Some(record) = batch.next_record().unwrap() {
        assert_eq!(record.timestamp, 77);
    }
    assert_eq!(record(1).timestamp_type, TimestampType::Creation);
}
