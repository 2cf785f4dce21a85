//! What holds for files, read and written.

mod csv;
mod encoding;
mod json;
mod parquet;
mod reading;
mod recording;
mod renaming;
mod writing;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use api::pipeline::{Column, ColumnType, CsvFormat, FilesSource as Spec, Format, JsonFormat, OnError, Source};
use arrow::record_batch::RecordBatch;

use crate::connectors::{Next, SourceConnector, SourceError, SourceReader, Split, registry};
use crate::element::{Batch, Watermark};

fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), column_type, generate: None }
}

/// A source of (ts TIMESTAMP, customer BIGINT, note VARCHAR), event time with two seconds of disorder.
fn source(path: &Path, format: Format) -> Source {
    Source {
        name: "orders".to_owned(),
        files: Some(Spec { path: path.to_str().unwrap().to_owned() }),
        kafka: None,
        generator: None,
        format: Some(format),
        columns: vec![
            column("ts", ColumnType::Timestamp),
            column("customer", ColumnType::BigInt),
            column("note", ColumnType::Varchar),
        ],
        metadata: Vec::new(),
        event_time: Some(api::pipeline::EventTime {
            column: "ts".to_owned(),
            max_out_of_orderness: "2s".parse().unwrap(),
            idle_timeout: None,
        }),
    }
}

fn json(on_error: OnError) -> Format {
    Format { json: Some(JsonFormat { on_error }), csv: None, parquet: None, raw: None }
}

fn csv(on_error: OnError) -> Format {
    Format { json: None, csv: Some(CsvFormat { on_error, ..CsvFormat::default() }), parquet: None, raw: None }
}

fn build(source: &Source) -> Box<dyn SourceConnector> {
    let columns: Vec<String> = source.columns.iter().map(|column| column.name.clone()).collect();
    registry::build_source(source, &columns, &BTreeMap::new(), "test").unwrap()
}

/// Everything that a reader says until `batches` batches have come or it ended.
fn read(reader: &mut dyn SourceReader, batches: usize) -> Result<(Vec<Batch>, Vec<Watermark>), SourceError> {
    let (mut rows, mut watermarks) = (Vec::new(), Vec::new());
    while rows.len() < batches {
        match reader.next(Duration::ZERO)? {
            Next::Batch(batch) => rows.push(batch),
            Next::Watermark(watermark) => watermarks.push(watermark),
            Next::Wait(pause) => assert_eq!(pause, Duration::ZERO, "a file never waits"),
            Next::Ended => break,
        }
    }
    Ok((rows, watermarks))
}

fn read_splits(source: &dyn SourceConnector, splits: Vec<Split>) -> Result<Vec<Batch>, SourceError> {
    Ok(read(source.open(splits.into())?.as_mut(), usize::MAX)?.0)
}

fn read_all(source: &dyn SourceConnector) -> Result<Vec<Batch>, SourceError> {
    read_splits(source, source.resolve(1)?)
}

/// Rows as JSON values, by an encoder that is not ours.
fn values(batches: &[Batch]) -> Vec<serde_json::Value> {
    let rows: Vec<&RecordBatch> = batches.iter().map(|batch| &batch.rows).collect();
    let mut text = Vec::new();
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(&mut text);
    writer.write_batches(&rows).unwrap();
    writer.finish().unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The `customer` column.
fn customers(batches: &[Batch]) -> Vec<Option<i64>> {
    values(batches).iter().map(|row| row["customer"].as_i64()).collect()
}
