//! Rows made from a seed: row k depends on (seed, k) only, whatever the parallelism and wherever a restart happened.
//!
//! Rows are numbered from 0 and cut into blocks; block b belongs to split b mod splits. A batch never crosses a block,
//! so batches are the same after a restore, and every split's rows are in order.

mod columns;
mod feed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use self::columns::GeneratedColumn;
use self::feed::{GeneratorFeed, Position};
use super::event_time::EventTime;
use super::reader::{Projection, Shape, SplitsReader, project};
use super::{Assignment, SourceConnector, SourceError, SourceReader, Split, values};
use crate::element::Watermark;

/// Rows per block of an unthrottled generator: large enough that work per batch does not count, small enough for the
/// cache.
const BLOCK_ROWS: u64 = 8192;
/// A throttled generator's splits give at least this many blocks a second (down to blocks of one row).
const BLOCKS_PER_SECOND: u64 = 20;

/// A configured generator.
pub struct Generator {
    name: String,
    rows: Option<u64>,
    rows_per_second: Option<u64>,
    columns: Arc<[GeneratedColumn]>,
    read_schema: SchemaRef,
    output_schema: SchemaRef,
    shape: Shape,
}

impl Generator {
    /// `wanted`: the columns to yield, in order; only these and event time are made.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] naming a column that is unknown or cannot be made as told.
    pub fn new(
        spec: &api::pipeline::Source,
        generator: &api::pipeline::GeneratorSource,
        wanted: &[String],
        event_time: Option<&EventTime>,
    ) -> Result<Self, SourceError> {
        let declared: Vec<&str> = spec.columns.iter().map(|column| column.name.as_str()).collect();
        let Projection { read, shape } = project(&spec.name, &declared, wanted, event_time)?;
        let read: Vec<_> = read.iter().filter_map(|index| spec.columns.get(*index)).collect();
        let build = |column: &&api::pipeline::Column| {
            GeneratedColumn::new(column, generator.seed, generator.rows).map_err(|message| SourceError::Malformed {
                source_name: spec.name.clone(),
                position: format!("column `{}`", column.name),
                message,
            })
        };
        let columns = read.iter().map(build).collect::<Result<Arc<[_]>, _>>()?;
        let read_schema = Schema::new(read.iter().map(|column| values::field(column)).collect::<Vec<_>>());
        let output_schema = read_schema.project(&shape.output).map_err(|error| SourceError::Malformed {
            source_name: spec.name.clone(),
            position: "columns".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self {
            name: spec.name.clone(),
            rows: generator.rows,
            rows_per_second: generator.rows_per_second,
            columns,
            read_schema: Arc::new(read_schema),
            output_schema: Arc::new(output_schema),
            shape,
        })
    }

    fn block_rows(&self, splits: u64) -> u64 {
        match self.rows_per_second {
            Some(rate) => (rate / (splits * BLOCKS_PER_SECOND)).clamp(1, BLOCK_ROWS),
            None => BLOCK_ROWS,
        }
    }
}

impl SourceConnector for Generator {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output_schema)
    }

    fn resolve(&self, parallelism: u32) -> Result<Vec<Split>, SourceError> {
        let splits = u64::from(parallelism.max(1));
        let block_rows = self.block_rows(splits);
        let split = |index: u64| {
            let position = Position { splits, block_rows, rows: self.rows, block: index, row: 0 };
            // Padded, so that the order of ids is the order of splits.
            Split {
                id: format!("{index:06}"),
                position: position.encode(),
                watermark: Watermark::START,
                finished: false,
            }
        };
        Ok((0..splits).map(split).collect())
    }

    fn is_parallel_in_time(&self) -> bool {
        true
    }

    fn open(&self, Assignment { splits, .. }: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let feed = |split: Split| {
            let position = Position::decode(&self.name, &split.position)?;
            let schema = Arc::clone(&self.read_schema);
            let feed = GeneratorFeed::new(Arc::clone(&self.columns), schema, position, self.rows_per_second);
            Ok((split, feed))
        };
        let feeds = splits.into_iter().map(feed).collect::<Result<Vec<_>, SourceError>>()?;
        Ok(Box::new(SplitsReader::new(self.name.clone(), self.shape.clone(), feeds)))
    }
}
