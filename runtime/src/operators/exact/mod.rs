//! Aggregates whose result is exact, whatever the order of their rows; DataFusion's own wrap around silently (SUM) or
//! add up in floating point (AVG over whole numbers).

mod average;
mod count;
mod sum;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::mem::size_of;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, DecimalType, Int64Type, UInt64Type, i256,
};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Accumulator;

pub(crate) use self::average::ExactAverage;
pub(crate) use self::count::RowCounts;
pub(crate) use self::sum::ExactSum;

/// A type of which sums are held in a wider one: 2^63 of its values cannot overflow that.
trait Exact: ArrowPrimitiveType<Native: Ord> + Send {
    type Wide: DecimalType<Native: From<Self::Native>> + Send;

    /// Type of the sums held for a result of this type.
    fn wide(result: &DataType) -> DataType;
    /// The sum as a result, if it is one.
    fn narrow(sum: <Self::Wide as ArrowPrimitiveType>::Native, result: &DataType) -> Option<Self::Native>;
}

impl Exact for Int64Type {
    type Wide = Decimal128Type;

    fn wide(_: &DataType) -> DataType {
        DataType::Decimal128(38, 0)
    }

    fn narrow(sum: i128, _: &DataType) -> Option<i64> {
        i64::try_from(sum).ok()
    }
}

impl Exact for UInt64Type {
    type Wide = Decimal128Type;

    fn wide(_: &DataType) -> DataType {
        DataType::Decimal128(38, 0)
    }

    fn narrow(sum: i128, _: &DataType) -> Option<u64> {
        u64::try_from(sum).ok()
    }
}

impl Exact for Decimal128Type {
    type Wide = Decimal256Type;

    fn wide(result: &DataType) -> DataType {
        DataType::Decimal256(76, scale(result))
    }

    fn narrow(sum: i256, result: &DataType) -> Option<i128> {
        let DataType::Decimal128(precision, scale) = result else { return None };
        sum.to_i128().filter(|sum| Self::validate_decimal_precision(*sum, *precision, *scale).is_ok())
    }
}

/// The result of one of many groups cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct AtGroup {
    group: usize,
    message: String,
}

/// Which group an error is about, if it says so.
pub(crate) fn group_of(error: &DataFusionError) -> Option<usize> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref::<AtGroup>().map(|error| error.group),
        _ => None,
    }
}

fn scale(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    values.first().ok_or_else(|| exec_datafusion_err!("an aggregate without an argument"))
}

/// The result of an aggregate over the distinct values of a group.
type Finish<V> = fn(&BTreeSet<<V as ArrowPrimitiveType>::Native>, &DataType) -> Result<ScalarValue>;

/// An aggregate with DISTINCT: the state is the list of values.
struct Distinct<V: Exact> {
    values: BTreeSet<V::Native>,
    /// Type of the values in the state.
    data_type: DataType,
    finish: Finish<V>,
}

impl<V: Exact> Distinct<V> {
    fn boxed(data_type: DataType, finish: Finish<V>) -> Box<dyn Accumulator> {
        Box::new(Self { values: BTreeSet::new(), data_type, finish })
    }
}

impl<V: Exact> Debug for Distinct<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distinct({:?})", self.values)
    }
}

impl<V: Exact> Accumulator for Distinct<V> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(first(values)?.as_primitive::<V>().iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        (self.finish)(&self.values, &self.data_type)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.len() * 2 * size_of::<V::Native>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = |value: &V::Native| ScalarValue::new_primitive::<V>(Some(*value), &self.data_type);
        let values = self.values.iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.data_type))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in first(states)?.as_list::<i32>().iter().flatten() {
            self.values.extend(list.as_primitive::<V>().iter().flatten());
        }
        Ok(())
    }
}
