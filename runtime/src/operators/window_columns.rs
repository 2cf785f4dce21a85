//! TUMBLE and HOP without GROUP BY: adds `window_start`, `window_end` and `window_time`; HOP repeats a row for each of
//! its windows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::aggregate::timestamps;
use super::chain::Factory;
use super::windows::WindowKind;
use super::{Emit, Operator, OperatorError};
use crate::connectors::values::row::describe;
use crate::dataflow::key_groups::Place;
use crate::element::Batch;

#[derive(Clone, Debug)]
pub(crate) struct WindowColumns {
    pub(crate) transform: String,
    pub(crate) window: WindowKind,
    /// Index of the time column.
    pub(crate) time: usize,
    /// Input columns, then the three window columns.
    pub(crate) schema: SchemaRef,
}

impl WindowColumns {
    fn failed(&self, message: impl Into<String>) -> OperatorError {
        OperatorError::Row { operator: self.transform.clone(), message: message.into() }
    }

    fn with_windows(&self, rows: &RecordBatch, starts: Vec<i64>) -> Result<RecordBatch, OperatorError> {
        let ends: Vec<i64> = starts.iter().map(|start| self.window.end(*start)).collect();
        let times = ends.iter().map(|end| end.saturating_sub(1)).collect();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns.extend([timestamps(starts), timestamps(ends), timestamps(times)]);
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| self.failed(error.to_string()))
    }
}

impl Operator for WindowColumns {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError> {
        let column = batch.rows.columns().get(self.time);
        let Some(times) = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()) else {
            return Err(self.failed("the event time column is not a TIMESTAMP"));
        };
        if let Some(null) = (0..times.len()).find(|row| times.is_null(*row)) {
            let row = describe(&batch.rows, null);
            return Err(self.failed(format!(
                "a row has no event time (NULL); filter such rows out with WHERE, or give them a time; row {row}"
            )));
        }
        let last: Vec<i64> =
            times.values().iter().map(|ts| self.window.last_window(self.window.pane_start(*ts))).collect();
        let WindowKind::Hop { slide, size } = self.window else {
            let rows = self.with_windows(&batch.rows, last)?;
            return emit(Batch { rows, ..batch });
        };
        // The planner bounds size / slide, so this loop is short.
        for back in 0..=(size - 1) / slide {
            let starts: Vec<i64> = last.iter().map(|start| start.saturating_sub(back * slide)).collect();
            let inside = starts.iter().zip(times.values()).map(|(start, ts)| *ts < self.window.end(*start));
            let mask = BooleanArray::from(inside.collect::<Vec<bool>>());
            let rows = self.with_windows(&batch.rows, starts)?;
            let origin = batch.origin.as_ref();
            let (rows, origin) = match mask.true_count() {
                0 => continue,
                all if all == rows.num_rows() => (rows, origin.cloned()),
                _ => {
                    let rows = filter_record_batch(&rows, &mask).map_err(|error| self.failed(error.to_string()))?;
                    (rows, origin.map(|origin| origin.filtered(&mask)))
                }
            };
            emit(Batch { rows, late_before: batch.late_before, origin })?;
        }
        Ok(())
    }
}

impl Factory for Arc<WindowColumns> {
    fn build(&self, _place: Place) -> Result<Box<dyn Operator>, OperatorError> {
        Ok(Box::new(WindowColumns::clone(self)))
    }

    fn describe(&self) -> String {
        format!("{}: window columns {:?}", self.transform, self.window)
    }
}
