//! Whatever comes from the wire: an error, never a panic, and never memory for what a length merely promises.

use proptest::prelude::*;

use super::super::answer::{Answer, Step};
use super::super::compression::decompress;
use super::super::inbox::{Cursor, Inbox, Place};
use super::*;

/// Reads all there is, as long as it makes sense.
fn read(records: Bytes, aborted: &[(i64, i64)]) -> usize {
    let mut answer = Answer::new(fetched(records, aborted));
    let mut count = 0;
    while let Ok(step) = answer.step() {
        match step {
            Step::Rows(mut batch) => {
                while let Ok(Some(record)) = batch.next_record() {
                    count += 1 + record.headers.each().count();
                }
            }
            Step::Skipped { .. } => (),
            Step::End { .. } => return count,
        }
    }
    count
}

fn push(records: Bytes) -> bool {
    let place = Place { topic: "t".to_owned(), id: TOPIC, partition: 0 };
    let begin = Cursor { next: 0, leader_epoch: -1 };
    let inbox = Inbox::new(place, begin, None, 1 << 20, tokio::sync::watch::Sender::new(()));
    inbox.push(answered(records, 1_000), true, 1 << 20).is_ok()
}

fn log() -> Bytes {
    let all: Vec<_> = (0..20).map(record).collect();
    joined(&[plain(&all), plain(&written(1, 20..30)), plain(&marker(1, 30, false))])
}

#[test]
fn a_changed_byte_is_noticed() {
    let sound = plain(&[record(1)]);
    for at in 21..sound.len() {
        let mut damaged = sound.to_vec();
        damaged[at] ^= 4;
        let error = Answer::new(fetched(damaged.into(), &[])).step().unwrap_err().to_string();
        assert!(error.contains("damaged") || error.contains("make no sense"), "{at}: {error}");
    }
}

#[test]
fn old_formats_are_refused_by_name() {
    let mut old = plain(&[record(1)]).to_vec();
    old[16] = 1;
    let error = Answer::new(fetched(old.into(), &[])).step().unwrap_err().to_string();
    assert!(error.contains("format 1"), "{error}");
}

#[test]
fn a_promise_of_much_sets_no_memory_aside() {
    // Snappy's length is the first thing that it says: 4 GiB - 1.
    let error = decompress(2, Bytes::from_static(b"\xff\xff\xff\xff\x0f\0\0")).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
    // Two thousand million records in 61 bytes.
    let mut batch = plain(&[record(1)])[..61].to_vec();
    batch[8..12].copy_from_slice(&49_i32.to_be_bytes());
    batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(read(with_checksum(&batch), &[]), 0);
}

#[test]
fn a_batch_that_grows_without_measure_is_refused() {
    let zeros = vec![0; 300 << 20];
    for codec in [Compression::Gzip, Compression::Zstd] {
        let bomb = compressed(&zeros, codec);
        assert!(bomb.len() < 4 << 20, "{}", bomb.len());
        let error = decompress(codec as i16, bomb.into()).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), codec in -1_i16..9) {
        let bytes = Bytes::from(bytes);
        read(bytes.clone(), &[(1, 0)]);
        push(bytes.clone());
        let _ = decompress(codec, bytes);
    }

    /// Behind a checksum that is right, where random bytes do not get.
    #[test]
    fn damaged_batches_never_panic(
        changes in prop::collection::vec((0_usize..2_000, any::<u8>()), 1..8),
        cut in 0_usize..2_000,
    ) {
        let whole = log();
        let mut bytes = whole.to_vec();
        for (at, to) in changes {
            let at = 21 + at % (bytes.len() - 21);
            bytes[at] = to;
        }
        // The first batch's length stands unchanged in front.
        let first = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let repaired = with_checksum(&bytes[..first]);
        bytes[..first].copy_from_slice(&repaired);
        bytes.truncate(whole.len() - cut % whole.len());
        let bytes = Bytes::from(bytes);
        read(bytes.clone(), &[(1, 0)]);
        push(bytes);
    }

    /// What is cut off is left for the next answer, wherever the cut is.
    #[test]
    fn a_cut_answer_ends_behind_its_last_whole_batch(cut in 0_usize..2_000) {
        let whole = log();
        let cut = whole.slice(..whole.len() - cut % whole.len());
        prop_assert!(push(cut.clone()));
        prop_assert!([0, 20, 30].contains(&read(cut, &[])) || read(whole, &[]) == 30);
    }
}
