//! What a windowed GROUP BY consists of, shared by its two halves (before and after the exchange).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use checkpoint::ids::OperatorId;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;

use super::OperatorError;
use super::exact::group_of;
use super::groups::{Call, Groups, Inputs};
use super::windows::{WindowKind, show};
use crate::connectors::values::row;
use crate::element::Timestamp;

/// Rows in a batch that an operator emits, at most.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// TIMESTAMP as an Arrow type.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A group column of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupColumn {
    WindowStart,
    WindowEnd,
    WindowTime,
    Key(usize),
}

/// A windowed GROUP BY.
///
/// Rows between the halves ("partials") have the columns: bucket (`start`; for HOP also `since`; for SESSION `start`
/// and `last`), keys, states of all calls. State runs have the same columns.
#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) id: OperatorId,
    pub(crate) window: WindowKind,
    /// Values of the time column trail the relation's watermark by up to this many microseconds.
    pub(crate) lag: i64,
    /// Index of the time column (of the window start for attached windows) in the input.
    pub(crate) time: usize,
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_fields: Vec<Field>,
    pub(crate) calls: Vec<Call>,
    pub(crate) group_columns: Vec<GroupColumn>,
    pub(crate) partial: SchemaRef,
    pub(crate) output: SchemaRef,
}

impl Aggregate {
    pub(crate) fn row_error(&self, message: impl Into<String>) -> OperatorError {
        OperatorError::Row { operator: self.id.0.clone(), message: message.into() }
    }

    pub(crate) fn failed(&self, error: &DataFusionError) -> OperatorError {
        self.row_error(plain(error))
    }

    /// The window's result cannot be had; `keys` are those of the groups that were asked for theirs.
    pub(crate) fn failed_in(
        &self,
        start: Timestamp,
        end: Timestamp,
        keys: &[ArrayRef],
        error: &DataFusionError,
    ) -> OperatorError {
        let rows = RecordBatch::try_new(Arc::new(Schema::new(self.key_fields.clone())), keys.to_vec()).ok();
        let key = rows.zip(group_of(error)).map(|(rows, group)| format!(", key {}", row::describe(&rows, group)));
        let window = format!("window {} to {}", show(start), show(end));
        self.row_error(format!("{window}{}: {}", key.unwrap_or_default(), plain(error)))
    }

    /// Key and argument columns of input rows.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<Inputs, OperatorError> {
        let evaluate = |rows: &RecordBatch| Inputs::evaluate(&self.keys, &self.calls, rows);
        evaluate(rows)
            .map_err(|error| self.row_error(row::with_failing(plain(&error), rows, |row| evaluate(row).is_err())))
    }

    pub(crate) fn state_error(&self, message: impl Into<String>) -> OperatorError {
        OperatorError::State { operator: self.id.0.clone(), message: message.into() }
    }

    /// Columns of a partial before the keys.
    pub(crate) fn bucket_columns(&self) -> usize {
        match self.window {
            WindowKind::Tumble { .. } | WindowKind::Attached { .. } => 1,
            WindowKind::Hop { .. } | WindowKind::Session { .. } => 2,
        }
    }

    /// Indices of the key columns in a partial.
    pub(crate) fn partial_keys(&self) -> Vec<usize> {
        let first = self.bucket_columns();
        (first..first + self.keys.len()).collect()
    }

    pub(crate) fn groups(&self) -> Result<Groups, OperatorError> {
        Groups::new(&self.key_fields, &self.calls).map_err(|error| self.failed(&error))
    }

    /// Event times of the input rows.
    pub(crate) fn times<'a>(&self, rows: &'a RecordBatch) -> Result<&'a [i64], OperatorError> {
        let column = rows.columns().get(self.time).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(column) = column else { return Err(self.row_error("the event time column is not a TIMESTAMP")) };
        if column.null_count() > 0 {
            let null = (0..column.len()).find(|row| column.is_null(*row)).unwrap_or(0);
            return Err(self.row_error(format!(
                "a row has no event time (NULL); filter such rows out with WHERE, or give them a time; row {}",
                row::describe(rows, null)
            )));
        }
        Ok(column.values())
    }

    pub(crate) fn partial_batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch, OperatorError> {
        RecordBatch::try_new(self.partial.clone(), columns).map_err(|error| self.row_error(error.to_string()))
    }

    /// Result rows; `starts` and `ends` are as long as the columns.
    pub(crate) fn result_batch(
        &self,
        starts: &ArrayRef,
        ends: &ArrayRef,
        keys: &[ArrayRef],
        results: Vec<ArrayRef>,
    ) -> Result<RecordBatch, OperatorError> {
        let mut columns = Vec::with_capacity(self.group_columns.len() + results.len());
        for column in &self.group_columns {
            columns.push(match column {
                GroupColumn::WindowStart => starts.clone(),
                GroupColumn::WindowEnd => ends.clone(),
                GroupColumn::WindowTime => before(ends),
                GroupColumn::Key(index) => {
                    keys.get(*index).cloned().ok_or_else(|| self.row_error(format!("no key column {index}")))?
                }
            });
        }
        columns.extend(results);
        let options = RecordBatchOptions::new().with_row_count(Some(starts.len()));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
            .map_err(|error| self.row_error(error.to_string()))
    }

    /// State can be kept when this is equal: window, key types, aggregates with their argument and state types.
    pub(crate) fn fingerprint(&self) -> String {
        let fields: Vec<String> = self.partial.fields().iter().map(|field| field.data_type().to_string()).collect();
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let calls: Vec<String> = self.calls.iter().map(describe_call).collect();
        let text = format!(
            "{:?}; lag {}; [{}]; {}; {}",
            self.window,
            self.lag,
            keys.join(", "),
            calls.join(", "),
            fields.join(", ")
        );
        without_positions(&text)
    }
}

impl Aggregate {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let length = |micros: i64| format!("{:?}", std::time::Duration::from_micros(micros.unsigned_abs()));
        let window = match self.window {
            WindowKind::Tumble { size } => format!("tumble {}", length(size)),
            WindowKind::Hop { slide, size } => format!("hop {} every {}", length(size), length(slide)),
            WindowKind::Session { gap } => format!("session gap {}", length(gap)),
            WindowKind::Attached { size } => format!("window columns of {}", length(size)),
        };
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let calls: Vec<String> = self.calls.iter().map(describe_call).collect();
        without_positions(&format!("{window}, key [{}], {}", keys.join(", "), calls.join(", ")))
    }
}

/// Expressions print columns as `name@position`; positions change when another reader wants another column.
pub(crate) fn without_positions(text: &str) -> String {
    let mut parts = text.split('@');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn describe_call(call: &Call) -> String {
    let arguments: Vec<String> = call.arguments.iter().map(ToString::to_string).collect();
    let distinct = if call.function.is_distinct() { "DISTINCT " } else { "" };
    let filter = call.filter.as_ref().map_or_else(String::new, |filter| format!(" FILTER {filter}"));
    format!("{}({distinct}{}){filter}", call.function.fun().name(), arguments.join(", "))
}

fn before(ends: &ArrayRef) -> ArrayRef {
    Arc::new(
        ends.as_primitive::<TimestampMicrosecondType>()
            .unary::<_, TimestampMicrosecondType>(|end| end.saturating_sub(1)),
    )
}

/// A column of one value.
pub(crate) fn constant(value: Timestamp, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_value(value, rows))
}

pub(crate) fn timestamps(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values))
}

/// DataFusion's message without its wrapping.
pub(crate) fn plain(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let mut text = text.as_str();
    for prefix in [
        "External error: ",
        "Execution error: ",
        "Arrow error: ",
        "Error during planning: ",
        "This feature is not implemented: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.to_owned()
}

/// Pieces of at most [`BATCH_ROWS`] rows; no copy.
pub(crate) fn pieces(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    (0..rows.num_rows()).step_by(BATCH_ROWS).map(|offset| rows.slice(offset, BATCH_ROWS.min(rows.num_rows() - offset)))
}
