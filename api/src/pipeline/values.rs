//! `generate` read against the column's type: what the generator makes, in the units that the column holds.

use super::columns::{Column, ColumnType, Literal};
use super::duration::Duration;
use super::instant;

/// A column's recipe, checked. Whole numbers are in the column's own unit: microseconds for TIMESTAMP, days for DATE,
/// unscaled for DECIMAL.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// start + k * step in row k; wraps never: out of range is the generator's error.
    Sequence {
        start: i64,
        step: i64,
    },
    SequenceFloat {
        start: f64,
        step: f64,
    },
    /// Both ends included; min <= max.
    Random {
        min: i64,
        max: i64,
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
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// VARCHAR; VARBINARY takes the text's bytes.
    Text(String),
}

/// A literal that does not fit: `field` is relative to the column (`generate.random.min`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRecipe {
    pub field: String,
    pub message: String,
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
            (Some(Literal::Text(text)), ColumnType::Timestamp) => Value::Integer(
                step_micros(text)
                    .ok_or_else(|| refuse(field, format!("`{text}` is no step; write as 1ms, 2s or 10us")))?,
            ),
            (Some(literal @ Literal::Integer(_)), ColumnType::Timestamp) => {
                return Err(refuse(field, format!("`{literal}` has no unit; write a duration, as 1ms")));
            }
            (Some(Literal::Integer(days)), ColumnType::Date) => Value::Integer(*days),
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
            ColumnType::BigInt => (whole(literal, i64::MIN, i64::MAX), "a whole number of 64 bits"),
            ColumnType::Int => (whole(literal, i32::MIN.into(), i32::MAX.into()), "a whole number of 32 bits"),
            ColumnType::SmallInt => (whole(literal, i16::MIN.into(), i16::MAX.into()), "a whole number of 16 bits"),
            ColumnType::Double | ColumnType::Float => {
                (float(literal), "a number; a fraction stands in quotes, as \"0.5\"")
            }
            ColumnType::Boolean => (boolean(literal), "\"true\" or \"false\", in quotes"),
            ColumnType::Varchar | ColumnType::Varbinary => (Some(Value::Text(literal.to_string())), "text"),
            ColumnType::Timestamp => {
                (text(literal).and_then(instant::micros_of_rfc3339).map(Value::Integer), "as \"2026-01-01T00:00:00Z\"")
            }
            ColumnType::Date => {
                (text(literal).and_then(instant::days_of_date).map(Value::Integer), "as \"2026-01-01\"")
            }
            ColumnType::Decimal { precision, scale } => {
                (decimal(&literal.to_string(), precision, scale), "a number within precision and scale, in quotes")
            }
        };
        value.ok_or_else(|| refuse(field, format!("`{literal}` is no {}; write {wanted}", self.column_type)))
    }
}

fn refuse(field: &str, message: String) -> InvalidRecipe {
    InvalidRecipe { field: field.to_owned(), message }
}

fn text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::Text(text) => Some(text),
        Literal::Integer(_) => None,
    }
}

fn whole(literal: &Literal, min: i64, max: i64) -> Option<Value> {
    let number = match literal {
        Literal::Integer(number) => *number,
        Literal::Text(text) => text.parse().ok()?,
    };
    (min..=max).contains(&number).then_some(Value::Integer(number))
}

fn float(literal: &Literal) -> Option<Value> {
    let number: f64 = literal.to_string().parse().ok()?;
    number.is_finite().then_some(Value::Float(number))
}

fn boolean(literal: &Literal) -> Option<Value> {
    match text(literal)? {
        "true" => Some(Value::Boolean(true)),
        "false" => Some(Value::Boolean(false)),
        _ => None,
    }
}

/// Unscaled; the generator makes decimals of at most 18 digits.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<Value> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > usize::from(scale) {
        return None;
    }
    let unscaled = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
    let significant = unscaled.trim_start_matches('0');
    if significant.len() > usize::from(precision.min(18)) {
        return None;
    }
    let number: i64 = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    Some(Value::Integer(sign * number))
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
