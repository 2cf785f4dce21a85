use std::fmt::Write as _;
use std::fs;

use api::pipeline::{ColumnType, OnError};
use arrow::array::cast::AsArray;
use arrow::datatypes::Float64Type;
use proptest::prelude::*;
use serde_json::json as object;
use tempfile::tempdir;

use super::{build, column, json, read_all, source, values};
use crate::connectors::SourceError;
use crate::element::Batch;

fn decode_as(
    text: &[u8],
    columns: &[(&str, ColumnType)],
    on_error: OnError,
) -> Result<Vec<serde_json::Value>, SourceError> {
    Ok(values(&batches(text, columns, on_error)?))
}

fn batches(text: &[u8], columns: &[(&str, ColumnType)], on_error: OnError) -> Result<Vec<Batch>, SourceError> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, text).unwrap();
    let mut source = source(&path, json(on_error));
    source.event_time = None;
    source.columns = columns.iter().map(|(name, column_type)| column(name, *column_type)).collect();
    read_all(build(&source).as_ref())
}

fn decode(text: &str, columns: &[(&str, ColumnType)]) -> Result<Vec<serde_json::Value>, SourceError> {
    decode_as(text.as_bytes(), columns, OnError::Fail)
}

const DECIMAL: ColumnType = ColumnType::Decimal { precision: 20, scale: 2 };

#[test]
fn values_of_every_type_are_read() {
    let columns = [
        ("a", ColumnType::BigInt),
        ("b", ColumnType::Int),
        ("c", ColumnType::SmallInt),
        ("d", ColumnType::Double),
        ("e", ColumnType::Float),
        ("f", ColumnType::Boolean),
        ("g", ColumnType::Varchar),
        ("h", ColumnType::Timestamp),
        ("i", ColumnType::Date),
        ("j", DECIMAL),
        ("k", ColumnType::Varbinary),
    ];
    let text = r#"{"a":-9223372036854775808,"b":2147483647,"c":-32768,"d":-1.5e-3,"e":0.1,"f":true,"g":"x","h":"2026-01-01T00:00:00.5Z","i":"2026-02-28","j":12.30,"k":"00fF"}"#;
    let rows = decode(text, &columns).unwrap();
    let expected = object!({"a": i64::MIN, "b": 2_147_483_647, "c": -32768, "d": -0.0015, "e": 0.1, "f": true, "g": "x",
        "h": "2026-01-01T00:00:00.500", "i": "2026-02-28", "j": 12.3, "k": "00ff"});
    assert_eq!(rows, [expected]);
}

#[test]
fn other_spellings_of_the_same_value_are_read() {
    for (text, column_type, expected) in [
        ("1767225600000", ColumnType::Timestamp, object!("2026-01-01T00:00:00")),
        (r#""2026-01-01T01:00:00+01:00""#, ColumnType::Timestamp, object!("2026-01-01T00:00:00")),
        ("1e3", ColumnType::BigInt, object!(1000)),
        ("5.0", ColumnType::BigInt, object!(5)),
        ("-0", ColumnType::BigInt, object!(0)),
        ("9223372036854775807", ColumnType::BigInt, object!(i64::MAX)),
        (r#""12.3""#, DECIMAL, object!(12.3)),
        (r#""\u00e9\n\ud83d\ude00\/""#, ColumnType::Varchar, object!("é\n😀/")),
        ("null", ColumnType::Varchar, object!(null)),
    ] {
        let rows = decode(&format!(" {{ \"v\" : {text} }} "), &[("v", column_type)]).unwrap();
        assert_eq!(rows, [object!({ "v": expected })], "{text}");
    }
}

#[test]
fn fields_come_in_any_order_unknown_ones_are_ignored_and_the_last_of_two_wins() {
    let columns = [("a", ColumnType::BigInt), ("b", ColumnType::Varchar)];
    let text = concat!(
        r#"{"a":1,"b":"x"}"#,
        "\n",
        "\n  \r\n",
        r#"{"z":{"deep":[1,[2,{"a":9}],"\""]},"b":"y","a":2}"#,
        "\r\n",
        r#"{"a":3,"a":null,"b":"long text","b":"s"}"#,
        "\n",
        r#"{"a":null,"a":4}"#,
        "\n",
        r#"{"\u0061":5}"#,
        "\n",
        "{}",
    );
    let rows = decode(text, &columns).unwrap();
    let expected = [
        object!({"a": 1, "b": "x"}),
        object!({"a": 2, "b": "y"}),
        object!({"a": null, "b": "s"}),
        object!({"a": 4, "b": null}),
        object!({"a": 5, "b": null}),
        object!({"a": null, "b": null}),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_wrong_value_names_file_line_byte_and_column() {
    let text = "{\"a\":1}\n\n{\"b\":2,\"a\":\"7\"}\n";
    let error = decode(text, &[("a", ColumnType::BigInt)]).unwrap_err().to_string();
    assert!(error.contains("source `orders`"), "{error}");
    assert!(error.contains("rows.jsonl:3 (byte 20), column `a`: is not a BIGINT"), "{error}");
}

#[test]
fn what_is_no_value_of_the_type_is_refused() {
    for (text, column_type) in [
        ("9223372036854775808", ColumnType::BigInt),
        ("1.5", ColumnType::BigInt),
        ("01", ColumnType::BigInt),
        ("-", ColumnType::BigInt),
        ("true", ColumnType::BigInt),
        ("2147483648", ColumnType::Int),
        ("40000", ColumnType::SmallInt),
        ("1e999", ColumnType::Double),
        ("1e99", ColumnType::Float),
        ("NaN", ColumnType::Double),
        ("\"1\"", ColumnType::Double),
        ("1", ColumnType::Boolean),
        ("1", ColumnType::Varchar),
        ("{}", ColumnType::Varchar),
        (r#""\ud800""#, ColumnType::Varchar),
        (r#""\x""#, ColumnType::Varchar),
        ("\"a\u{1}\"", ColumnType::Varchar),
        ("\"open", ColumnType::Varchar),
        ("\"2026-02-30\"", ColumnType::Date),
        ("\"2026-02-30T00:00:00Z\"", ColumnType::Timestamp),
        ("1.5", ColumnType::Timestamp),
        ("9007199254740991000", ColumnType::Timestamp),
        ("1.234", DECIMAL),
        ("\"0g\"", ColumnType::Varbinary),
    ] {
        let line = format!("{{\"v\":{text}}}");
        assert!(decode(&line, &[("v", column_type)]).is_err(), "{text} as {column_type}");
        let skipped =
            decode_as(format!("{line}\n{{\"v\":null}}\n").as_bytes(), &[("v", column_type)], OnError::Skip).unwrap();
        assert_eq!(skipped, [object!({ "v": null })], "{text}");
    }
}

#[test]
fn what_is_no_object_is_refused_also_where_nobody_looks() {
    for line in [
        "[1]",
        "{\"v\":1",
        "{\"v\":1}}",
        "{\"v\":1,}",
        "{\"v\" 1}",
        "{v:1}",
        "{\"z\":[1,]}",
        "{\"z\":{\"a\"}}",
        "{\"z\":[1}}",
        "{\"z\":tru}",
        "{\"z\":\"\\q\"}",
        "{\"z\":1.}",
        "{\"z\":+1}",
        "nonsense",
    ] {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_err() || line == "[1]");
        assert!(decode(line, &[("v", ColumnType::BigInt)]).is_err(), "{line}");
    }
    assert!(decode_as(b"{\"z\":\"\xff\"}", &[("v", ColumnType::BigInt)], OnError::Fail).is_err());
}

#[test]
fn depth_is_bounded_without_a_stack() {
    let nested = |depth: usize| format!("{{\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(decode(&nested(512), &[("v", ColumnType::BigInt)]).unwrap().len(), 1);
    let error = decode(&nested(1_000_000), &[("v", ColumnType::BigInt)]).unwrap_err().to_string();
    assert!(error.contains("nested deeper than 512 levels"), "{error}");
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic_and_skipping_never_fails(
        mut text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'\n'), Just(b'\\')], 0..300),
        known in any::<bool>(),
    ) {
        if known {
            text.splice(0..0, b"{\"v\":".iter().copied());
        }
        for column_type in [ColumnType::BigInt, ColumnType::Varchar, ColumnType::Timestamp, DECIMAL] {
            let _ = decode_as(&text, &[("v", column_type)], OnError::Fail);
            prop_assert!(decode_as(&text, &[("v", column_type)], OnError::Skip).is_ok());
        }
    }

    #[test]
    fn valid_lines_read_as_serde_json_reads_them(
        rows in prop::collection::vec((any::<i64>(), any::<f64>(), any::<String>(), any_value(), any::<bool>()), 1..20),
    ) {
        let columns = [("i", ColumnType::BigInt), ("s", ColumnType::Varchar)];
        let (mut text, mut expected, mut reals) = (String::new(), Vec::new(), Vec::new());
        for (integer, real, string, other, swap) in rows {
            let real = if real.is_finite() { real } else { 0.5 };
            let other = other.to_string();
            reals.push(real);
            let (real, string) = (object!(real), object!(string));
            let _ = if swap {
                writeln!(text, "{{\"other\":{other}, \"s\":{string},\"i\":{integer},\"f\":{real}}}")
            } else {
                writeln!(text, "{{\"i\":{integer},\"f\":{real},\"s\":{string},\"other\":{other}}}")
            };
            expected.push(object!({"i": integer, "s": string}));
        }
        prop_assert_eq!(decode(&text, &columns).unwrap(), expected);
        // Reals to the last bit, which serde_json's own reader does not promise.
        let read = batches(text.as_bytes(), &[("f", ColumnType::Double)], OnError::Fail).unwrap();
        let read: Vec<u64> = read.iter().flat_map(|batch| {
            batch.rows.column(0).as_primitive::<Float64Type>().values().iter().map(|real| real.to_bits())
        }).collect();
        prop_assert_eq!(read, reals.iter().map(|real| real.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn one_flipped_byte_is_an_error_or_a_row_that_serde_json_reads_too(at in 0_usize..60, byte in any::<u8>()) {
        let mut line = br#"{"v":123,"w":"text","x":[1,{"y":null}],"z":1.5e3,"u":"\u00e9"}"#.to_vec();
        let at = at % line.len();
        line[at] = byte;
        prop_assume!(byte != b'\n' && byte != b'\r');
        let ours = decode_as(&line, &[("v", ColumnType::BigInt), ("w", ColumnType::Varchar)], OnError::Fail);
        let theirs = serde_json::from_slice::<serde_json::Value>(&line);
        prop_assert!(ours.is_err() || theirs.is_ok(), "{:?}", String::from_utf8_lossy(&line));
        if let (Err(error), Ok(value)) = (&ours, &theirs) {
            let other_type = !value["v"].is_i64() && !value["v"].is_null() || !value["w"].is_string() && !value["w"].is_null();
            prop_assert!(other_type, "{error}: {value}");
        }
    }
}
