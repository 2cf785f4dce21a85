//! Column types: how they stand in Arrow, and their texts in rows and manifests (docs/types.md).

pub(crate) mod decimal;
pub(crate) mod hex;
pub(crate) mod row;
pub(crate) mod temporal;

use api::pipeline::ColumnType;
use arrow::datatypes::{DataType, Field, TimeUnit};

/// The Arrow type of a column.
pub fn data_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Int => DataType::Int32,
        ColumnType::SmallInt => DataType::Int16,
        ColumnType::Double => DataType::Float64,
        ColumnType::Float => DataType::Float32,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Varchar => DataType::Utf8,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Date => DataType::Date32,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
        ColumnType::Varbinary => DataType::Binary,
    }
}

/// A source's column; every column may hold nulls.
pub fn field(column: &api::pipeline::Column) -> Field {
    Field::new(&column.name, data_type(column.column_type), true)
}
