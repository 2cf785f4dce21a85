//! Values of expressions as columns: in one form for each value, and within their type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

/// The expression's value for each row. Decimals are computed in more digits than their type has; here they must fit it.
pub(crate) fn column(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let column = expression.evaluate(rows)?.into_array(rows.num_rows())?;
    if let DataType::Decimal128(precision, _) = column.data_type()
        && !expression.is::<Column>()
    {
        let valid = column.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision);
        valid.map_err(|_| exec_datafusion_err!("`{expression}` has more than {precision} digits"))?;
    }
    Ok(column)
}

/// The same, with 0.0 for -0.0 and one NaN for all: values that SQL calls equal are equal bit by bit, so that it
/// does not matter which of them came first.
pub(crate) fn canonical(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let column = column(expression, rows)?;
    Ok(match column.data_type() {
        DataType::Float64 => floats::<Float64Type>(&column, |x| if x.is_nan() { f64::NAN } else { x + 0.0 }),
        DataType::Float32 => floats::<Float32Type>(&column, |x| if x.is_nan() { f32::NAN } else { x + 0.0 }),
        _ => column,
    })
}

/// Adding 0.0 changes -0.0 to 0.0 and nothing else.
fn floats<T: ArrowPrimitiveType>(column: &ArrayRef, canonical: fn(T::Native) -> T::Native) -> ArrayRef {
    Arc::new(column.as_primitive::<T>().unary::<_, T>(canonical))
}
