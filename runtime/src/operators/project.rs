//! WHERE, HAVING and SELECT lists: stateless, one pass over columns.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;

use super::aggregate::{plain, without_positions};
use super::chain::Factory;
use super::values::column;
use super::{Emit, Operator, OperatorError};
use crate::connectors::values::row::with_failing;
use crate::dataflow::key_groups::Place;
use crate::element::Batch;

/// Keeps rows for which the predicate is true (not null).
#[derive(Clone)]
pub(crate) struct Filter {
    pub(crate) transform: String,
    pub(crate) predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    /// The mask, if it leaves anything out.
    fn apply(&self, rows: &RecordBatch) -> Result<Option<(RecordBatch, Option<BooleanArray>)>> {
        let mask = self.predicate.evaluate(rows)?.into_array(rows.num_rows())?;
        let mask = mask.as_boolean();
        let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
        match mask.true_count() {
            0 => Ok(None),
            all if all == rows.num_rows() => Ok(Some((rows.clone(), None))),
            _ => Ok(Some((filter_record_batch(rows, &mask)?, Some(mask)))),
        }
    }
}

impl Operator for Filter {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError> {
        let fails = |row: &RecordBatch| self.apply(row).is_err();
        let kept = self.apply(&batch.rows).map_err(|error| failed(&self.transform, &error, &batch.rows, fails))?;
        let Some((rows, mask)) = kept else { return Ok(()) };
        let origin = match mask {
            Some(mask) => batch.origin.map(|origin| origin.filtered(&mask)),
            None => batch.origin,
        };
        emit(Batch { rows, late_before: batch.late_before, origin })
    }
}

impl Factory for Filter {
    fn build(&self, _place: Place) -> Result<Box<dyn Operator>, OperatorError> {
        Ok(Box::new(self.clone()))
    }

    fn describe(&self) -> String {
        format!("{}: filter {}", self.transform, without_positions(&self.predicate.to_string()))
    }
}

/// Computes columns.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) transform: String,
    pub(crate) expressions: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) schema: SchemaRef,
}

impl Project {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let columns = self.expressions.iter().map(|expression| column(expression, rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl Operator for Project {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError> {
        let fails = |row: &RecordBatch| self.apply(row).is_err();
        let rows = self.apply(&batch.rows).map_err(|error| failed(&self.transform, &error, &batch.rows, fails))?;
        emit(Batch { rows, ..batch })
    }
}

impl Factory for Project {
    fn build(&self, _place: Place) -> Result<Box<dyn Operator>, OperatorError> {
        Ok(Box::new(self.clone()))
    }

    fn describe(&self) -> String {
        let columns = self.expressions.iter().zip(self.schema.fields());
        let columns: Vec<String> = columns
            .map(|(expression, field)| {
                let text = without_positions(&expression.to_string());
                if text == *field.name() { text } else { format!("{text} AS {}", field.name()) }
            })
            .collect();
        format!("{}: select {}", self.transform, columns.join(", "))
    }
}

fn failed(
    transform: &str,
    error: &DataFusionError,
    rows: &RecordBatch,
    fails: impl Fn(&RecordBatch) -> bool,
) -> OperatorError {
    OperatorError::Row { operator: transform.to_owned(), message: with_failing(plain(error), rows, fails) }
}
