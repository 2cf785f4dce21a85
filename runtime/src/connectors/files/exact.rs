//! Columns of a Parquet file as declared types, where no value is rounded or cut by that.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, TimeUnit, TimestampMicrosecondType,
    TimestampNanosecondType,
};
use arrow::error::ArrowError;

/// Types whose values the other type holds, or refuses one by one.
fn is_exact(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, T::Int64 | T::Int32 | T::Int16 | T::Decimal128(..)) if from.is_integer() => true,
        (T::Decimal32(_, from) | T::Decimal64(_, from) | T::Decimal256(_, from), T::Decimal128(_, to)) => from <= to,
        // Floating point holds all whole numbers of half its width.
        (T::Int8 | T::UInt8 | T::Int16 | T::UInt16 | T::Float16, T::Float32 | T::Float64)
        | (T::Int32 | T::UInt32 | T::Float32, T::Float64)
        | (T::Decimal128(..), T::Decimal128(..))
        | (T::Binary | T::LargeBinary | T::LargeUtf8 | T::Utf8View, T::Utf8)
        | (T::Utf8 | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary)
        | (T::Timestamp(..), T::Timestamp(..)) => true,
        _ => false,
    }
}

/// The column as this type.
///
/// # Errors
/// A type of which values would have to be changed, or a value that does not fit.
pub(super) fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let from = column.data_type();
    if from == to {
        return Ok(Arc::clone(column));
    }
    if !is_exact(from, to) {
        let message = format!(
            "the file holds {from}, whose values would have to be changed to fit {to}; declare its own type and CAST in SQL"
        );
        return Err(ArrowError::CastError(message));
    }
    match (from, to) {
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) if from > to => divisible(column, *from, *to)?,
        // Digits beyond microseconds are cut off as they are in texts: the instant before stays.
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => {
            let floor = |nanos: i64| nanos.div_euclid(1_000);
            let column = column.as_primitive::<TimestampNanosecondType>();
            return Ok(Arc::new(column.unary::<_, TimestampMicrosecondType>(floor)));
        }
        _ => {}
    }
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Checks that the decimals of all values beyond the first `to` of `from` are zero.
fn divisible(column: &ArrayRef, from: i8, to: i8) -> Result<(), ArrowError> {
    let factor = 10_i128.checked_pow(u32::from((from - to).unsigned_abs())).unwrap_or(i128::MAX);
    match column.as_primitive::<Decimal128Type>().iter().flatten().find(|value| value % factor != 0) {
        Some(value) => {
            let value = Decimal128Type::format_decimal(value, DECIMAL128_MAX_PRECISION, from);
            Err(ArrowError::CastError(format!("{value} has more than {to} decimals")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, TimestampNanosecondArray,
        UInt64Array,
    };

    use super::*;

    fn decimal(values: Vec<i128>, precision: u8, scale: i8) -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    }

    #[test]
    fn nothing_is_rounded_or_cut_to_fit() {
        let refused: [(ArrayRef, DataType); 12] = [
            (Arc::new(Float64Array::from(vec![1.5])), DataType::Int64),
            (Arc::new(Float64Array::from(vec![2.0])), DataType::Int64),
            (Arc::new(Float64Array::from(vec![0.1])), DataType::Float32),
            (Arc::new(Float64Array::from(vec![0.1])), DataType::Decimal128(10, 1)),
            (Arc::new(Int64Array::from(vec![9_007_199_254_740_993])), DataType::Float64),
            (Arc::new(Int32Array::from(vec![16_777_217])), DataType::Float32),
            (Arc::new(Int64Array::from(vec![40_000])), DataType::Int16),
            (Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Int64),
            (Arc::new(Int64Array::from(vec![1_000])), DataType::Decimal128(5, 2)),
            (decimal(vec![12_345], 10, 4), DataType::Decimal128(10, 2)),
            (decimal(vec![12_300], 10, 4), DataType::Int64),
            (Arc::new(BinaryArray::from(vec![b"\xff".as_slice()])), DataType::Utf8),
        ];
        for (column, to) in refused {
            let from = column.data_type().clone();
            convert(&column, &to).expect_err(&format!("{from} as {to}"));
        }
    }

    #[test]
    fn values_that_fit_are_read() {
        let read: [(ArrayRef, ArrayRef); 7] = [
            (decimal(vec![12_300], 10, 4), decimal(vec![123], 10, 2)),
            (decimal(vec![-123], 5, 0), decimal(vec![-12_300], 10, 2)),
            (Arc::new(UInt64Array::from(vec![7])), Arc::new(Int64Array::from(vec![7]))),
            (Arc::new(Int64Array::from(vec![7])), decimal(vec![700], 10, 2)),
            (Arc::new(Int32Array::from(vec![16_777_217])), Arc::new(Float64Array::from(vec![16_777_217.0]))),
            (Arc::new(Float32Array::from(vec![0.5])), Arc::new(Float64Array::from(vec![0.5]))),
            (
                Arc::new(TimestampNanosecondArray::from(vec![1_999, -1]).with_timezone("UTC")),
                Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1, -1])),
            ),
        ];
        for (column, expected) in read {
            let found = convert(&column, expected.data_type()).unwrap();
            assert_eq!(found.as_ref(), expected.as_ref(), "{} as {}", column.data_type(), expected.data_type());
        }
    }
}
