use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use api::pipeline::OnError;
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::{build, csv, customers, json, read, read_all, read_splits, source};
use crate::connectors::Retry;
use crate::element::Watermark;

/// One line per customer number, a second apart.
fn lines(customers: std::ops::Range<i64>) -> String {
    customers.fold(String::new(), |mut text, customer| {
        let _ = writeln!(text, r#"{{"ts":{},"customer":{customer},"note":"n{customer}"}}"#, customer * 1000);
        text
    })
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn expect(customers: std::ops::Range<i64>) -> Vec<Option<i64>> {
    customers.map(Some).collect()
}

#[test]
fn a_glob_is_resolved_once_sorted_and_without_hidden_files() {
    let folder =
        folder(&[("b.jsonl", &lines(2..4)), ("a.jsonl", &lines(0..2)), (".c.jsonl", &lines(4..6)), ("d.txt", "")]);
    let source = build(&source(&folder.path().join("*.jsonl"), json(OnError::Fail)));
    let splits = source.resolve(4).unwrap();
    fs::write(folder.path().join("e.jsonl"), lines(6..8)).unwrap();
    assert!(splits[0].id.ends_with("a.jsonl") && splits[1].id.ends_with("b.jsonl") && splits.len() == 2);
    assert_eq!(customers(&read_splits(source.as_ref(), splits).unwrap()), expect(0..4));
}

#[test]
fn a_path_that_matches_nothing_or_a_folder_is_refused_by_name() {
    let folder = folder(&[]);
    let path = folder.path().join("orders*.jsonl");
    let error = build(&source(&path, json(OnError::Fail))).resolve(1).unwrap_err();
    assert!(error.to_string().contains("orders*.jsonl: no file matches"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    let error = build(&source(folder.path(), json(OnError::Fail))).resolve(1).unwrap_err();
    assert!(error.to_string().contains("is a folder"), "{error}");
}

#[test]
fn rows_behind_the_resolved_length_are_not_read_and_a_last_line_needs_no_end() {
    let folder = folder(&[("a.jsonl", lines(0..3).trim_end())]);
    let path = folder.path().join("a.jsonl");
    let source = build(&source(&path, json(OnError::Fail)));
    let splits = source.resolve(1).unwrap();
    write!(OpenOptions::new().append(true).open(&path).unwrap(), "\n{}", lines(3..5)).unwrap();
    assert_eq!(customers(&read_splits(source.as_ref(), splits).unwrap()), expect(0..3));
}

#[test]
fn watermarks_follow_the_slowest_file_and_end_with_the_last() {
    let folder = folder(&[("a.jsonl", &lines(0..10)), ("b.jsonl", &lines(100..110))]);
    let source = build(&source(&folder.path().join("*"), json(OnError::Fail)));
    let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
    let (_, watermarks) = read(reader.as_mut(), usize::MAX).unwrap();
    let second = 1_000_000;
    assert_eq!(watermarks, [Watermark::At(7 * second), Watermark::END]);
    assert!(reader.snapshot().iter().all(|split| split.finished && split.watermark == Watermark::END));
    assert_eq!(reader.counters().records, 20);
}

#[test]
fn a_late_row_comes_with_the_watermark_just_before_it() {
    let rows = [0, 10, 9, 3].map(|ts| format!("{{\"ts\":{},\"customer\":{ts}}}\n", ts * 1000)).concat();
    let folder = folder(&[("a.jsonl", &rows)]);
    let batches = read_all(build(&source(&folder.path().join("*"), json(OnError::Fail))).as_ref()).unwrap();
    let stated: Vec<_> = batches.iter().map(|batch| (batch.late_before, batch.rows.num_rows())).collect();
    assert_eq!(stated, [(i64::MIN, 3), (8_000_000, 1)]);
}

#[test]
fn a_row_without_event_time_fails_or_is_skipped_and_counted() {
    let folder = folder(&[(
        "a.jsonl",
        "{\"ts\":0,\"customer\":1}\n{\"customer\":2}\n{\"ts\":null}\n{\"ts\":1,\"customer\":3}\n",
    )]);
    let path = folder.path().join("a.jsonl");
    let error = read_all(build(&source(&path, json(OnError::Fail))).as_ref()).unwrap_err();
    assert!(error.to_string().contains("a.jsonl:2 (byte 22), column `ts`: event time is missing or null"), "{error}");
    let skipping = build(&source(&path, json(OnError::Skip)));
    let mut reader = skipping.open(skipping.resolve(1).unwrap().into()).unwrap();
    let (batches, _) = read(reader.as_mut(), usize::MAX).unwrap();
    assert_eq!(customers(&batches), [Some(1), Some(3)]);
    assert_eq!(reader.counters().decode_errors, 2);
}

#[test]
fn a_record_longer_than_the_bound_is_refused() {
    let long = format!("{{\"ts\":0,\"note\":\"{}\"}}\n", "x".repeat(16 << 20));
    let folder = folder(&[("a.jsonl", &long), ("b.csv", &format!("ts,customer,note\n,,{long}"))]);
    for (name, format) in [("a.jsonl", json(OnError::Fail)), ("b.csv", csv(OnError::Fail))] {
        let error = read_all(build(&source(&folder.path().join(name), format)).as_ref()).unwrap_err();
        assert!(error.to_string().contains("the record is longer than 16777216 bytes"), "{error}");
    }
}

#[test]
fn a_record_longer_than_the_bound_is_skipped_and_counted_where_faults_are() {
    let long = "x".repeat(17 << 20);
    let in_json = format!("{}{{\"ts\":0,\"note\":\"{long}\"}}\n{}", lines(0..3), lines(4..6));
    let in_csv =
        format!("ts,customer,note\n2026-01-01T00:00:00Z,1,\n,,\"a\n{long}\n\"\"b\"\n2026-01-01T00:00:00Z,2,\n");
    let last = format!("{}{long}", lines(0..2));
    let folder = folder(&[("a.jsonl", &in_json), ("b.csv", &in_csv), ("c.jsonl", &last)]);
    for (name, format, expected) in [
        ("a.jsonl", json(OnError::Skip), vec![0, 1, 2, 4, 5]),
        ("b.csv", csv(OnError::Skip), vec![1, 2]),
        ("c.jsonl", json(OnError::Skip), vec![0, 1]),
    ] {
        let source = build(&source(&folder.path().join(name), format));
        let expected: Vec<Option<i64>> = expected.into_iter().map(Some).collect();
        let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
        let (batches, _) = read(reader.as_mut(), usize::MAX).unwrap();
        assert_eq!(customers(&batches), expected, "{name}");
        assert_eq!(reader.counters().decode_errors, 1, "{name}");
        let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
        let (mut seen, _) = read(reader.as_mut(), 1).unwrap();
        seen.extend(read_splits(source.as_ref(), reader.snapshot()).unwrap());
        assert_eq!(customers(&seen), expected, "{name} restored");
    }
}

#[test]
fn a_long_record_below_the_bound_is_read() {
    let text =
        format!("{}{{\"ts\":5000,\"customer\":5,\"note\":\"{}\"}}\n{}", lines(0..5), "x".repeat(3 << 20), lines(6..9));
    let folder = folder(&[("a.jsonl", &text)]);
    let batches = read_all(build(&source(&folder.path().join("*"), json(OnError::Fail))).as_ref()).unwrap();
    assert_eq!(customers(&batches), expect(0..9));
}

/// Resolves `a.jsonl`, changes it, and opens it as a restored attempt would.
fn reopened(change: impl FnOnce(&Path)) -> Result<Vec<Option<i64>>, String> {
    let folder = folder(&[("a.jsonl", &lines(0..100))]);
    let path = folder.path().join("a.jsonl");
    let source = build(&source(&path, json(OnError::Fail)));
    let splits = source.resolve(1).unwrap();
    change(&path);
    let rows = read_splits(source.as_ref(), splits);
    rows.map(|batches| customers(&batches)).map_err(|error| {
        assert_eq!(error.retry(), Retry::Never, "{error}");
        error.to_string()
    })
}

#[test]
fn an_input_that_is_not_the_same_any_more_is_lost_and_named() {
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let lost = |change: &dyn Fn(&Path), reason: &str| {
        let error = reopened(change).unwrap_err();
        assert!(error.contains("a.jsonl") && error.contains("input was lost") && error.contains(reason), "{error}");
    };
    lost(&|path| fs::remove_file(path).unwrap(), "vanished");
    lost(&|path| fs::write(path, lines(0..50)).unwrap(), "shrunk");
    lost(&|path| fs::write(path, lines(1..300)).unwrap(), "first bytes have changed");
    lost(&|path| fs::File::options().append(true).open(path).unwrap().set_modified(later).unwrap(), "modified");
    let grown =
        reopened(|path| write!(OpenOptions::new().append(true).open(path).unwrap(), "{}", lines(100..200)).unwrap());
    assert_eq!(grown.unwrap(), expect(0..100));
}

/// As somebody who edits the file leaves it.
fn modify(path: &Path) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
}

#[test]
fn a_change_while_a_file_is_read_is_noticed_at_its_end() {
    let folder = folder(&[("a.jsonl", &lines(0..100)), ("b.csv", "ts,customer,note\n")]);
    for (name, format) in [("a.jsonl", json(OnError::Fail)), ("b.csv", csv(OnError::Fail))] {
        let path = folder.path().join(name);
        let source = build(&source(&path, format));
        let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
        if name == "a.jsonl" {
            assert_eq!(read(reader.as_mut(), 1).unwrap().0.len(), 1);
        }
        modify(&path);
        let error = read(reader.as_mut(), usize::MAX).unwrap_err();
        assert!(error.to_string().contains("input was lost") && error.to_string().contains("modified"), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[test]
fn a_file_that_is_taken_up_again_must_still_be_the_same() {
    let folder = tempdir().unwrap();
    // More files than are kept open, each with more than one chunk of rows.
    for file in 0..33 {
        fs::write(folder.path().join(format!("{file:02}.jsonl")), lines(0..8_200)).unwrap();
    }
    let source = build(&source(&folder.path().join("*"), json(OnError::Fail)));
    let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
    assert_eq!(read(reader.as_mut(), 33).unwrap().0.len(), 33);
    modify(&folder.path().join("00.jsonl"));
    let error = read(reader.as_mut(), 1).unwrap_err().to_string();
    assert!(error.contains("00.jsonl") && error.contains("modified"), "{error}");
}

#[test]
fn a_file_that_was_read_to_its_end_may_vanish() {
    let folder = folder(&[("a.jsonl", &lines(0..10))]);
    let source = build(&source(&folder.path().join("a.jsonl"), json(OnError::Fail)));
    let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
    read(reader.as_mut(), usize::MAX).unwrap();
    fs::remove_file(folder.path().join("a.jsonl")).unwrap();
    assert!(read_splits(source.as_ref(), reader.snapshot()).unwrap().is_empty());
}

#[test]
fn many_files_are_read_with_few_open_at_a_time() {
    let folder = tempdir().unwrap();
    for file in 0..200 {
        fs::write(folder.path().join(format!("{file:03}.jsonl")), lines(file * 10..file * 10 + 10)).unwrap();
    }
    let source = build(&source(&folder.path().join("*"), json(OnError::Fail)));
    let mut seen = customers(&read_all(source.as_ref()).unwrap());
    seen.sort();
    assert_eq!(seen, expect(0..2000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_restored_reader_continues_right_behind_the_snapshot(
        first in 0_i64..12_000, second in 0_i64..50, disorder in any::<u64>(), taken in 0_usize..40, is_csv in any::<bool>(),
    ) {
        // Some rows far below the watermark: chunks are cut, and the snapshot falls between the slices of one.
        let text = |customers: std::ops::Range<i64>| {
            customers.fold(if is_csv { "note,ts,customer\n".to_owned() } else { String::new() }, |mut text, customer| {
                let late = (disorder >> (customer % 64)) & 1 == 1 && customer % 500 < 10;
                let ts = if late { customer * 1000 - 5000 } else { customer * 1000 };
                let _ = if is_csv {
                    let ts = arrow::temporal_conversions::timestamp_ms_to_datetime(ts).unwrap().and_utc().to_rfc3339();
                    writeln!(text, "\"a\nb\",{ts},{customer}")
                } else {
                    writeln!(text, r#"{{"ts":{ts},"customer":{customer}}}"#)
                };
                text
            })
        };
        let folder = folder(&[("a", &text(0..first)), ("b", &text(first..first + second))]);
        let format = if is_csv { csv(OnError::Fail) } else { json(OnError::Fail) };
        let source = build(&source(&folder.path().join("*"), format));
        let undisturbed = read_all(source.as_ref()).unwrap();
        let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
        let (mut seen, _) = read(reader.as_mut(), taken).unwrap();
        let snapshot = reader.snapshot();
        seen.extend(read_splits(source.as_ref(), snapshot).unwrap());
        let judged = |batches: &[crate::element::Batch]| {
            let mut judged: Vec<_> = batches.iter().flat_map(|batch| {
                let rows = super::values(std::slice::from_ref(batch));
                let late = batch.late_before;
                rows.into_iter().map(move |row| {
                    let ts = row["ts"].as_str().unwrap().to_owned();
                    let at = crate::connectors::values::temporal::parse_timestamp(format!("{ts}Z").as_bytes()).unwrap();
                    (row["customer"].as_i64(), at, at < late)
                })
            }).collect();
            judged.sort();
            judged
        };
        prop_assert_eq!(judged(&seen), judged(&undisturbed));
        prop_assert_eq!(customers(&undisturbed).len() as i64, first + second);
    }
}
