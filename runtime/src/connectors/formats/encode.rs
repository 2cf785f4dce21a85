//! Rows to JSON Lines, straight from Arrow columns to bytes. Fields stand in schema order, nulls are written.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType, UInt64Type,
};

use crate::connectors::values::row::describe;
use crate::connectors::values::{decimal, hex, temporal};

/// A guess at a field's length, to grow the buffer once per batch.
const FIELD_BYTES: usize = 24;

/// The plan for one schema.
#[derive(Debug)]
pub(in crate::connectors) struct JsonEncoder {
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// `{"name":` for the first column, `,"name":` for others.
    prefix: Vec<u8>,
    /// What the column is cast to before it is written.
    stored: DataType,
}

impl JsonEncoder {
    /// # Errors
    /// Names a column whose type JSON Lines cannot hold, and what to do.
    pub(in crate::connectors) fn new(schema: &Schema) -> Result<Self, String> {
        let field = |(index, field): (usize, &arrow::datatypes::FieldRef)| {
            let name = field.name().clone();
            let stored = stored(field.data_type()).ok_or_else(|| {
                format!(
                    "column `{name}` of type {} has no JSON form; cast it in SQL, as CAST({name} AS VARCHAR)",
                    field.data_type()
                )
            })?;
            let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
            write_string(&mut prefix, name.as_bytes());
            prefix.push(b':');
            Ok(Field { name, prefix, stored })
        };
        Ok(Self { fields: schema.fields().iter().enumerate().map(field).collect::<Result<_, String>>()? })
    }

    /// Appends one line per row.
    ///
    /// # Errors
    /// Names the column and the value of a row that JSON cannot hold; what was appended is then without meaning.
    pub(in crate::connectors) fn encode(&self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        let cells = |(field, column): (&Field, &ArrayRef)| Cells::new(field, column);
        let mut columns = self.fields.iter().zip(rows.columns()).map(cells).collect::<Result<Vec<_>, _>>()?;
        if columns.len() != self.fields.len() {
            return Err(format!("has {} columns instead of {}", columns.len(), self.fields.len()));
        }
        let line = self.fields.iter().map(|field| field.prefix.len() + FIELD_BYTES).sum::<usize>() + 2;
        out.reserve(line * rows.num_rows());
        // Times that lead the columns are mostly those of the row before: their text is taken over from its line.
        let leading = columns.iter().take_while(|cells| matches!(cells.values, Values::Timestamp(..))).count();
        let mut times = out.len()..out.len();
        for row in 0..rows.num_rows() {
            let line = out.len();
            let is_repeated = row > 0 && columns.iter().take(leading).all(|cells| cells.repeats(row));
            if is_repeated {
                out.extend_from_within(times);
                times = line..out.len();
            } else {
                times = line..line;
            }
            let written = if is_repeated { leading } else { 0 };
            for (index, (field, cells)) in self.fields.iter().zip(&mut columns).enumerate().skip(written) {
                out.extend_from_slice(&field.prefix);
                if !cells.write(row, out) {
                    let content = describe(rows, row);
                    return Err(format!("column `{}`: {}; row {content}", field.name, cells.refused(row)));
                }
                if index + 1 == leading {
                    times = line..out.len();
                }
            }
            out.extend_from_slice(if self.fields.is_empty() { b"{}\n" } else { b"}\n" });
        }
        Ok(())
    }
}

/// The type that a column of `data_type` is written as, if there is one that holds all its values.
fn stored(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::Int64 => DataType::Int64,
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, _) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Utf8 => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) | DataType::Binary => {
            DataType::Binary
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal128(*precision, *scale),
        DataType::Dictionary(_, value) => stored(value)?,
        DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Boolean
        | DataType::Date32
        | DataType::Null => data_type.clone(),
        _ => return None,
    })
}

/// A column with its type resolved, so that a row costs no dynamic call.
struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    I64(ScalarBuffer<i64>),
    I32(ScalarBuffer<i32>),
    I16(ScalarBuffer<i16>),
    U64(ScalarBuffer<u64>),
    F64(ScalarBuffer<f64>),
    F32(ScalarBuffer<f32>),
    Boolean(BooleanArray),
    Text(StringArray),
    Binary(BinaryArray),
    Date(ScalarBuffer<i32>),
    Decimal(ScalarBuffer<i128>, u8),
    /// With the text of the last one: neighbours in the output of a window are mostly equal.
    Timestamp(ScalarBuffer<i64>, Option<i64>, Vec<u8>),
}

impl Cells {
    fn new(field: &Field, column: &ArrayRef) -> Result<Self, String> {
        let exact = CastOptions { safe: false, ..CastOptions::default() };
        let column = if *column.data_type() == field.stored {
            column.clone()
        } else {
            cast_with_options(column, &field.stored, &exact)
                .map_err(|error| format!("column `{}`: {error}", field.name))?
        };
        let values = match column.data_type() {
            DataType::Int64 => Values::I64(column.as_primitive::<Int64Type>().values().clone()),
            DataType::Int32 => Values::I32(column.as_primitive::<Int32Type>().values().clone()),
            DataType::Int16 => Values::I16(column.as_primitive::<Int16Type>().values().clone()),
            DataType::UInt64 => Values::U64(column.as_primitive::<UInt64Type>().values().clone()),
            DataType::Float64 => Values::F64(column.as_primitive::<Float64Type>().values().clone()),
            DataType::Float32 => Values::F32(column.as_primitive::<Float32Type>().values().clone()),
            DataType::Boolean => Values::Boolean(column.as_boolean().clone()),
            DataType::Utf8 => Values::Text(column.as_string::<i32>().clone()),
            DataType::Binary => Values::Binary(column.as_binary::<i32>().clone()),
            DataType::Date32 => Values::Date(column.as_primitive::<Date32Type>().values().clone()),
            DataType::Decimal128(_, scale) => {
                Values::Decimal(column.as_primitive::<Decimal128Type>().values().clone(), scale.cast_unsigned())
            }
            DataType::Timestamp(..) => {
                Values::Timestamp(column.as_primitive::<TimestampMicrosecondType>().values().clone(), None, Vec::new())
            }
            _ => Values::Null,
        };
        Ok(Self { nulls: column.nulls().cloned(), values })
    }

    /// Whether the row's value is that of the row before.
    #[inline]
    fn repeats(&self, row: usize) -> bool {
        match &self.values {
            Values::Timestamp(values, ..) => self.nulls.is_none() && values[row] == values[row - 1],
            _ => false,
        }
    }

    /// Appends the value; false if JSON cannot hold it.
    #[inline]
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> bool {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return true;
        }
        match &mut self.values {
            Values::Null => out.extend_from_slice(b"null"),
            Values::I64(values) => write_integer(out, values[row]),
            Values::I32(values) => write_integer(out, values[row]),
            Values::I16(values) => write_integer(out, values[row]),
            Values::U64(values) => write_integer(out, values[row]),
            Values::F64(values) => return write_real(out, values[row]),
            Values::F32(values) => return write_real(out, values[row]),
            Values::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Values::Text(values) => write_string(out, values.value(row).as_bytes()),
            Values::Binary(values) => {
                out.push(b'"');
                hex::write(out, values.value(row));
                out.push(b'"');
            }
            Values::Date(values) => {
                out.push(b'"');
                let written = temporal::write_date(out, i64::from(values[row]));
                out.push(b'"');
                return written;
            }
            Values::Decimal(values, scale) => decimal::write(out, values[row], *scale),
            Values::Timestamp(values, last, text) => {
                if *last != Some(values[row]) {
                    text.clear();
                    text.push(b'"');
                    if !temporal::write_timestamp(text, values[row]) {
                        return false;
                    }
                    text.push(b'"');
                    *last = Some(values[row]);
                }
                out.extend_from_slice(text);
            }
        }
        true
    }

    fn refused(&self, row: usize) -> String {
        match &self.values {
            Values::F64(values) => format!("{} is no JSON number", values[row]),
            Values::F32(values) => format!("{} is no JSON number", values[row]),
            Values::Date(values) => format!("day {} lies outside the years 0000 to 9999", values[row]),
            Values::Timestamp(values, ..) => format!("{} microseconds lie outside the years 0000 to 9999", values[row]),
            _ => "has no JSON form".to_owned(),
        }
    }
}

#[inline]
fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_real<F: zmij::Float + Into<f64>>(out: &mut Vec<u8>, value: F) -> bool {
    if !value.into().is_finite() {
        return false;
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    true
}

/// Writes a JSON string; `text` is UTF-8.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let [byte, behind @ ..] = special {
            write_escape(out, *byte);
            rest = behind;
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            hex::write(out, &[byte]);
        }
    }
}
