//! How a generator's values are made: pure functions of (seed, column name, row), a whole block at a time.
//!
//! `random` and `choice` draw from `mix(stream + row * GAMMA)`, a counter-based splitmix64 (Steele, Lea, Flood: Fast
//! Splittable Pseudorandom Number Generators, 2014), reduced to a range by multiply-shift (Lemire 2019; a bias below
//! 2^-32 for ranges below 2^32). The stream is drawn from seed and column name: adding a column changes no other.

use std::sync::Arc;

use api::pipeline::{Column, ColumnType, Generate, Literal};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::take;

use crate::connectors::values::{decimal, temporal};

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Step of a TIMESTAMP sequence that names none.
const DEFAULT_STEP_US: i128 = 1000;

/// One column, ready to be made.
#[derive(Clone, Debug)]
pub(super) struct GeneratedColumn {
    column_type: ColumnType,
    stream: u64,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// `start + row * step` in the type's own unit.
    Sequence {
        start: i128,
        step: i128,
    },
    /// `min + below(width)`; `width` 0 stands for 2^64.
    Integer {
        min: i64,
        width: u64,
    },
    Decimal {
        min: i128,
        width: u128,
    },
    Real {
        min: f64,
        max: f64,
    },
    Choice(ArrayRef),
}

impl GeneratedColumn {
    /// `rows`: how many will be made at most, if that is known (a sequence must fit).
    pub(super) fn new(column: &Column, seed: u64, rows: Option<u64>) -> Result<Self, String> {
        let generate = column.generate.as_ref().ok_or("has no `generate`: say sequence, random or choice")?;
        let stream = mix(seed ^ hash_name(&column.name));
        Ok(Self { column_type: column.column_type, stream, rule: Rule::new(generate, column.column_type, rows)? })
    }

    /// Bytes of a value as Arrow holds it (about, for texts).
    pub(super) fn width_bytes(&self) -> u64 {
        match self.column_type {
            ColumnType::Boolean => 1,
            ColumnType::SmallInt => 2,
            ColumnType::Int | ColumnType::Float | ColumnType::Date => 4,
            ColumnType::Decimal { .. } => 16,
            _ => 8,
        }
    }

    /// Values of the rows `begin..begin + count`.
    pub(super) fn make(&self, begin: u64, count: usize) -> ArrayRef {
        match &self.rule {
            Rule::Sequence { start, step } => self.sequence(*start, *step, begin, count),
            Rule::Integer { min, width } => {
                let stream = self.stream;
                let (min, width) = (*min, *width);
                if width == 0 {
                    self.integers(rows(begin, count).map(move |row| draw(stream, row).cast_signed()))
                } else {
                    self.integers(
                        rows(begin, count)
                            .map(move |row| min.wrapping_add(below(draw(stream, row), width).cast_signed())),
                    )
                }
            }
            Rule::Decimal { min, width } => {
                let value = |row| min + (wide(self.stream, row) % width).cast_signed();
                self.wide_integers(rows(begin, count).map(value))
            }
            Rule::Real { min, max } => {
                let span = max - min;
                let value = |row| min + (draw(self.stream, row) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64) * span;
                match self.column_type {
                    ColumnType::Float => {
                        Arc::new(Float32Array::from_iter_values(rows(begin, count).map(|row| value(row) as f32)))
                    }
                    _ => Arc::new(Float64Array::from_iter_values(rows(begin, count).map(value))),
                }
            }
            Rule::Choice(values) => {
                let width = values.len() as u64;
                let index = |row| below(draw(self.stream, row), width) as u32;
                let indices = UInt32Array::from_iter_values(rows(begin, count).map(index));
                take(values, &indices, None).expect("indices are below the number of values")
            }
        }
    }

    fn sequence(&self, start: i128, step: i128, begin: u64, count: usize) -> ArrayRef {
        if let ColumnType::Decimal { .. } = self.column_type {
            return self
                .wide_integers(rows(begin, count).map(|row| start.wrapping_add(step.wrapping_mul(i128::from(row)))));
        }
        // Narrow types wrap around when an endless generator leaves their range, as counters do.
        let (first, step) = ((start + step * i128::from(begin)) as i64, step as i64);
        self.integers((0..count as i64).map(move |row| first.wrapping_add(row.wrapping_mul(step))))
    }

    fn integers(&self, values: impl Iterator<Item = i64>) -> ArrayRef {
        match self.column_type {
            ColumnType::Int => Arc::new(Int32Array::from_iter_values(values.map(|value| value as i32))),
            ColumnType::SmallInt => Arc::new(Int16Array::from_iter_values(values.map(|value| value as i16))),
            ColumnType::Date => Arc::new(Date32Array::from_iter_values(values.map(|value| value as i32))),
            ColumnType::Timestamp => Arc::new(TimestampMicrosecondArray::from_iter_values(values)),
            _ => Arc::new(Int64Array::from_iter_values(values)),
        }
    }

    fn wide_integers(&self, values: impl Iterator<Item = i128>) -> ArrayRef {
        let array = Decimal128Array::from_iter_values(values);
        match self.column_type {
            ColumnType::Decimal { precision, scale } => Arc::new(
                array
                    .with_precision_and_scale(precision, scale.cast_signed())
                    .expect("the manifest's precision is valid"),
            ),
            _ => Arc::new(array),
        }
    }
}

impl Rule {
    fn new(generate: &Generate, column_type: ColumnType, rows: Option<u64>) -> Result<Self, String> {
        if let Some(sequence) = &generate.sequence {
            let start = integer(&sequence.start, column_type)?;
            let step = match &sequence.step {
                Some(step) => step_of(step, column_type)?,
                None if column_type == ColumnType::Timestamp => DEFAULT_STEP_US,
                None => integer(&Literal::Integer(1), column_type)?,
            };
            let last = i128::from(rows.unwrap_or(1).saturating_sub(1));
            let fits = step.checked_mul(last).and_then(|way| way.checked_add(start));
            if !fits.is_some_and(|last| range_of(column_type).contains(&last)) {
                return Err(format!("sequence leaves the range of {column_type} before its last row"));
            }
            return Ok(Self::Sequence { start, step });
        }
        if let Some(random) = &generate.random {
            return Self::random(&random.min, &random.max, column_type);
        }
        match &generate.choice {
            Some(values) if !values.is_empty() => Ok(Self::Choice(choices(values, column_type)?)),
            _ => Err("`generate` needs one of sequence, random, choice".to_owned()),
        }
    }

    fn random(min: &Literal, max: &Literal, column_type: ColumnType) -> Result<Self, String> {
        let order = || format!("random: min {min} is above max {max}");
        match column_type {
            ColumnType::Double | ColumnType::Float => {
                let (min, max) = (real(min)?, real(max)?);
                if min > max { Err(order()) } else { Ok(Self::Real { min, max }) }
            }
            ColumnType::Decimal { .. } => {
                let (min, max) = (integer(min, column_type)?, integer(max, column_type)?);
                let width = max.checked_sub(min).and_then(|width| u128::try_from(width).ok()).ok_or_else(order)? + 1;
                Ok(Self::Decimal { min, width })
            }
            _ => {
                let (low, high) = (integer(min, column_type)?, integer(max, column_type)?);
                let width = u128::try_from(high - low).map_err(|_| order())? + 1;
                // 2^64 becomes 0, which stands for it.
                Ok(Self::Integer { min: low as i64, width: width as u64 })
            }
        }
    }
}

/// A literal as the integer that the type holds.
fn integer(literal: &Literal, column_type: ColumnType) -> Result<i128, String> {
    let refuse = || format!("`{literal}` is not a {column_type}");
    let value = match (literal, column_type) {
        (Literal::Integer(number), ColumnType::Timestamp) => temporal::from_millis(*number).map(i128::from),
        (Literal::Text(text), ColumnType::Timestamp) => temporal::parse_timestamp(text.as_bytes()).map(i128::from),
        (Literal::Text(text), ColumnType::Date) => temporal::parse_date(text.as_bytes()).map(i128::from),
        (literal, ColumnType::Decimal { precision, scale }) => {
            decimal::parse(literal.to_string().as_bytes(), precision, scale)
        }
        (literal, ColumnType::BigInt | ColumnType::Int | ColumnType::SmallInt) => {
            decimal::parse(literal.to_string().as_bytes(), 19, 0)
        }
        _ => return Err(format!("{column_type} takes `choice` only here")),
    };
    value.filter(|value| range_of(column_type).contains(value)).ok_or_else(refuse)
}

fn step_of(literal: &Literal, column_type: ColumnType) -> Result<i128, String> {
    match (literal, column_type) {
        (Literal::Text(text), ColumnType::Timestamp) => {
            let step: api::pipeline::Duration =
                text.parse().map_err(|error| format!("step `{text}` is not a duration: {error}"))?;
            Ok(i128::from(step.as_micros()))
        }
        (Literal::Integer(_), ColumnType::Timestamp) => Err("step of a TIMESTAMP is a duration as `1ms`".to_owned()),
        (Literal::Integer(days), ColumnType::Date) => Ok(i128::from(*days)),
        _ => integer(literal, column_type),
    }
}

fn range_of(column_type: ColumnType) -> std::ops::RangeInclusive<i128> {
    match column_type {
        ColumnType::Int | ColumnType::Date => i128::from(i32::MIN)..=i128::from(i32::MAX),
        ColumnType::SmallInt => i128::from(i16::MIN)..=i128::from(i16::MAX),
        ColumnType::Decimal { precision, .. } => {
            let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
            1 - limit..=limit - 1
        }
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    }
}

fn real(literal: &Literal) -> Result<f64, String> {
    let number = literal.to_string().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("`{literal}` is not a number"))
}

fn choices(literals: &[Literal], column_type: ColumnType) -> Result<ArrayRef, String> {
    Ok(match column_type {
        ColumnType::Varchar => Arc::new(StringArray::from_iter_values(literals.iter().map(ToString::to_string))),
        ColumnType::Varbinary => return Err("VARBINARY cannot be generated".to_owned()),
        ColumnType::Boolean => {
            let parse = |literal: &Literal| match literal.to_string().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(format!("`{other}` is not a BOOLEAN: \"true\" or \"false\"")),
            };
            Arc::new(literals.iter().map(parse).collect::<Result<Vec<_>, _>>().map(BooleanArray::from)?)
        }
        ColumnType::Double => Arc::new(Float64Array::from(literals.iter().map(real).collect::<Result<Vec<_>, _>>()?)),
        ColumnType::Float => {
            let numbers = literals.iter().map(|literal| real(literal).map(|number| number as f32));
            Arc::new(Float32Array::from(numbers.collect::<Result<Vec<_>, _>>()?))
        }
        _ => {
            let numbers =
                literals.iter().map(|literal| integer(literal, column_type)).collect::<Result<Vec<_>, _>>()?;
            let column = GeneratedColumn { column_type, stream: 0, rule: Rule::Sequence { start: 0, step: 0 } };
            match column_type {
                ColumnType::Decimal { .. } => column.wide_integers(numbers.into_iter()),
                _ => column.integers(numbers.into_iter().map(|number| number as i64)),
            }
        }
    })
}

fn rows(begin: u64, count: usize) -> impl Iterator<Item = u64> {
    begin..begin + count as u64
}

#[inline]
fn draw(stream: u64, row: u64) -> u64 {
    mix(stream.wrapping_add(row.wrapping_mul(GAMMA)))
}

fn wide(stream: u64, row: u64) -> u128 {
    (u128::from(draw(stream, row)) << 64) | u128::from(draw(!stream, row))
}

#[inline]
fn below(random: u64, width: u64) -> u64 {
    ((u128::from(random) * u128::from(width)) >> 64) as u64
}

#[inline]
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// FNV-1a.
fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
