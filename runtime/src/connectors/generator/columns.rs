//! How a generator's values are made: pure functions of (seed, column name, row), a whole block at a time.
//!
//! `random` and `choice` draw from `mix(stream + row * GAMMA)`, a counter-based splitmix64 (Steele, Lea, Flood: Fast
//! Splittable Pseudorandom Number Generators, 2014), reduced to a range by multiply-shift (Lemire 2019; a bias below
//! 2^-32 for ranges below 2^32). The stream is drawn from seed and column name: adding a column changes no other.

use std::sync::Arc;

use api::pipeline::{Column, ColumnType, Recipe, Value};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::take;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

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
    /// `start + row * step` as floating point.
    RealSequence {
        start: f64,
        step: f64,
    },
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
        let recipe = column.recipe().map_err(|invalid| invalid.to_string())?;
        let recipe = recipe.ok_or("has no `generate`: say sequence, random or choice")?;
        let column_type = column.column_type;
        if !recipe.lasts(column_type, rows.unwrap_or(1)) {
            return Err(format!("sequence leaves the range of {column_type} before its last row"));
        }
        let stream = mix(seed ^ hash_name(&column.name));
        Ok(Self { column_type, stream, rule: Rule::new(recipe, column_type)? })
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
            Rule::RealSequence { start, step } => {
                self.reals(rows(begin, count).map(move |row| row as f64 * step + start))
            }
            Rule::Real { min, max } => {
                let span = max - min;
                let value = |row| min + (draw(self.stream, row) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64) * span;
                self.reals(rows(begin, count).map(value))
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

    fn reals(&self, values: impl Iterator<Item = f64>) -> ArrayRef {
        match self.column_type {
            ColumnType::Float => Arc::new(Float32Array::from_iter_values(values.map(|value| value as f32))),
            _ => Arc::new(Float64Array::from_iter_values(values)),
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
    fn new(recipe: Recipe, column_type: ColumnType) -> Result<Self, String> {
        Ok(match (recipe, column_type) {
            (Recipe::Sequence { start, step }, _) => Self::Sequence { start, step },
            (Recipe::SequenceFloat { start, step }, _) => Self::RealSequence { start, step },
            (Recipe::RandomFloat { min, max }, _) => Self::Real { min, max },
            (Recipe::Random { min, max }, ColumnType::Decimal { .. }) => Self::Decimal { min, width: width(min, max)? },
            // 2^64 becomes 0, which stands for it.
            (Recipe::Random { min, max }, _) => Self::Integer { min: min as i64, width: width(min, max)? as u64 },
            (Recipe::Choice(values), _) if values.is_empty() => return Err("choice has no values".to_owned()),
            (Recipe::Choice(values), _) => Self::Choice(choices(&values, column_type)),
        })
    }
}

/// How many values lie between two, both included.
fn width(min: i128, max: i128) -> Result<u128, String> {
    let between = max.checked_sub(min).and_then(|between| u128::try_from(between).ok());
    between.map(|between| between + 1).ok_or_else(|| format!("random: min {min} is above max {max}"))
}

fn choices(values: &[Value], column_type: ColumnType) -> ArrayRef {
    let integers =
        values.iter().filter_map(|value| if let Value::Integer(number) = value { Some(*number) } else { None });
    let reals = values.iter().filter_map(|value| if let Value::Float(number) = value { Some(*number) } else { None });
    let flags = values.iter().filter_map(|value| if let Value::Boolean(flag) = value { Some(*flag) } else { None });
    let texts = values.iter().filter_map(|value| if let Value::Text(text) = value { Some(text) } else { None });
    // Only the type decides how numbers are laid out.
    let column = GeneratedColumn { column_type, stream: 0, rule: Rule::Sequence { start: 0, step: 0 } };
    match column_type {
        ColumnType::Varchar | ColumnType::Varbinary => Arc::new(StringArray::from_iter_values(texts)),
        ColumnType::Boolean => Arc::new(BooleanArray::from(flags.collect::<Vec<_>>())),
        ColumnType::Double | ColumnType::Float => column.reals(reals),
        ColumnType::Decimal { .. } => column.wide_integers(integers),
        ColumnType::BigInt | ColumnType::Int | ColumnType::SmallInt | ColumnType::Timestamp | ColumnType::Date => {
            column.integers(integers.map(|number| number as i64))
        }
    }
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
