use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use api::pipeline::{ColumnType, Format, ParquetFormat};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::tempdir;

use super::{build, column, customers, read, read_all, read_splits, source};
use crate::element::Watermark;

const FORMAT: Format = Format { json: None, csv: None, parquet: Some(ParquetFormat {}), raw: None };

/// Rows in row groups of 1,000, with other types and more columns than the source declares.
fn write(path: &Path, rows: i32, null_time_at: Option<i32>) {
    let time = |row: i32| (null_time_at != Some(row)).then(|| i64::from(row) * 1000);
    let columns: [(&str, ArrayRef); 3] = [
        ("customer", Arc::new((0..rows).collect::<Int32Array>())),
        ("unread", Arc::new((0..rows).map(|row| Some(format!("r{row}"))).collect::<StringArray>())),
        ("ts", Arc::new((0..rows).map(time).collect::<TimestampMillisecondArray>().with_timezone("UTC"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn parquet_source(path: &Path) -> api::pipeline::Source {
    let mut source = source(path, FORMAT);
    source.columns.truncate(2);
    source
}

#[test]
fn declared_columns_are_read_as_their_types_and_in_their_order() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 2500, None);
    let source = build(&parquet_source(&path));
    let batches = read_all(source.as_ref()).unwrap();
    assert_eq!(batches[0].rows.schema(), source.schema());
    assert_eq!(customers(&batches), (0..2500).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_restored_reader_continues_right_behind_the_snapshot() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 20_500, None);
    let source = build(&parquet_source(&path));
    for taken in 0..4 {
        let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
        let (mut seen, _) = read(reader.as_mut(), taken).unwrap();
        let snapshot = reader.snapshot();
        assert_eq!(snapshot[0].watermark == Watermark::START, taken == 0);
        seen.extend(read_splits(source.as_ref(), snapshot).unwrap());
        assert_eq!(customers(&seen), (0..20_500).map(Some).collect::<Vec<_>>(), "after {taken} batches");
    }
}

#[test]
fn a_column_that_is_not_there_or_does_not_fit_is_refused_by_name() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 40_000, None);
    let mut missing = parquet_source(&path);
    missing.columns.push(column("cents", ColumnType::BigInt));
    let error = read_all(build(&missing).as_ref()).unwrap_err().to_string();
    assert!(error.contains("has no column `cents`; it has customer, unread, ts"), "{error}");
    let mut narrow = parquet_source(&path);
    narrow.columns[1].column_type = ColumnType::SmallInt;
    let error = read_all(build(&narrow).as_ref()).unwrap_err().to_string();
    assert!(error.contains("row group 32, from row 768: ") && error.contains("column `customer`"), "{error}");
    let mut other = parquet_source(&path);
    other.columns.push(column("unread", ColumnType::BigInt));
    let error = read_all(build(&other).as_ref()).unwrap_err().to_string();
    assert!(error.contains("column `unread`: ") && error.contains("declare its own type"), "{error}");
}

#[test]
fn a_change_while_it_is_read_is_noticed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 20_500, None);
    let source = build(&parquet_source(&path));
    let mut reader = source.open(source.resolve(1).unwrap().into()).unwrap();
    read(reader.as_mut(), 1).unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH;
    File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
    let error = read(reader.as_mut(), usize::MAX).unwrap_err();
    assert!(error.to_string().contains("input was lost") && error.to_string().contains("modified"), "{error}");
}

#[test]
fn event_time_that_is_null_and_bytes_that_are_no_parquet_are_errors() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 100, Some(7));
    let error = read_all(build(&parquet_source(&path)).as_ref()).unwrap_err().to_string();
    assert!(error.contains("event time is null 7 rows further on"), "{error}");
    std::fs::write(&path, "not parquet").unwrap();
    assert!(read_all(build(&parquet_source(&path)).as_ref()).unwrap_err().to_string().contains("a.parquet"));
}
