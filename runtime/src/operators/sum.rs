//! SUM over integers that is exact: added up in 128 bits, an error where the result does not fit BIGINT.
//! (DataFusion's own wraps around silently.) All other types go to DataFusion's.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};
use datafusion::physical_expr::NullState;

/// 38 digits: a sum of 2^63 values of 2^63 is below 10^38.
const STATE: DataType = DataType::Decimal128(38, 0);

/// SUM with exact integers.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ExactSum {
    inner: Sum,
}

impl ExactSum {
    pub(crate) fn udaf() -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self::default()))
    }
}

fn out_of_range(sum: i128) -> datafusion::error::DataFusionError {
    exec_datafusion_err!("SUM is {sum} and does not fit BIGINT; use SUM(CAST(x AS DECIMAL(38, 0)))")
}

fn to_bigint(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| out_of_range(sum))
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if *args.return_field.data_type() != DataType::Int64 {
            return self.inner.accumulator(args);
        }
        if args.is_distinct {
            return Ok(Box::new(DistinctSum { values: std::collections::BTreeSet::new() }));
        }
        Ok(Box::new(OneSum { sum: None }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct || *args.return_field.data_type() != DataType::Int64 {
            return self.inner.state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if *args.return_field.data_type() == DataType::Int64 {
            return Ok(Box::new(ManySums { sums: Vec::new(), seen: NullState::new() }));
        }
        self.inner.create_groups_accumulator(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }
}

fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    values.first().ok_or_else(|| exec_datafusion_err!("SUM without an argument"))
}

#[derive(Debug)]
struct ManySums {
    sums: Vec<i128>,
    seen: NullState,
}

impl ManySums {
    fn take(&mut self, emit_to: EmitTo) -> (Vec<i128>, Option<NullBuffer>) {
        (emit_to.take_needed(&mut self.sums), self.seen.build(emit_to))
    }
}

fn states(sums: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Decimal128Array::new(sums.into(), nulls).with_data_type(STATE))
}

impl GroupsAccumulator for ManySums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = first(values)?.as_primitive::<Int64Type>();
        self.sums.resize(total_num_groups, 0);
        let sums = &mut self.sums;
        self.seen.accumulate(group_indices, values, opt_filter, total_num_groups, |group, value| {
            if let Some(sum) = sums.get_mut(group) {
                *sum += i128::from(value);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.take(emit_to);
        let sums = sums.into_iter().map(to_bigint).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Int64Array::new(sums.into(), nulls)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.take(emit_to);
        Ok(vec![states(sums, nulls)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let values = first(values)?.as_primitive::<Decimal128Type>();
        self.sums.resize(total_num_groups, 0);
        let sums = &mut self.sums;
        self.seen.accumulate(group_indices, values, None, total_num_groups, |group, value| {
            if let Some(sum) = sums.get_mut(group) {
                *sum += value;
            }
        });
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = first(values)?.as_primitive::<Int64Type>();
        let kept =
            (0..values.len()).map(|row| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)));
        let sums = values.iter().zip(kept).map(|(value, kept)| value.filter(|_| kept).map(i128::from));
        Ok(vec![Arc::new(sums.collect::<Decimal128Array>().with_data_type(STATE))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.seen.size()
    }
}

#[derive(Debug)]
struct OneSum {
    sum: Option<i128>,
}

impl Accumulator for OneSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in first(values)?.as_primitive::<Int64Type>().iter().flatten() {
            self.sum = Some(self.sum.unwrap_or(0) + i128::from(value));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.sum.map(to_bigint).transpose()?))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.sum, 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for value in first(states)?.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = Some(self.sum.unwrap_or(0) + value);
        }
        Ok(())
    }
}

/// SUM(DISTINCT): the state is the list of values.
#[derive(Debug)]
struct DistinctSum {
    values: std::collections::BTreeSet<i64>,
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = cast(first(values)?, &DataType::Int64)?;
        self.values.extend(values.as_primitive::<Int64Type>().iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.values.iter().map(|value| i128::from(*value)).reduce(|a, b| a + b);
        Ok(ScalarValue::Int64(sum.map(to_bigint).transpose()?))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.len() * 2 * size_of::<i64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().map(|value| ScalarValue::Int64(Some(*value))).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in first(states)?.as_list::<i32>().iter().flatten() {
            self.values.extend(list.as_primitive::<Int64Type>().iter().flatten());
        }
        Ok(())
    }
}
