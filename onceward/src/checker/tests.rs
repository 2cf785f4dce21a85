//! The judge is judged by hand-written cases.

use std::path::PathBuf;

use super::expected::{Rules, Window, windows};
use super::verdict::{Verdict, compare};
use super::{Error, check_copy, check_windows, time};

fn file(folder: &tempfile::TempDir, name: &str, lines: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, lines.iter().flat_map(|line| [*line, "\n"]).collect::<String>()).unwrap();
    path
}

fn order(id: i64, second: i64, customer: i64, cents: i64) -> String {
    let ts = time::format(second * 1_000_000);
    format!(r#"{{"id":{id},"ts":"{ts}","customer":{customer},"cents":{cents}}}"#)
}

fn orders(folder: &tempfile::TempDir, name: &str, rows: &[(i64, i64, i64, i64)]) -> PathBuf {
    let lines: Vec<String> = rows.iter().map(|(id, at, who, cents)| order(*id, *at, *who, *cents)).collect();
    file(folder, name, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

const SECOND: i64 = 1_000_000;

#[test]
fn timestamps_survive_the_way_there_and_back() {
    for text in
        ["1970-01-01T00:00:00Z", "2026-02-28T23:59:59.5Z", "2024-02-29T12:00:00.000001Z", "1969-12-31T23:59:59Z"]
    {
        assert_eq!(time::format(time::parse(text).unwrap()), text);
    }
    assert_eq!(time::parse("2000-03-01T00:00:00Z"), Some(951_868_800 * SECOND));
    for text in ["", "Z", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00.Z"] {
        assert_eq!(time::parse(text), None, "{text}");
    }
}

#[test]
fn tumbling_windows_drop_only_rows_whose_window_had_ended_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    // Allowed disorder 5 s: after the row at 26 the watermark is 21, so [10, 20) is closed and [20, 30) is open.
    let one = orders(&folder, "a", &[(1, 12, 7, 5), (2, 26, 7, 1), (3, 19, 7, 100), (4, 20, 7, 2)]);
    let two = orders(&folder, "b", &[(5, 19, 7, 30)]);
    let rules = Rules { window: Window::Tumble { size: 10 * SECOND }, max_out_of_orderness: 5 * SECOND };
    let answer = windows(&[one, two], &rules).unwrap();
    assert_eq!((answer.records, answer.late), (5, 1));
    let rows: Vec<_> = answer.rows.into_iter().collect();
    assert_eq!(
        rows,
        [
            (vec![10 * SECOND, 20 * SECOND, 7], vec![35, 2, 5, 30]),
            (vec![20 * SECOND, 30 * SECOND, 7], vec![3, 2, 1, 2]),
        ]
    );
}

#[test]
fn a_window_that_ends_at_the_watermark_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let input = orders(&folder, "a", &[(1, 25, 1, 1), (2, 19, 1, 1)]);
    let rules = Rules { window: Window::Tumble { size: 10 * SECOND }, max_out_of_orderness: 5 * SECOND };
    assert_eq!(windows(&[input], &rules).unwrap().late, 1);
}

#[test]
fn hopping_windows_judge_a_row_for_each_window() {
    let folder = tempfile::tempdir().unwrap();
    // Watermark 10 after the first row: the row at 9 is late for [0, 10), in time for [5, 15).
    let input = orders(&folder, "a", &[(1, 10, 1, 1), (2, 9, 1, 2)]);
    let rules = Rules { window: Window::Hop { slide: 5 * SECOND, size: 10 * SECOND }, max_out_of_orderness: 0 };
    let answer = windows(&[input], &rules).unwrap();
    assert_eq!(answer.late, 1);
    let starts: Vec<_> = answer.rows.iter().map(|(identity, row)| (identity[0] / SECOND, row[0])).collect();
    assert_eq!(starts, [(5, 3), (10, 1)]);
}

#[test]
fn sessions_end_after_the_gap_and_take_rows_of_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let one = orders(&folder, "a", &[(1, 0, 1, 1), (2, 10, 1, 2), (3, 0, 2, 9)]);
    let two = orders(&folder, "b", &[(4, 4, 1, 4), (5, 3, 1, 8)]);
    let rules = Rules { window: Window::Session { gap: 5 * SECOND }, max_out_of_orderness: 2 * SECOND };
    let answer = windows(&[one, two], &rules).unwrap();
    // Order 3 is 10 s behind its file's newest: late, although no session of customer 2 had begun.
    assert_eq!(answer.late, 1);
    let rows: Vec<_> = answer.rows.iter().map(|(id, row)| (id[0] / SECOND, id[1] / SECOND, row[0])).collect();
    assert_eq!(rows, [(0, 9, 13), (10, 15, 2)]);
}

#[test]
fn a_verdict_tells_missing_doubled_and_wrong_apart() {
    let expected = [(vec![1], vec![10]), (vec![2], vec![20]), (vec![3], vec![30])].into_iter().collect();
    let found = vec![(vec![1], vec![10]), (vec![1], vec![10]), (vec![2], vec![21]), (vec![4], vec![40])];
    let verdict = compare(&expected, found);
    assert_eq!(verdict.to_string(), "missing 1, duplicates 1, wrong 2");
    assert!(!verdict.is_good());
    assert_eq!(verdict.examples.len(), 4);
    assert!(verdict.clone().and(Verdict::default()) == verdict);
}

#[test]
fn whole_folders_are_judged_and_hidden_files_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let input = orders(&folder, "a", &[(1, 0, 1, 5), (2, 1, 1, 6)]);
    let row = r#"{"window_start":"1970-01-01T00:00:00Z","window_end":"1970-01-01T00:00:10Z","customer":1,"total":11,"orders":2,"smallest":5,"largest":6}"#;
    file(&folder, "out/part.jsonl", &[row]);
    file(&folder, "out/.part-2.jsonl.pending", &[row]);
    let rules = Rules { window: Window::Tumble { size: 10 * SECOND }, max_out_of_orderness: 0 };
    let (_, verdict) = check_windows(std::slice::from_ref(&input), &rules, &folder.path().join("out")).unwrap();
    assert!(verdict.is_good(), "{verdict}: {:?}", verdict.examples);
    file(&folder, "copy/part.jsonl", &[&order(1, 0, 1, 5)]);
    let verdict = check_copy(&[input], &folder.path().join("copy")).unwrap();
    assert_eq!(verdict.to_string(), "missing 1, duplicates 0, wrong 0");
}

#[test]
fn a_torn_visible_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = orders(&folder, "a", &[(1, 0, 1, 5)]);
    std::fs::create_dir(folder.path().join("copy")).unwrap();
    std::fs::write(folder.path().join("copy/part.jsonl"), order(1, 0, 1, 5)).unwrap();
    let fault = check_copy(&[input], &folder.path().join("copy")).unwrap_err();
    assert!(matches!(fault, Error::Line { line: 1, .. }), "{fault}");
}
