//! AVG over whole numbers from an exact sum and a count; DataFusion's adds up in floating point, so that its result
//! depends on the order of the rows. Other types go to DataFusion's.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::types::{NativeType, logical_float64, logical_int64};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, not_impl_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, EmitTo, GroupsAccumulator, Signature, TypeSignature,
    TypeSignatureClass, Volatility,
};

use super::{Distinct, Exact, first};

/// AVG with exact whole numbers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExactAverage {
    inner: Avg,
    signature: Signature,
}

impl ExactAverage {
    pub(crate) fn udaf() -> Arc<AggregateUDF> {
        let exactly = |class| TypeSignature::Coercible(vec![Coercion::new_exact(class)]);
        let into = |native, from, to| {
            let class = TypeSignatureClass::Native(native);
            TypeSignature::Coercible(vec![Coercion::new_implicit(class, vec![from], to)])
        };
        let kinds = vec![
            exactly(TypeSignatureClass::Decimal),
            exactly(TypeSignatureClass::Duration),
            into(logical_int64(), TypeSignatureClass::Integer, NativeType::Int64),
            into(logical_float64(), TypeSignatureClass::Float, NativeType::Float64),
        ];
        let signature = Signature::one_of(kinds, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Self { inner: Avg::new(), signature }))
    }
}

fn is_exact(field: Option<&FieldRef>) -> bool {
    field.is_some_and(|field| *field.data_type() == DataType::Int64)
}

/// The quotient; nearest where both numbers have a floating point form, and never two roundings away from it.
fn mean(sum: i128, count: u64) -> f64 {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    if sum.unsigned_abs() < u128::from(EXACT) && count < EXACT {
        return sum as f64 / count as f64;
    }
    let (whole, rest) = (sum / i128::from(count), sum % i128::from(count));
    whole as f64 + rest as f64 / count as f64
}

impl AggregateUDFImpl for ExactAverage {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_exact(args.expr_fields.first()) {
            return self.inner.accumulator(args);
        }
        if !args.is_distinct {
            return exec_err!("AVG over whole numbers is only computed for groups");
        }
        Ok(Distinct::<Int64Type>::boxed(DataType::Int64, |values, _| {
            let sum = values.iter().map(|value| i128::from(*value)).sum();
            let count = values.len() as u64;
            Ok(ScalarValue::Float64((count > 0).then(|| mean(sum, count))))
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !is_exact(args.input_fields.first()) {
            return self.inner.state_fields(args);
        }
        if args.is_distinct {
            let values = Field::new_list_field(DataType::Int64, true);
            return Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "avg distinct"), values, false))]);
        }
        let sum = Int64Type::wide(&DataType::Int64);
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "count"), DataType::UInt64, true)),
            Arc::new(Field::new(format_state_name(args.name, "sum"), sum, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        if is_exact(args.expr_fields.first()) {
            !args.is_distinct
        } else {
            self.inner.groups_accumulator_supported(args)
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if is_exact(args.expr_fields.first()) {
            return Ok(Box::new(Averages::default()));
        }
        self.inner.create_groups_accumulator(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }
}

/// Sum and count of each group.
#[derive(Debug, Default)]
struct Averages {
    totals: Vec<(i128, u64)>,
}

impl GroupsAccumulator for Averages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = first(values)?.as_primitive::<Int64Type>();
        self.totals.resize(total_num_groups, (0, 0));
        for (row, (group, value)) in group_indices.iter().zip(values).enumerate() {
            let kept = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let (Some(value), true, Some((sum, count))) = (value, kept, self.totals.get_mut(*group)) {
                *sum += i128::from(value);
                *count += 1;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = emit_to.take_needed(&mut self.totals).into_iter();
        let means = totals.map(|(sum, count)| (count > 0).then(|| mean(sum, count)));
        Ok(Arc::new(means.collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts): (Vec<i128>, Vec<u64>) = emit_to.take_needed(&mut self.totals).into_iter().unzip();
        let sums = Decimal128Array::from(sums).with_data_type(Int64Type::wide(&DataType::Int64));
        Ok(vec![Arc::new(UInt64Array::from(counts)), Arc::new(sums)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let [counts, sums] = values else { return Err(exec_datafusion_err!("AVG has two state columns")) };
        let (counts, sums) = (counts.as_primitive::<UInt64Type>(), sums.as_primitive::<Decimal128Type>());
        self.totals.resize(total_num_groups, (0, 0));
        for ((group, added), more) in group_indices.iter().zip(sums.values()).zip(counts.values()) {
            if let Some((sum, count)) = self.totals.get_mut(*group) {
                *sum += added;
                *count += more;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("partial results are made of groups")
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<(i128, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_rounded_once() {
        for (sum, count, expected) in [
            (10, 3, 10.0_f64 / 3.0),
            (9_007_199_254_740_995, 3, 3_002_399_751_580_331.5),
            (i128::from(i64::MIN) * 7, 7, -9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(mean(sum, count).to_bits(), expected.to_bits(), "{sum} / {count}");
        }
    }
}
