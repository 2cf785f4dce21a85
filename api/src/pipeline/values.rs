//! `generate` read against the column's type: what the generator makes, in the units that the column holds.

use std::ops::RangeInclusive;

use super::columns::{Column, ColumnType, Literal};
use super::duration::Duration;
use super::instant;

/// A column's recipe, checked. Whole numbers are in the column's own unit: microseconds for TIMESTAMP, days for DATE,
/// unscaled for DECIMAL.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// start + k * step in row k.
    Sequence {
        start: i128,
        step: i128,
    },
    SequenceFloat {
        start: f64,
        step: f64,
    },
    /// Both ends included; min <= max.
    Random {
        min: i128,
        max: i128,
    },
    RandomFloat {
        min: f64,
        max: f64,
    },
    Choice(Vec<Value>),
}

/// One value of a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Text(String),
}

/// A literal that does not fit: `field` is relative to the column (`generate.random.min`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRecipe {
    pub field: String,
    pub message: String,
}

impl Recipe {
    /// Whether a sequence stays within its column's type up to row `rows - 1`; true for all others.
    pub fn lasts(&self, column_type: ColumnType, rows: u64) -> bool {
        let Self::Sequence { start, step } = self else { return true };
        let last = step.checked_mul(i128::from(rows.saturating_sub(1))).and_then(|way| way.checked_add(*start));
        last.is_some_and(|last| range(column_type).contains(&last))
    }
}

impl Column {
    /// The recipe, `None` without `generate`.
    ///
    /// # Errors
    /// The first literal that the column's type cannot hold.
    pub fn recipe(&self) -> Result<Option<Recipe>, InvalidRecipe> {
        let Some(generate) = &self.generate else { return Ok(None) };
        let recipe = if let Some(sequence) = &generate.sequence {
            self.sequence(&sequence.start, sequence.step.as_ref())?
        } else if let Some(random) = &generate.random {
            self.random(&random.min, &random.max)?
        } else {
            let literals = generate.choice.iter().flatten().enumerate();
            let values = literals.map(|(i, literal)| self.value(&format!("generate.choice[{i}]"), literal));
            Recipe::Choice(values.collect::<Result<_, _>>()?)
        };
        Ok(Some(recipe))
    }

    fn sequence(&self, start: &Literal, step: Option<&Literal>) -> Result<Recipe, InvalidRecipe> {
        let start = self.number("generate.sequence.start", start)?;
        let field = "generate.sequence.step";
        let step = match (step, self.column_type) {
            (None, ColumnType::Timestamp) => Value::Integer(1_000),
            (None, ColumnType::Double | ColumnType::Float) => Value::Float(1.0),
            (None, _) => Value::Integer(1),
            (Some(Literal::Text(text)), ColumnType::Timestamp) => {
                let micros = step_micros(text);
                let micros =
                    micros.ok_or_else(|| refuse(field, format!("`{text}` is no step; write as 1ms, 2s or 10us")))?;
                Value::Integer(micros.into())
            }
            (Some(literal @ Literal::Integer(_)), ColumnType::Timestamp) => {
                return Err(refuse(field, format!("`{literal}` has no unit; write a duration, as 1ms")));
            }
            (Some(Literal::Integer(days)), ColumnType::Date) => Value::Integer(i128::from(*days)),
            (Some(literal), _) => self.number(field, literal)?,
        };
        match (start, step) {
            (Value::Integer(start), Value::Integer(step)) => Ok(Recipe::Sequence { start, step }),
            (Value::Float(start), Value::Float(step)) => Ok(Recipe::SequenceFloat { start, step }),
            _ => Err(refuse(field, "start and step must be of one kind".to_owned())),
        }
    }

    fn random(&self, min: &Literal, max: &Literal) -> Result<Recipe, InvalidRecipe> {
        let (low, high) = (self.number("generate.random.min", min)?, self.number("generate.random.max", max)?);
        let recipe = match (low, high) {
            (Value::Integer(min), Value::Integer(max)) if min <= max => Recipe::Random { min, max },
            (Value::Float(min), Value::Float(max)) if min <= max => Recipe::RandomFloat { min, max },
            _ => return Err(refuse("generate.random.max", format!("`{max}` is below min `{min}`; exchange them"))),
        };
        Ok(recipe)
    }

    fn number(&self, field: &str, literal: &Literal) -> Result<Value, InvalidRecipe> {
        match self.value(field, literal)? {
            number @ (Value::Integer(_) | Value::Float(_)) => Ok(number),
            Value::Boolean(_) | Value::Text(_) => {
                Err(refuse(field, format!("{} values have no order here; use generate.choice", self.column_type)))
            }
        }
    }

    fn value(&self, field: &str, literal: &Literal) -> Result<Value, InvalidRecipe> {
        let (value, wanted) = match self.column_type {
            ColumnType::BigInt => (whole(literal), "a whole number of 64 bits"),
            ColumnType::Int => (whole(literal), "a whole number of 32 bits"),
            ColumnType::SmallInt => (whole(literal), "a whole number of 16 bits"),
            ColumnType::Double | ColumnType::Float => {
                (float(literal), "a number; a fraction stands in quotes, as \"0.5\"")
            }
            ColumnType::Boolean => (boolean(literal), "\"true\" or \"false\", in quotes"),
            ColumnType::Varchar => (Some(Value::Text(literal.to_string())), "text"),
            ColumnType::Timestamp => (timestamp(literal), "as \"2026-01-01T00:00:00Z\""),
            ColumnType::Date => (date(literal), "as \"2026-01-01\""),
            ColumnType::Decimal { scale, .. } => {
                (decimal(&literal.to_string(), scale), "a number within precision and scale, in quotes")
            }
            ColumnType::Varbinary => {
                return Err(refuse(field, "VARBINARY cannot be generated; generate a VARCHAR".to_owned()));
            }
        };
        let fits = |value: &Value| match value {
            Value::Integer(number) => range(self.column_type).contains(number),
            Value::Float(_) | Value::Boolean(_) | Value::Text(_) => true,
        };
        let refusal = || refuse(field, format!("`{literal}` is no {}; write {wanted}", self.column_type));
        value.filter(fits).ok_or_else(refusal)
    }
}

/// What a type holds, in its own unit.
fn range(column_type: ColumnType) -> RangeInclusive<i128> {
    match column_type {
        ColumnType::Int | ColumnType::Date => i32::MIN.into()..=i32::MAX.into(),
        ColumnType::SmallInt => i16::MIN.into()..=i16::MAX.into(),
        ColumnType::Decimal { precision, .. } => {
            let limit = 10_i128.checked_pow(precision.into()).unwrap_or(i128::MAX);
            1 - limit..=limit - 1
        }
        ColumnType::BigInt
        | ColumnType::Double
        | ColumnType::Float
        | ColumnType::Boolean
        | ColumnType::Varchar
        | ColumnType::Timestamp
        | ColumnType::Varbinary => i64::MIN.into()..=i64::MAX.into(),
    }
}

fn refuse(field: &str, message: String) -> InvalidRecipe {
    InvalidRecipe { field: field.to_owned(), message }
}

fn whole(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Integer(number) => Some(Value::Integer(i128::from(*number))),
        Literal::Text(text) => text.parse().ok().map(Value::Integer),
    }
}

/// RFC 3339, or milliseconds since 1970 as in the data.
fn timestamp(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Integer(millis) => Some(Value::Integer(i128::from(*millis) * 1000)),
        Literal::Text(text) => instant::micros_of_rfc3339(text).map(|micros| Value::Integer(micros.into())),
    }
}

fn date(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Integer(_) => None,
        Literal::Text(text) => instant::days_of_date(text).map(|days| Value::Integer(days.into())),
    }
}

fn float(literal: &Literal) -> Option<Value> {
    let number: f64 = literal.to_string().parse().ok()?;
    number.is_finite().then_some(Value::Float(number))
}

fn boolean(literal: &Literal) -> Option<Value> {
    match literal {
        Literal::Text(text) => text.parse().ok().map(Value::Boolean),
        Literal::Integer(_) => None,
    }
}

/// Unscaled; `None` where it would have to be rounded.
fn decimal(text: &str, scale: u8) -> Option<Value> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > usize::from(scale) {
        return None;
    }
    let unscaled = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
    unscaled.parse::<i128>().ok().map(|number| Value::Integer(sign * number))
}

/// A duration, or whole microseconds as `10us`: event times may be closer than the milliseconds of other durations.
fn step_micros(text: &str) -> Option<i64> {
    match text.strip_suffix("us") {
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok()
        }
        Some(_) | None => text.parse::<Duration>().ok().map(Duration::as_micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Generate, Random, Sequence};

    fn column(column_type: &str, generate: Generate) -> Column {
        Column { name: "c".to_owned(), column_type: column_type.parse().unwrap(), generate: Some(generate) }
    }

    fn sequence(start: Literal, step: Option<Literal>) -> Generate {
        Generate { sequence: Some(Sequence { start, step }), random: None, choice: None }
    }

    fn random(min: Literal, max: Literal) -> Generate {
        Generate { sequence: None, random: Some(Random { min, max }), choice: None }
    }

    fn text(text: &str) -> Literal {
        Literal::Text(text.to_owned())
    }

    #[test]
    fn literals_are_in_the_columns_unit() {
        let start = text("1970-01-01T00:00:01Z");
        let timestamps = column("TIMESTAMP", sequence(start.clone(), Some(text("2ms")))).recipe();
        assert_eq!(timestamps, Ok(Some(Recipe::Sequence { start: 1_000_000, step: 2_000 })));
        assert_eq!(
            column("TIMESTAMP", sequence(start, None)).recipe(),
            Ok(Some(Recipe::Sequence { start: 1_000_000, step: 1_000 }))
        );
        let start = text("1970-01-01T00:00:01Z");
        let micros = column("TIMESTAMP", sequence(start, Some(text("10us")))).recipe();
        assert_eq!(micros, Ok(Some(Recipe::Sequence { start: 1_000_000, step: 10 })));
        let decimals = column("DECIMAL(6,2)", random(text("-1.5"), Literal::Integer(2))).recipe();
        assert_eq!(decimals, Ok(Some(Recipe::Random { min: -150, max: 200 })));
        let floats = column("DOUBLE", random(Literal::Integer(0), text("0.5"))).recipe();
        assert_eq!(floats, Ok(Some(Recipe::RandomFloat { min: 0.0, max: 0.5 })));
    }

    #[test]
    fn sequence_must_last() {
        let recipe =
            column("SMALLINT", sequence(Literal::Integer(0), Some(Literal::Integer(2)))).recipe().unwrap().unwrap();
        assert!(recipe.lasts(ColumnType::SmallInt, 16_384));
        assert!(!recipe.lasts(ColumnType::SmallInt, 16_385));
        let far = Recipe::Sequence { start: i128::MAX, step: i128::MAX };
        assert!(!far.lasts(ColumnType::BigInt, 3));
    }

    #[test]
    fn literal_that_the_type_cannot_hold_is_refused_by_field() {
        let cases = [
            (column("SMALLINT", random(Literal::Integer(0), Literal::Integer(40_000))), "generate.random.max"),
            (
                column("TIMESTAMP", sequence(text("2026-01-01T00:00:00Z"), Some(Literal::Integer(1)))),
                "generate.sequence.step",
            ),
            (column("VARCHAR", random(text("a"), text("b"))), "generate.random.min"),
            (column("BIGINT", random(Literal::Integer(2), Literal::Integer(1))), "generate.random.max"),
            (column("DECIMAL(3,1)", random(text("0.25"), text("1"))), "generate.random.min"),
            (
                column("BOOLEAN", Generate { sequence: None, random: None, choice: Some(vec![text("yes")]) }),
                "generate.choice[0]",
            ),
        ];
        for (column, field) in cases {
            assert_eq!(column.recipe().unwrap_err().field, field);
        }
    }
}
