use std::sync::Arc;

use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;

fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
    let mut hashes = Vec::new();
    let rows = columns.first().map_or(1, Array::len);
    hash_columns(columns, rows, &mut hashes).expect("types are supported");
    hashes
}

#[test]
fn integers_of_every_width_hash_alike() {
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), None, Some(42)]));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(-7), None, Some(42)]));
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(-7), None, Some(42)]));
    let date: ArrayRef = Arc::new(Date32Array::from(vec![Some(-7), None, Some(42)]));
    assert_eq!(hashes(std::slice::from_ref(&wide)), hashes(&[narrow]));
    assert_eq!(hashes(std::slice::from_ref(&wide)), hashes(&[time]));
    assert_eq!(hashes(&[wide]), hashes(&[date]));
}

#[test]
fn nan_and_negative_zero_have_one_hash_each() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -f64::NAN, 0.0, -0.0, 1.5]));
    let hashes = hashes(&[column]);
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[2], hashes[3]);
    assert_ne!(hashes[3], hashes[4]);
}

#[test]
fn every_key_group_has_one_subtask_and_groups_stay_together() {
    for max in [1_u32, 7, 128, 32_768] {
        for parallelism in [1_u32, 2, 3, 7] {
            let parallelism = parallelism.min(max);
            let owners: Vec<u32> = (0..max).map(|group| subtask(group, parallelism, max)).collect();
            assert!(owners.windows(2).all(|pair| pair[0] <= pair[1]));
            assert_eq!(owners.first(), Some(&0));
            assert_eq!(owners.last(), Some(&(parallelism - 1)));
        }
    }
}

#[test]
fn random_keys_spread_evenly() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..128_000));
    let mut counts = vec![0_u32; 128];
    for hash in hashes(&[column]) {
        counts[group(hash, 128) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
}

proptest! {
    #[test]
    fn partition_keeps_every_row_once_and_in_order(
        rows in prop::collection::vec((any::<Option<i64>>(), ".{0,12}"), 1..200),
        parallelism in 1_u32..9,
    ) {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)));
        let order: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
        let batch = RecordBatch::try_from_iter([("k", keys), ("t", text), ("n", order)]).expect("same lengths");
        let owners = assign(&batch, &[0, 1], parallelism, 128).expect("keys exist");
        let batch = Batch { rows: batch, late_before: 5, origin: None };
        let parts = partition(&batch, &[0, 1], parallelism, 128).expect("keys exist");
        let mut seen = vec![false; rows.len()];
        for (subtask, part) in parts {
            prop_assert_eq!(part.late_before, 5);
            let numbers = part.rows.column(2).as_primitive::<Int64Type>();
            prop_assert!(numbers.values().windows(2).all(|pair| pair[0] < pair[1]));
            for number in numbers.values() {
                prop_assert_eq!(owners[*number as usize], subtask);
                prop_assert!(!std::mem::replace(&mut seen[*number as usize], true));
            }
        }
        prop_assert!(seen.iter().all(|seen| *seen));
    }
}

#[test]
fn rows_without_columns_can_be_taken() {
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(3));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("no columns");
    assert_eq!(take_rows(&rows, &UInt32Array::from(vec![0, 2])).expect("in range").num_rows(), 2);
}

/// Golden values: they stand for the layout of every checkpoint ever written. Never change them.
#[test]
fn hash_is_frozen() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), Some(i64::MAX), None]));
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some(""), Some("DE"), Some("12345678"), Some("größer als acht"), None]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.0), Some(1.5), Some(-1.5), Some(f64::NAN), None]));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    let decimals: ArrayRef = Arc::new(Decimal128Array::from(vec![Some(1), Some(-1), Some(i128::MAX), None]));
    let golden =
        |columns: &[ArrayRef]| hashes(columns).iter().map(|hash| format!("{hash:016x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(golden(&[]), "9e3779b97f4a7c15");
    assert_eq!(
        golden(std::slice::from_ref(&numbers)),
        "32fa1f13bcf4e1e5 454f15fd362cc122 00830ed0952fec88 e3aa0be1acdec897 b79baeda3af6df9c"
    );
    assert_eq!(
        golden(std::slice::from_ref(&texts)),
        "32fa1f13bcf4e1e5 7c9c768daa2a7aea 6f4cb1cd7d914653 2c3b3dcaa3a1908d b79baeda3af6df9c"
    );
    assert_eq!(
        golden(&[floats]),
        "32fa1f13bcf4e1e5 ea096ddadeb9689f 2266228551d87b8f 20b830d65c64681d b79baeda3af6df9c"
    );
    assert_eq!(golden(&[flags]), "454f15fd362cc122 32fa1f13bcf4e1e5 b79baeda3af6df9c");
    assert_eq!(golden(&[decimals]), "a589ab6f7197fa4c 4acf6d6e41275a7e 2ddd8359ca9d6583 b79baeda3af6df9c");
    assert_eq!(
        golden(&[numbers, texts]),
        "5a561ddec2f6109f 95a758defb446ca6 3f14ecae5481513c c092f619a77356f2 6945eaee95fa2860"
    );
}
