//! SUM that is exact over whole numbers and decimals: added up in twice the bits, an error where the result does not
//! fit its type. Other types go to DataFusion's.

use std::collections::BTreeSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, DecimalType, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};
use datafusion::physical_expr::NullState;

use super::{AtGroup, Distinct, Exact, first, scale};

/// SUM with exact whole numbers and decimals.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ExactSum {
    inner: Sum,
}

impl ExactSum {
    pub(crate) fn udaf() -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self::default()))
    }
}

fn narrow<V: Exact>(
    sum: <V::Wide as ArrowPrimitiveType>::Native,
    result: &DataType,
) -> std::result::Result<V::Native, String> {
    V::narrow(sum, result).ok_or_else(|| {
        let sum = V::Wide::format_decimal(sum, V::Wide::MAX_PRECISION, scale(result));
        match result {
            DataType::Decimal128(precision, scale) => {
                format!("SUM is {sum} and does not fit DECIMAL({precision}, {scale})")
            }
            _ => format!("SUM is {sum} and does not fit BIGINT; use SUM(CAST(x AS DECIMAL(38, 0)))"),
        }
    })
}

/// Wide sums have room for 2^63 values, more than can ever be read.
fn add<W: ArrowPrimitiveType>(sum: W::Native, value: W::Native) -> W::Native {
    sum.add_wrapping(value)
}

/// What a generic function makes of a type of exact sums; `None` for other types.
macro_rules! for_exact {
    ($function:ident, $result:expr) => {
        match $result {
            DataType::Int64 => Some($function::<Int64Type>($result)),
            DataType::UInt64 => Some($function::<UInt64Type>($result)),
            DataType::Decimal128(..) => Some($function::<Decimal128Type>($result)),
            _ => None,
        }
    };
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..)] => {
                plan_err!(
                    "SUM over {} is not supported; CAST to DECIMAL(38, s)",
                    arg_types.iter().map(ToString::to_string).collect::<String>()
                )
            }
            _ => self.inner.return_type(arg_types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type();
        match for_exact!(distinct, result) {
            Some(accumulator) if args.is_distinct => Ok(accumulator),
            Some(_) => exec_err!("SUM over {result} is only computed for groups"),
            None => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match for_exact!(wide, args.return_field.data_type()) {
            Some(wide) if !args.is_distinct => {
                Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), wide, true))])
            }
            Some(_) | None => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let exact = for_exact!(grouped, args.return_field.data_type());
        exact.map_or_else(|| self.inner.create_groups_accumulator(args), Ok)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }
}

fn wide<V: Exact>(result: &DataType) -> DataType {
    V::wide(result)
}

fn grouped<V: Exact>(result: &DataType) -> Box<dyn GroupsAccumulator> {
    Box::new(Sums::<V> { totals: Vec::new(), seen: NullState::new(), result: result.clone() })
}

fn distinct<V: Exact>(result: &DataType) -> Box<dyn Accumulator> {
    Distinct::<V>::boxed(result.clone(), |values: &BTreeSet<V::Native>, result| {
        let sum = values.iter().map(|value| (*value).into()).reduce(add::<V::Wide>);
        let sum = sum.map(|sum| narrow::<V>(sum, result)).transpose().map_err(DataFusionError::Execution)?;
        ScalarValue::new_primitive::<V>(sum, result)
    })
}

#[derive(Debug)]
struct Sums<V: Exact> {
    totals: Vec<<V::Wide as ArrowPrimitiveType>::Native>,
    seen: NullState,
    result: DataType,
}

type Wides<V> = Vec<<<V as Exact>::Wide as ArrowPrimitiveType>::Native>;

impl<V: Exact> Sums<V> {
    fn take(&mut self, emit_to: EmitTo) -> (Wides<V>, Option<NullBuffer>) {
        (emit_to.take_needed(&mut self.totals), self.seen.build(emit_to))
    }

    /// Adds values, as they are or already added up, to the sums of their groups.
    fn add<T>(&mut self, values: &ArrayRef, groups: &[usize], filter: Option<&BooleanArray>, total: usize)
    where
        T: ArrowPrimitiveType<Native: Into<<V::Wide as ArrowPrimitiveType>::Native>> + Send,
    {
        self.totals.resize(total, Default::default());
        let totals = &mut self.totals;
        self.seen.accumulate(groups, values.as_primitive::<T>(), filter, total, |group, value| {
            if let Some(sum) = totals.get_mut(group) {
                *sum = add::<V::Wide>(*sum, value.into());
            }
        });
    }
}

impl<V: Exact> GroupsAccumulator for Sums<V> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.add::<V>(first(values)?, group_indices, opt_filter, total_num_groups);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.take(emit_to);
        let narrow = |(group, sum)| {
            let failed = |message| DataFusionError::External(Box::new(AtGroup { group, message }));
            narrow::<V>(sum, &self.result).map_err(failed)
        };
        let sums = sums.into_iter().enumerate().map(narrow).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(PrimitiveArray::<V>::new(sums.into(), nulls).with_data_type(self.result.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.take(emit_to);
        let states = PrimitiveArray::<V::Wide>::new(sums.into(), nulls);
        Ok(vec![Arc::new(states.with_data_type(V::wide(&self.result)))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.add::<V::Wide>(first(values)?, group_indices, None, total_num_groups);
        Ok(())
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("partial results are made of groups")
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<<V::Wide as ArrowPrimitiveType>::Native>() + self.seen.size()
    }
}
