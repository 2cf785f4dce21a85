//! A Parquet file as a split: wanted columns only, positions as row group and row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::exact::convert;
use super::position::{At, Position};
use crate::connectors::SourceError;
use crate::connectors::formats::records::CHUNK_ROWS;
use crate::connectors::reader::Fed;

/// Reads one Parquet file from a position to its end.
pub(super) struct ParquetFeed {
    source: Arc<str>,
    schema: SchemaRef,
    /// Column of `schema` that must hold no null.
    required: Option<usize>,
    /// Right behind the last delivered row.
    position: Position,
    /// Where the chunk that is being delivered began.
    begun: (usize, u64),
    open: Option<OpenFile>,
    bytes: u64,
}

struct OpenFile {
    reader: ParquetRecordBatchReader,
    /// Rows of each row group.
    groups: Vec<u64>,
}

impl ParquetFeed {
    pub(super) fn new(
        source: Arc<str>,
        schema: SchemaRef,
        required: Option<usize>,
        position: Position,
    ) -> Result<Self, SourceError> {
        let At::Parquet { row_group, row } = position.at else {
            return Err(SourceError::Position {
                source_name: source.to_string(),
                message: format!("{}: it was read as text; start anew with --fresh", position.file.path),
            });
        };
        Ok(Self { source, schema, required, position, begun: (row_group, row), open: None, bytes: 0 })
    }

    fn malformed(&self, message: String) -> SourceError {
        let (row_group, row) = self.begun;
        SourceError::Malformed {
            source_name: self.source.to_string(),
            position: format!("{} row group {row_group}, from row {row}", self.position.file.path),
            message,
        }
    }

    pub(super) fn poll(&mut self) -> Result<Fed, SourceError> {
        let At::Parquet { row_group, row } = self.position.at else { return Ok(Fed::End) };
        self.begun = (row_group, row);
        if self.open.is_none() {
            self.open = Some(self.open_at(row_group, row)?);
        }
        let next = self.open.as_mut().and_then(|open| open.reader.next());
        let Some(rows) = next else {
            // What was changed meanwhile may have been read.
            self.position.file.verify(&self.source)?;
            return Ok(Fed::End);
        };
        let rows = rows.and_then(|rows| self.conform(&rows)).map_err(|error| self.malformed(error.to_string()))?;
        if let Some(at) = self.required.and_then(|column| first_null(rows.column(column))) {
            return Err(self.malformed(format!("event time is null {at} rows further on")));
        }
        self.bytes += rows.get_array_memory_size() as u64;
        Ok(Fed::Rows(rows))
    }

    fn open_at(&self, row_group: usize, row: u64) -> Result<OpenFile, SourceError> {
        let file = self.position.file.open(&self.source)?;
        // The file's own types decide, not what its writer noted for readers like itself.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
        let builder = builder.map_err(|error| self.malformed(error.to_string()))?;
        let groups: Vec<u64> =
            builder.metadata().row_groups().iter().map(|group| group.num_rows().unsigned_abs()).collect();
        let mut roots = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let root = builder.schema().index_of(field.name());
            roots.push(root.map_err(|_| {
                let names: Vec<&str> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
                self.malformed(format!("has no column `{}`; it has {}", field.name(), names.join(", ")))
            })?);
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let left = (row_group.min(groups.len())..groups.len()).collect();
        let open = |row: u64| -> Result<ParquetRecordBatchReader, ParquetError> {
            let builder = builder.with_projection(mask).with_row_groups(left).with_batch_size(CHUNK_ROWS);
            builder.with_offset(usize::try_from(row).unwrap_or(usize::MAX)).build()
        };
        let reader = open(row).map_err(|error| self.malformed(error.to_string()))?;
        Ok(OpenFile { reader, groups })
    }

    /// The declared columns in declared order and type; a value that does not fit is an error, never null.
    fn conform(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let conform = |field: &arrow::datatypes::FieldRef| -> Result<ArrayRef, ArrowError> {
            let column = rows.column_by_name(field.name());
            let column =
                column.ok_or_else(|| ArrowError::SchemaError(format!("column `{}` is missing", field.name())))?;
            convert(column, field.data_type())
                .map_err(|error| ArrowError::CastError(format!("column `{}`: {error}", field.name())))
        };
        let columns = self.schema.fields().iter().map(conform).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    pub(super) fn deliver(&mut self, rows: usize) {
        let (mut row_group, mut row) = self.begun;
        row += rows as u64;
        let groups = self.open.as_ref().map(|open| open.groups.as_slice()).unwrap_or_default();
        while let Some(length) = groups.get(row_group).filter(|length| **length <= row) {
            row -= length;
            row_group += 1;
        }
        self.position.at = At::Parquet { row_group, row };
    }

    pub(super) fn place(&self, begin: usize, end: usize) -> String {
        let (row_group, row) = self.begun;
        let (first, behind) = (row + begin as u64, row + end as u64);
        format!("{} row group {row_group}, rows {first} to {}", self.position.file.path, behind.saturating_sub(1))
    }

    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    pub(super) fn rest(&mut self) {
        self.open = None;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn first_null(column: &ArrayRef) -> Option<usize> {
    let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0)?;
    (0..nulls.len()).find(|row| nulls.is_null(*row))
}
