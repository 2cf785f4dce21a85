use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use checkpoint::ids::Epoch;
use proptest::prelude::*;

use super::writing::{context, stage};
use crate::connectors::{Retry, SinkConnector, SinkError};

fn encode(columns: Vec<(&str, ArrayRef)>) -> Result<String, SinkError> {
    let stage = stage();
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = stage.sink.open_writer(context(1, rows.schema()))?;
    writer.write(&rows.into())?;
    writer.pre_commit(Epoch(1))?()?;
    Ok(stage.seen().into_values().next().unwrap_or_default())
}

#[test]
fn values_of_every_type_are_written() {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, StringViewArray, UInt64Array,
    };
    let decimal = Decimal128Array::from(vec![-5, 123_456]).with_precision_and_scale(10, 2).unwrap();
    let text = encode(vec![
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])) as ArrayRef),
        ("count", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("real", Arc::new(Float64Array::from(vec![0.1, -1e300]))),
        ("float", Arc::new(Float32Array::from(vec![0.1, 3.0]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("te\"xt", Arc::new(StringArray::from(vec!["é\"\\\n\u{1}", ""]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a longer text than twelve bytes"), None]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_000_000, 1_500]))),
        ("day", Arc::new(Date32Array::from(vec![0, -1]))),
        ("price", Arc::new(decimal)),
        ("bytes", Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice(), b""]))),
    ]);
    let expected = concat!(
        r#"{"long":-9223372036854775808,"count":18446744073709551615,"real":0.1,"float":0.1,"flag":true,"te\"xt":"é\"\\\n\u0001","#,
        r#""view":"a longer text than twelve bytes","ts":"2026-01-01T00:00:00Z","day":"1970-01-01","price":-0.05,"bytes":"00ff"}"#,
        "\n",
        r#"{"long":null,"count":0,"real":-1e+300,"float":3.0,"flag":false,"te\"xt":"","#,
        r#""view":null,"ts":"1970-01-01T00:00:00.001500Z","day":"1969-12-31","price":1234.56,"bytes":""}"#,
        "\n",
    );
    assert_eq!(text.unwrap(), expected);
}

/// The columns that lead the rows of a window: the text before them is taken over from the line before.
#[test]
fn leading_times_are_written_in_every_line_whether_they_repeat_or_not() {
    let start = vec![Some(0), Some(0), Some(1_000_000), Some(1_000_000), Some(1_000_000), Some(0)];
    let end = vec![Some(5_000_000), Some(5_000_000), Some(5_000_000), None, Some(5_000_000), Some(5_000_000)];
    let text = |times: &[Option<i64>], row: usize| {
        times[row].map_or("null".to_owned(), |at| format!("\"1970-01-01T00:00:0{}Z\"", at / 1_000_000))
    };
    for nulls in [false, true] {
        let end = if nulls { end.clone() } else { vec![Some(5_000_000); 6] };
        let line = |row| format!("{{\"s\":{},\"e\":{},\"n\":{row}}}\n", text(&start, row), text(&end, row));
        let expected = (0..6).map(line).collect::<Vec<_>>().concat();
        let columns = vec![
            ("s", Arc::new(TimestampMicrosecondArray::from(start.clone())) as ArrayRef),
            ("e", Arc::new(TimestampMicrosecondArray::from(end))),
            ("n", Arc::new(Int64Array::from_iter_values(0..6))),
        ];
        assert_eq!(encode(columns).unwrap(), expected);
    }
    let only = vec![("s", Arc::new(TimestampMicrosecondArray::from(vec![0, 0])) as ArrayRef)];
    assert_eq!(encode(only).unwrap(), "{\"s\":\"1970-01-01T00:00:00Z\"}\n".repeat(2));
}

#[test]
fn a_row_that_json_cannot_hold_names_its_column_and_value() {
    for (column, expected) in [
        (
            Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef,
            "column `v`: NaN is no JSON number; row {v: NaN}",
        ),
        (Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])), "column `v`: -inf is no JSON number"),
        (Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX])), "column `v`: 9223372036854775807 microseconds"),
    ] {
        let error = encode(vec![("v", column)]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    let list = Schema::new(vec![arrow::datatypes::Field::new_list(
        "tags",
        arrow::datatypes::Field::new("item", arrow::datatypes::DataType::Utf8, true),
        true,
    )]);
    let refused = stage().sink.open_writer(context(1, Arc::new(list))).err().unwrap().to_string();
    assert!(refused.contains("column `tags`") && refused.contains("CAST(tags AS VARCHAR)"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_json_with_the_same_values(
        rows in prop::collection::vec((any::<Option<i64>>(), any::<String>(), any::<f32>().prop_filter("finite", |f| f.is_finite())), 1..50),
    ) {
        let text = encode(vec![
            ("n", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef),
            ("s", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)))),
            ("f", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| f64::from(row.2))))),
        ]).unwrap();
        let read: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(read.len(), rows.len());
        for (value, (n, s, f)) in read.iter().zip(rows) {
            prop_assert_eq!(value["n"].as_i64(), n);
            prop_assert_eq!(value["s"].as_str(), Some(s.as_str()));
            prop_assert_eq!((value["f"].as_f64().unwrap() as f32).to_bits(), f.to_bits());
        }
    }
}
