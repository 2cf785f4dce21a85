//! Columns under construction: plain vectors, filled value by value from bytes and turned into Arrow arrays whole.

use std::sync::Arc;

use api::pipeline::{Column, ColumnType};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::connectors::values::{decimal, temporal};

/// One column of the rows being decoded. Every setter takes the row; setting a row again replaces its value.
#[derive(Debug)]
pub(in crate::connectors) struct ColumnBuffer {
    pub(in crate::connectors) name: String,
    pub(in crate::connectors) column_type: ColumnType,
    /// Event time: a row without it is malformed.
    pub(in crate::connectors) required: bool,
    values: Values,
    /// Per row, only while the column holds a null.
    valid: Vec<bool>,
    has_nulls: bool,
}

#[derive(Debug)]
enum Values {
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    I128(Vec<i128>),
    F64(Vec<f64>),
    F32(Vec<f32>),
    Boolean(Vec<bool>),
    Bytes(Bytes),
}

/// Texts and byte strings, end to end.
#[derive(Debug)]
struct Bytes {
    /// One more than there are values.
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Values {
    fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::BigInt | ColumnType::Timestamp => Self::I64(Vec::new()),
            ColumnType::Int | ColumnType::Date => Self::I32(Vec::new()),
            ColumnType::SmallInt => Self::I16(Vec::new()),
            ColumnType::Double => Self::F64(Vec::new()),
            ColumnType::Float => Self::F32(Vec::new()),
            ColumnType::Boolean => Self::Boolean(Vec::new()),
            ColumnType::Decimal { .. } => Self::I128(Vec::new()),
            ColumnType::Varchar | ColumnType::Varbinary => Self::Bytes(Bytes { offsets: vec![0], data: Vec::new() }),
        }
    }
}

impl ColumnBuffer {
    pub(in crate::connectors) fn new(column: &Column, required: bool) -> Self {
        Self {
            name: column.name.clone(),
            column_type: column.column_type,
            required,
            values: Values::new(column.column_type),
            valid: Vec::new(),
            has_nulls: false,
        }
    }

    pub(in crate::connectors) fn is_set(&self, row: usize) -> bool {
        match &self.values {
            Values::I64(values) => values.len() > row,
            Values::I32(values) => values.len() > row,
            Values::I16(values) => values.len() > row,
            Values::I128(values) => values.len() > row,
            Values::F64(values) => values.len() > row,
            Values::F32(values) => values.len() > row,
            Values::Boolean(values) => values.len() > row,
            Values::Bytes(bytes) => bytes.offsets.len() > row + 1,
        }
    }

    /// Forgets the values from `row` on.
    pub(in crate::connectors) fn truncate(&mut self, row: usize) {
        match &mut self.values {
            Values::I64(values) => values.truncate(row),
            Values::I32(values) => values.truncate(row),
            Values::I16(values) => values.truncate(row),
            Values::I128(values) => values.truncate(row),
            Values::F64(values) => values.truncate(row),
            Values::F32(values) => values.truncate(row),
            Values::Boolean(values) => values.truncate(row),
            Values::Bytes(bytes) => bytes.truncate(row),
        }
        self.valid.truncate(row);
    }

    pub(in crate::connectors) fn set_null(&mut self, row: usize) {
        if !self.has_nulls {
            self.has_nulls = true;
            self.valid.resize(row, true);
        }
        match &mut self.values {
            Values::I64(values) => put(values, row, 0),
            Values::I32(values) => put(values, row, 0),
            Values::I16(values) => put(values, row, 0),
            Values::I128(values) => put(values, row, 0),
            Values::F64(values) => put(values, row, 0.0),
            Values::F32(values) => put(values, row, 0.0),
            Values::Boolean(values) => put(values, row, false),
            Values::Bytes(bytes) => {
                bytes.set(row, |_| true);
            }
        }
        put(&mut self.valid, row, false);
    }

    fn set_valid(&mut self, row: usize) {
        if self.has_nulls {
            put(&mut self.valid, row, true);
        }
    }

    /// Sets a BIGINT, INT, SMALLINT, DATE or TIMESTAMP in its own unit; false if it is out of range.
    #[inline]
    pub(in crate::connectors) fn set_integer(&mut self, row: usize, value: i64) -> bool {
        match &mut self.values {
            Values::I64(values) => put(values, row, value),
            Values::I32(values) => match i32::try_from(value) {
                Ok(value) => put(values, row, value),
                Err(_) => return false,
            },
            Values::I16(values) => match i16::try_from(value) {
                Ok(value) => put(values, row, value),
                Err(_) => return false,
            },
            _ => return false,
        }
        self.set_valid(row);
        true
    }

    /// Sets a DOUBLE or FLOAT from the text of a number; false if there is none or it is not finite.
    pub(in crate::connectors) fn set_real(&mut self, row: usize, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        match &mut self.values {
            // A FLOAT is read as one, not as a rounded DOUBLE: rounding twice is not rounding once.
            Values::F64(values) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => put(values, row, value),
                _ => return false,
            },
            Values::F32(values) => match text.parse::<f32>() {
                Ok(value) if value.is_finite() => put(values, row, value),
                _ => return false,
            },
            _ => return false,
        }
        self.set_valid(row);
        true
    }

    pub(in crate::connectors) fn set_boolean(&mut self, row: usize, value: bool) -> bool {
        let Values::Boolean(values) = &mut self.values else { return false };
        put(values, row, value);
        self.set_valid(row);
        true
    }

    /// Sets a DECIMAL from the text of a number that it holds exactly.
    pub(in crate::connectors) fn set_decimal(&mut self, row: usize, text: &[u8]) -> bool {
        let (Values::I128(values), ColumnType::Decimal { precision, scale }) = (&mut self.values, self.column_type)
        else {
            return false;
        };
        let Some(value) = decimal::parse(text, precision, scale) else { return false };
        put(values, row, value);
        self.set_valid(row);
        true
    }

    /// Sets a VARCHAR or VARBINARY to what `write` appends; false if it refuses.
    #[inline]
    pub(in crate::connectors) fn set_bytes(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let Values::Bytes(bytes) = &mut self.values else { return false };
        let written = bytes.set(row, write);
        if written {
            self.set_valid(row);
        }
        written
    }

    /// Sets any type but VARCHAR and VARBINARY from plain text, as it stands in CSV or in a JSON string.
    pub(in crate::connectors) fn set_text(&mut self, row: usize, text: &[u8]) -> bool {
        match self.column_type {
            ColumnType::BigInt | ColumnType::Int | ColumnType::SmallInt => {
                let value = decimal::parse(text, 19, 0).and_then(|value| i64::try_from(value).ok());
                value.is_some_and(|value| self.set_integer(row, value))
            }
            ColumnType::Timestamp => {
                let value = temporal::parse_timestamp(text);
                value.is_some_and(|value| self.set_integer(row, value))
            }
            ColumnType::Date => temporal::parse_date(text).is_some_and(|value| self.set_integer(row, i64::from(value))),
            ColumnType::Double | ColumnType::Float => self.set_real(row, text),
            ColumnType::Decimal { .. } => self.set_decimal(row, text),
            ColumnType::Boolean => match text {
                b"true" | b"TRUE" | b"True" => self.set_boolean(row, true),
                b"false" | b"FALSE" | b"False" => self.set_boolean(row, false),
                _ => false,
            },
            ColumnType::Varchar | ColumnType::Varbinary => false,
        }
    }

    /// The first `rows` values as an array; the buffer is empty after it. Fails only for texts that are not UTF-8.
    pub(in crate::connectors) fn finish(&mut self, rows: usize) -> Result<ArrayRef, String> {
        self.truncate(rows);
        let nulls = self.has_nulls.then(|| NullBuffer::from(std::mem::take(&mut self.valid)));
        self.has_nulls = false;
        Ok(match &mut self.values {
            Values::I64(values) if self.column_type == ColumnType::Timestamp => {
                Arc::new(TimestampMicrosecondArray::new(scalars(values), nulls))
            }
            Values::I64(values) => Arc::new(Int64Array::new(scalars(values), nulls)),
            Values::I32(values) if self.column_type == ColumnType::Date => {
                Arc::new(Date32Array::new(scalars(values), nulls))
            }
            Values::I32(values) => Arc::new(Int32Array::new(scalars(values), nulls)),
            Values::I16(values) => Arc::new(Int16Array::new(scalars(values), nulls)),
            Values::F64(values) => Arc::new(Float64Array::new(scalars(values), nulls)),
            Values::F32(values) => Arc::new(Float32Array::new(scalars(values), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(std::mem::take(values).into(), nulls)),
            Values::I128(values) => {
                let ColumnType::Decimal { precision, scale } = self.column_type else {
                    return Err("is no decimal".to_owned());
                };
                let array = Decimal128Array::new(scalars(values), nulls);
                let array = array.with_precision_and_scale(precision, scale.cast_signed());
                Arc::new(array.map_err(|error| error.to_string())?)
            }
            Values::Bytes(bytes) => bytes.finish(self.column_type, nulls)?,
        })
    }
}

impl Bytes {
    fn truncate(&mut self, row: usize) {
        self.offsets.truncate(row + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.data.truncate(end as usize);
    }

    #[inline]
    fn set(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        if self.offsets.len() > row + 1 {
            self.truncate(row);
        }
        let before = self.data.len();
        if !write(&mut self.data) {
            self.data.truncate(before);
            return false;
        }
        // A chunk is at most one buffer of input (16 MiB and a little): far below 2^31.
        self.offsets.push(self.data.len() as i32);
        true
    }

    fn finish(&mut self, column_type: ColumnType, nulls: Option<NullBuffer>) -> Result<ArrayRef, String> {
        let (rows, length) = (self.offsets.len(), self.data.len());
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        self.offsets.push(0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let data = Buffer::from_vec(std::mem::replace(&mut self.data, Vec::with_capacity(length)));
        Ok(if column_type == ColumnType::Varchar {
            Arc::new(StringArray::try_new(offsets, data, nulls).map_err(|error| error.to_string())?)
        } else {
            Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(|error| error.to_string())?)
        })
    }
}

#[inline]
fn put<T>(values: &mut Vec<T>, row: usize, value: T) {
    match values.get_mut(row) {
        Some(place) => *place = value,
        None => values.push(value),
    }
}

fn scalars<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let rows = values.len();
    ScalarBuffer::from(std::mem::replace(values, Vec::with_capacity(rows)))
}
