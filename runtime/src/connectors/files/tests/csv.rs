use std::fmt::Write as _;
use std::fs;

use api::pipeline::{ColumnType, CsvFormat, Format, OnError};
use proptest::prelude::*;
use serde_json::json as object;
use tempfile::tempdir;

use super::{build, column, read_all, source, values};
use crate::connectors::SourceError;

fn decode(text: &[u8], format: CsvFormat) -> Result<Vec<serde_json::Value>, SourceError> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    fs::write(&path, text).unwrap();
    let mut source = source(&path, Format { json: None, csv: Some(format), parquet: None, raw: None });
    source.event_time = None;
    source.columns = vec![column("a", ColumnType::BigInt), column("b", ColumnType::Varchar)];
    Ok(values(&read_all(build(&source).as_ref())?))
}

fn skip() -> CsvFormat {
    CsvFormat { on_error: OnError::Skip, ..CsvFormat::default() }
}

#[test]
fn quotes_line_ends_and_empty_fields_follow_rfc_4180() {
    let text = "\u{feff}b,x,a\r\n\"two\nlines, \"\"quoted\"\"\",,1\r\n\"\",y,\n,\"\",3\n\nlast,z,-4";
    let rows = decode(text.as_bytes(), CsvFormat::default()).unwrap();
    let expected = [
        object!({"a": 1, "b": "two\nlines, \"quoted\""}),
        object!({"a": null, "b": ""}),
        object!({"a": 3, "b": null}),
        object!({"a": -4, "b": "last"}),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn without_a_header_fields_are_the_manifests_columns() {
    let format = CsvFormat { header: false, delimiter: ";".to_owned(), on_error: OnError::Fail };
    assert_eq!(decode(b"1;x,y\n2;z\n", format).unwrap(), [object!({"a": 1, "b": "x,y"}), object!({"a": 2, "b": "z"})]);
}

#[test]
fn a_bad_record_names_its_line_and_is_skipped_whole_when_told_so() {
    let text = b"a,b\n1,\"x\ny\"\nseven,z\n1,2,3\n4,\"q\"r\n5,ok\n";
    let error = decode(text, CsvFormat::default()).unwrap_err().to_string();
    assert!(error.contains("rows.csv:4 (byte 12), column `a`: is not a BIGINT"), "{error}");
    assert_eq!(decode(text, skip()).unwrap(), [object!({"a": 1, "b": "x\ny"}), object!({"a": 5, "b": "ok"})]);
}

#[test]
fn a_header_without_a_declared_column_is_refused() {
    for text in ["a,c\n1,2\n", "a,b,a\n", ""] {
        let error = decode(text.as_bytes(), skip()).map(|rows| rows.len());
        if text.is_empty() {
            assert_eq!(error.unwrap(), 0, "an empty file has no rows and needs no header");
        } else {
            assert!(error.unwrap_err().to_string().contains("the header names column"));
        }
    }
}

#[test]
fn a_file_with_nothing_but_a_header_has_no_rows() {
    for text in ["a,b", "a,b\n", "\u{feff}a,b\r\n"] {
        assert_eq!(decode(text.as_bytes(), CsvFormat::default()).unwrap().len(), 0, "{text:?}");
    }
}

#[test]
fn a_quote_that_nothing_closes_is_an_error() {
    assert!(decode(b"a,b\n1,\"x\n", CsvFormat::default()).unwrap_err().to_string().contains("quotes do not pair up"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(
        text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r')], 0..200),
        header in any::<bool>(),
    ) {
        let _ = decode(&text, CsvFormat { header, ..skip() });
        let _ = decode(&[b"a,b\n".as_slice(), &text].concat(), CsvFormat::default());
    }

    #[test]
    fn what_is_quoted_reads_back(rows in prop::collection::vec((any::<i64>(), "[a-z\",\n\r é]*"), 1..20)) {
        let mut text = "b,a\n".to_owned();
        for (number, note) in &rows {
            let _ = write!(text, "\"{}\",{number}\r\n", note.replace('"', "\"\""));
        }
        let expected: Vec<_> = rows.iter().map(|(number, note)| object!({"a": number, "b": note})).collect();
        prop_assert_eq!(decode(text.as_bytes(), CsvFormat::default()).unwrap(), expected);
    }
}
