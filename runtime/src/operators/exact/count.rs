//! COUNT(*): needs the numbers of the groups and no column at all.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::first;

/// Rows of each group. Its state is that of DataFusion's COUNT.
#[derive(Debug, Default)]
pub(crate) struct RowCounts {
    counts: Vec<i64>,
}

impl GroupsAccumulator for RowCounts {
    fn update_batch(
        &mut self,
        _: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.counts.resize(total_num_groups, 0);
        for (row, group) in group_indices.iter().enumerate() {
            if let Some(count) = self.counts.get_mut(*group) {
                let kept = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
                *count += i64::from(kept);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(emit_to.take_needed(&mut self.counts))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let added = first(values)?.as_primitive::<Int64Type>();
        self.counts.resize(total_num_groups, 0);
        for (group, added) in group_indices.iter().zip(added.values()) {
            if let Some(count) = self.counts.get_mut(*group) {
                *count += added;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("partial results are made of groups")
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
