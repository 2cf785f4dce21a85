//! Grouped accumulators: the one place where rows meet DataFusion's aggregate functions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::GroupValues;

use super::dense::group_values;

use super::exact::RowCounts;
use super::values::canonical;

/// One aggregate of a query with its arguments and its FILTER.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    pub(crate) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// How many state columns it has.
    pub(crate) states: usize,
}

impl Call {
    /// COUNT(*) has no argument.
    fn counts_rows(&self) -> bool {
        self.arguments.is_empty() && self.function.fun().name() == "count"
    }

    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.counts_rows() {
            return Ok(Box::new(RowCounts::default()));
        }
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

/// Key and argument columns of some rows.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) arguments: Vec<Vec<ArrayRef>>,
    pub(crate) filters: Vec<Option<BooleanArray>>,
    pub(crate) rows: usize,
}

impl Inputs {
    pub(crate) fn evaluate(keys: &[Arc<dyn PhysicalExpr>], calls: &[Call], rows: &RecordBatch) -> Result<Self> {
        let count = rows.num_rows();
        let value = |expr: &Arc<dyn PhysicalExpr>| canonical(expr, rows);
        let keys = keys.iter().map(value).collect::<Result<_>>()?;
        let mut arguments = Vec::with_capacity(calls.len());
        let mut filters = Vec::with_capacity(calls.len());
        for call in calls {
            arguments.push(call.arguments.iter().map(value).collect::<Result<_>>()?);
            let filter = call.filter.as_ref().map(value).transpose()?;
            filters.push(filter.map(|filter| arrow::array::AsArray::as_boolean(&filter).clone()));
        }
        Ok(Self { keys, arguments, filters, rows: count })
    }

    pub(crate) fn slice(&self, offset: usize, length: usize) -> Self {
        let slice = |columns: &Vec<ArrayRef>| columns.iter().map(|column| column.slice(offset, length)).collect();
        Self {
            keys: slice(&self.keys),
            arguments: self.arguments.iter().map(slice).collect(),
            filters: self.filters.iter().map(|f| f.as_ref().map(|f| f.slice(offset, length))).collect(),
            rows: length,
        }
    }

    pub(crate) fn take(&self, indices: &arrow::array::UInt32Array) -> Result<Self> {
        let take = |column: &ArrayRef| arrow::compute::take(column, indices, None).map_err(Into::into);
        let take_all = |columns: &Vec<ArrayRef>| columns.iter().map(take).collect::<Result<Vec<_>>>();
        let filter = |filter: &Option<BooleanArray>| -> Result<Option<BooleanArray>> {
            let Some(filter) = filter else { return Ok(None) };
            let taken = arrow::compute::take(filter, indices, None)?;
            Ok(Some(arrow::array::AsArray::as_boolean(&taken).clone()))
        };
        Ok(Self {
            keys: take_all(&self.keys)?,
            arguments: self.arguments.iter().map(take_all).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            rows: indices.len(),
        })
    }
}

enum Keys {
    /// No key columns: all rows are one group, once there are rows.
    One {
        seen: bool,
    },
    Many(Box<dyn GroupValues>),
}

/// Accumulators of many groups. Group numbers are dense and live only between two `take_*`.
pub(crate) struct Groups {
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    states: Vec<usize>,
    numbers: Vec<usize>,
}

impl Groups {
    pub(crate) fn new(key_fields: &[Field], calls: &[Call]) -> Result<Self> {
        let keys = if key_fields.is_empty() {
            Keys::One { seen: false }
        } else {
            let schema: SchemaRef = Arc::new(Schema::new(key_fields.to_vec()));
            Keys::Many(group_values(schema)?)
        };
        Ok(Self {
            keys,
            accumulators: calls.iter().map(Call::accumulator).collect::<Result<_>>()?,
            states: calls.iter().map(|call| call.states).collect(),
            numbers: Vec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        match &self.keys {
            Keys::One { seen } => usize::from(*seen),
            Keys::Many(values) => values.len(),
        }
    }

    /// Bytes held, as far as the accumulators know.
    pub(crate) fn size(&self) -> usize {
        let keys = match &self.keys {
            Keys::One { .. } => 0,
            Keys::Many(values) => values.size(),
        };
        keys + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        self.numbers.clear();
        match &mut self.keys {
            Keys::One { seen } => {
                *seen = *seen || rows > 0;
                self.numbers.resize(rows, 0);
            }
            Keys::Many(values) => values.intern(keys, &mut self.numbers)?,
        }
        Ok(self.len())
    }

    /// Counts rows in.
    pub(crate) fn update(&mut self, inputs: &Inputs) -> Result<()> {
        let total = self.number(&inputs.keys, inputs.rows)?;
        let columns = inputs.arguments.iter().zip(&inputs.filters);
        for (accumulator, (arguments, filter)) in self.accumulators.iter_mut().zip(columns) {
            accumulator.update_batch(arguments, &self.numbers, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Counts rows in whose group numbers the caller made up (`Groups::new` without key fields).
    pub(crate) fn update_numbered(&mut self, inputs: &Inputs, numbers: &[usize], total: usize) -> Result<()> {
        let columns = inputs.arguments.iter().zip(&inputs.filters);
        for (accumulator, (arguments, filter)) in self.accumulators.iter_mut().zip(columns) {
            accumulator.update_batch(arguments, numbers, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Merges partial results: `columns` are key columns, then the state columns of all calls.
    pub(crate) fn merge(&mut self, columns: &[ArrayRef], key_count: usize) -> Result<()> {
        let rows = columns.first().map_or(0, Array::len);
        let (keys, states) = columns.split_at(key_count.min(columns.len()));
        let total = self.number(keys, rows)?;
        let numbers = std::mem::take(&mut self.numbers);
        self.merge_numbered(states, &numbers, total)?;
        self.numbers = numbers;
        Ok(())
    }

    /// Merges state columns whose group numbers the caller made up.
    pub(crate) fn merge_numbered(&mut self, states: &[ArrayRef], numbers: &[usize], total: usize) -> Result<()> {
        let mut rest = states;
        for (accumulator, count) in self.accumulators.iter_mut().zip(&self.states) {
            let (own, others) = rest.split_at((*count).min(rest.len()));
            rest = others;
            accumulator.merge_batch(own, numbers, total)?;
        }
        Ok(())
    }

    /// Empties it of its keys: the accumulators must be emptied next.
    pub(crate) fn take_keys(&mut self) -> Result<Vec<ArrayRef>> {
        match &mut self.keys {
            Keys::One { seen } => {
                *seen = false;
                Ok(Vec::new())
            }
            Keys::Many(values) => {
                let count = values.len();
                let columns = values.emit(EmitTo::All)?;
                // Not all implementations forget their hash table when everything is emitted.
                values.clear_shrink(count);
                Ok(columns)
            }
        }
    }

    /// Empties it: key columns and state columns.
    pub(crate) fn take_states(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = self.take_keys()?;
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(columns)
    }

    /// Empties the accumulators: result columns.
    pub(crate) fn take_results(&mut self) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All)).collect()
    }
}
