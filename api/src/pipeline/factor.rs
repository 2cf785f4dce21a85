//! Fractions as text (`"1.5"`): Kubernetes manifests hold no floating point numbers, since clients round them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number from 0 to 999.999, exact to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Factor {
    thousandths: u32,
}

/// A text that is not a factor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a number of at most three digits on each side of the point; write it in quotes, as \"1.5\"")]
pub struct InvalidFactor {
    text: String,
}

impl Factor {
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self { thousandths }
    }

    pub const fn thousandths(self) -> u32 {
        self.thousandths
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }
}

impl FromStr for Factor {
    type Err = InvalidFactor;

    fn from_str(text: &str) -> Result<Self, InvalidFactor> {
        parse_thousandths(text)
            .map(Self::from_thousandths)
            .ok_or_else(|| InvalidFactor { text: text.chars().take(40).collect() })
    }
}

fn parse_thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str| (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    let scale = 10_u32.pow(3 - fraction.len() as u32);
    Some(whole.parse::<u32>().ok()? * 1000 + fraction.parse::<u32>().ok()? * scale)
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:03}", self.thousandths % 1000);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}", self.thousandths / 1000)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

impl TryFrom<String> for Factor {
    type Error = InvalidFactor;

    fn try_from(text: String) -> Result<Self, InvalidFactor> {
        text.parse()
    }
}

impl From<Factor> for String {
    fn from(factor: Factor) -> Self {
        factor.to_string()
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Factor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 7, "pattern": "^[0-9]{1,3}([.][0-9]{1,3})?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for (text, thousandths) in [("1.5", 1500), ("0.1", 100), ("2", 2000), ("0.025", 25), ("999.999", 999_999)] {
            let factor: Factor = text.parse().unwrap();
            assert_eq!(factor.thousandths(), thousandths);
            assert_eq!(factor.to_string(), text);
        }
    }

    #[test]
    fn only_plain_decimals_are_factors() {
        for wrong in ["", ".5", "1.", "1e3", "-1", "+1", "1.2345", "1000", "1,5", "½"] {
            assert!(wrong.parse::<Factor>().is_err(), "{wrong}");
        }
    }
}
