//! Files as a source: the set of files and the length of each are resolved once; one split per file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::pipeline::{Column, Decoder};
use arrow::datatypes::{Schema, SchemaRef};
use glob::MatchOptions;

use super::csv::CsvDecoder;
use super::feed::FileFeed;
use super::parquet::ParquetFeed;
use super::position::{At, Identity, Position, io_error};
use super::text::TextFeed;
use crate::connectors::formats::buffer::ColumnBuffer;
use crate::connectors::formats::json::JsonDecoder;
use crate::connectors::formats::records::{Decode, OnFault, Rows};
use crate::connectors::reader::{Projection, Shape, SplitsReader, project};
use crate::connectors::{Assignment, EventTime, Retry, SourceConnector, SourceError, SourceReader, Split, values};
use crate::element::Watermark;

/// Files of one source: each is held in every checkpoint, so their number is bounded.
const MAX_FILES: usize = 10_000;

/// A configured files source.
pub struct FilesSource {
    name: Arc<str>,
    path: String,
    decoder: Decoder,
    /// Names of all columns in the manifest's order.
    declared: Vec<String>,
    /// The columns that are read.
    columns: Vec<Column>,
    read_schema: SchemaRef,
    output_schema: SchemaRef,
    shape: Shape,
}

impl FilesSource {
    /// `wanted`: the columns to yield, in order.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] naming a column that the manifest does not declare.
    pub fn new(
        spec: &api::pipeline::Source,
        files: &api::pipeline::FilesSource,
        decoder: &Decoder,
        wanted: &[String],
        event_time: Option<&EventTime>,
    ) -> Result<Self, SourceError> {
        if *decoder == Decoder::Raw {
            return Err(SourceError::Malformed {
                source_name: spec.name.clone(),
                position: "format".to_owned(),
                message: "a file has no bounds between raw records; set json, csv or parquet".to_owned(),
            });
        }
        let names: Vec<&str> = spec.columns.iter().map(|column| column.name.as_str()).collect();
        let Projection { read, shape } = project(&spec.name, &names, wanted, event_time)?;
        let columns: Vec<Column> = read.iter().filter_map(|index| spec.columns.get(*index)).cloned().collect();
        let read_schema = Schema::new(columns.iter().map(values::field).collect::<Vec<_>>());
        let output_schema = read_schema.project(&shape.output).map_err(|error| SourceError::Malformed {
            source_name: spec.name.clone(),
            position: "columns".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self {
            name: spec.name.as_str().into(),
            path: files.path.clone(),
            decoder: decoder.clone(),
            declared: names.into_iter().map(ToOwned::to_owned).collect(),
            columns,
            read_schema: Arc::new(read_schema),
            output_schema: Arc::new(output_schema),
            shape,
        })
    }

    fn failed(&self, path: &str, message: String, retry: Retry) -> SourceError {
        SourceError::Io { source_name: self.name.to_string(), path: path.to_owned(), message, retry }
    }

    /// The files that the path names, sorted.
    fn find(&self) -> Result<Vec<PathBuf>, SourceError> {
        let literal = Path::new(&self.path);
        if literal.is_file() {
            return Ok(vec![literal.to_owned()]);
        }
        if literal.is_dir() {
            let message = format!("is a folder; name its files, as {}/*", self.path.trim_end_matches('/'));
            return Err(self.failed(&self.path, message, Retry::Never));
        }
        // Hidden files are not matched: among them are outputs that nobody has committed yet.
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let matches = glob::glob_with(&self.path, options)
            .map_err(|error| self.failed(&self.path, format!("is no pattern: {error}"), Retry::Never))?;
        let mut paths = Vec::new();
        for path in matches {
            let path = path.map_err(|error| io_error(&self.name, &error.path().to_string_lossy(), error.error()))?;
            if path.is_file() {
                paths.push(path);
            }
            if paths.len() > MAX_FILES {
                return Err(self.failed(&self.path, format!("matches more than {MAX_FILES} files"), Retry::Never));
            }
        }
        if paths.is_empty() {
            return Err(self.failed(&self.path, "no file matches".to_owned(), Retry::Never));
        }
        paths.sort();
        Ok(paths)
    }

    fn decoder(&self, columns: &[ColumnBuffer]) -> Option<Box<dyn Decode>> {
        match &self.decoder {
            Decoder::Json(json) => Some(Box::new(JsonDecoder::new(columns, on_fault(json.on_error)))),
            Decoder::Csv(csv) => Some(Box::new(CsvDecoder::new(
                csv.delimiter_byte(),
                csv.header,
                &self.declared,
                columns,
                on_fault(csv.on_error),
            ))),
            Decoder::Parquet(_) | Decoder::Raw => None,
        }
    }

    fn feed(&self, position: Position) -> Result<FileFeed, SourceError> {
        let (name, schema) = (Arc::clone(&self.name), Arc::clone(&self.read_schema));
        let required = self.shape.event_time;
        let column = |(index, column)| ColumnBuffer::new(column, required == Some(index));
        let rows = Rows::new(self.columns.iter().enumerate().map(column).collect());
        Ok(match self.decoder(&rows.columns) {
            Some(decoder) => FileFeed::Text(Box::new(TextFeed::new(name, schema, position, decoder, rows)?)),
            None => FileFeed::Parquet(Box::new(ParquetFeed::new(name, schema, required, position)?)),
        })
    }
}

fn on_fault(on_error: api::pipeline::OnError) -> OnFault {
    match on_error {
        api::pipeline::OnError::Fail => OnFault::Fail,
        api::pipeline::OnError::Skip => OnFault::Skip,
    }
}

impl SourceConnector for FilesSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output_schema)
    }

    fn resolve(&self, _: u32) -> Result<Vec<Split>, SourceError> {
        let at = match self.decoder {
            Decoder::Parquet(_) => At::Parquet { row_group: 0, row: 0 },
            Decoder::Json(_) | Decoder::Csv(_) | Decoder::Raw => At::Text { offset: 0, line: 0 },
        };
        let split = |path: PathBuf| {
            let position = Position { file: Identity::resolve(&self.name, &path)?, at };
            let id = position.file.path.clone();
            Ok(Split { id, position: position.encode(), watermark: Watermark::START, finished: false })
        };
        self.find()?.into_iter().map(split).collect()
    }

    fn open(&self, Assignment { splits, .. }: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let feed = |split: Split| {
            let position = Position::decode(&self.name, &split.position)?;
            // What is read to its end is not needed any more.
            if !split.finished {
                position.file.verify(&self.name)?;
            }
            let feed = self.feed(position)?;
            Ok((split, feed))
        };
        let feeds = splits.into_iter().map(feed).collect::<Result<Vec<_>, SourceError>>()?;
        Ok(Box::new(SplitsReader::new(self.name.to_string(), self.shape.clone(), feeds)))
    }
}
