//! First half of a SESSION aggregation: the rows of a batch become one partial result for each key and unbroken stretch
//! of time. It holds nothing between batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::element::Batch;
use crate::operators::aggregate::{Aggregate, pieces, timestamps};
use crate::operators::groups::{Groups, Inputs};
use crate::operators::windows::shift;
use crate::operators::{Emit, Operator, OperatorCounters, OperatorError};

pub(crate) struct MiniSessions {
    spec: Arc<Aggregate>,
    /// `None` without key columns.
    keys: Option<Box<dyn GroupValues>>,
    accumulators: Groups,
    counters: OperatorCounters,
}

/// Stretches of the rows of a batch.
struct Stretches {
    /// Stretch of each row.
    numbers: Vec<usize>,
    starts: Vec<i64>,
    lasts: Vec<i64>,
    /// A row of each stretch, to take its keys from.
    rows: Vec<u32>,
}

impl Stretches {
    fn new(times: &[i64], keys: &[usize], gap: i64) -> Self {
        let mut order: Vec<(usize, i64, u32)> =
            keys.iter().zip(times).enumerate().map(|(row, (key, time))| (*key, *time, row as u32)).collect();
        order.sort_unstable();
        let mut found = Self { numbers: vec![0; times.len()], starts: Vec::new(), lasts: Vec::new(), rows: Vec::new() };
        let mut before: Option<(usize, i64)> = None;
        for (key, time, row) in order {
            let same = before.is_some_and(|(last_key, last)| last_key == key && time.saturating_sub(last) < gap);
            if !same {
                found.starts.push(time);
                found.lasts.push(time);
                found.rows.push(row);
            }
            if let Some(last) = found.lasts.last_mut() {
                *last = time;
            }
            if let Some(number) = found.numbers.get_mut(row as usize) {
                *number = found.starts.len() - 1;
            }
            before = Some((key, time));
        }
        found
    }
}

impl MiniSessions {
    pub(crate) fn new(spec: Arc<Aggregate>) -> Result<Self, OperatorError> {
        let keys = if spec.key_fields.is_empty() {
            None
        } else {
            let schema = Arc::new(Schema::new(spec.key_fields.clone()));
            Some(new_group_values(schema, &GroupOrdering::None).map_err(|error| spec.failed(&error))?)
        };
        let accumulators = Groups::new(&[], &spec.calls).map_err(|error| spec.failed(&error))?;
        let counters = OperatorCounters::new(&format!("{}/pre", spec.id));
        Ok(Self { spec, keys, accumulators, counters })
    }

    fn number(&mut self, inputs: &Inputs) -> datafusion::common::Result<Vec<usize>> {
        let Some(keys) = &mut self.keys else { return Ok(vec![0; inputs.rows]) };
        let mut numbers = Vec::with_capacity(inputs.rows);
        keys.intern(&inputs.keys, &mut numbers)?;
        keys.emit(EmitTo::All)?;
        keys.clear_shrink(inputs.rows);
        Ok(numbers)
    }

    fn partials(&mut self, times: &[i64], inputs: &Inputs) -> datafusion::common::Result<Vec<ArrayRef>> {
        let keys = self.number(inputs)?;
        let stretches = Stretches::new(times, &keys, self.spec.window.size());
        self.accumulators.update_numbered(inputs, &stretches.numbers, stretches.starts.len())?;
        let rows = UInt32Array::from(stretches.rows);
        let mut columns = vec![timestamps(stretches.starts), timestamps(stretches.lasts)];
        for key in &inputs.keys {
            columns.push(take(key, &rows, None)?);
        }
        columns.extend(self.accumulators.take_states()?);
        Ok(columns)
    }
}

impl Operator for MiniSessions {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError> {
        let spec = self.spec.clone();
        let times = spec.times(&batch.rows)?;
        self.counters.records_in += times.len() as u64;
        let inputs = spec.evaluate(&batch.rows)?;
        let late = shift(batch.late_before, spec.lag);
        let in_time: Vec<u32> = (0_u32..).zip(times).filter(|(_, time)| **time >= late).map(|(row, _)| row).collect();
        self.counters.late_dropped += (times.len() - in_time.len()) as u64;
        let columns = if in_time.len() == times.len() {
            self.partials(times, &inputs)
        } else {
            let kept: Vec<i64> = times.iter().copied().filter(|time| *time >= late).collect();
            inputs.take(&UInt32Array::from(in_time)).and_then(|inputs| self.partials(&kept, &inputs))
        };
        let rows = spec.partial_batch(columns.map_err(|error| spec.failed(&error))?)?;
        self.counters.records_out += rows.num_rows() as u64;
        pieces(&rows).try_for_each(|rows| emit(Batch::from(rows)))
    }

    fn counters(&self) -> Option<OperatorCounters> {
        Some(self.counters.clone())
    }
}
