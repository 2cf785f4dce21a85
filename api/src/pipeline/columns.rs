//! Columns: name, SQL type, and, for the generator, how values are made.

use std::fmt;
use std::str::FromStr;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One column of a source.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!self.type.startsWith('DECIMAL') || int(self.type.findAll('[0-9]+')[1]) <= int(self.type.findAll('[0-9]+')[0])")
    .message("the scale of a DECIMAL must not exceed its precision; write DECIMAL(precision,scale)")
    .field_path(".type"))]
pub struct Column {
    /// Name in the data and in SQL (write it in double quotes there unless it is all lower case).
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_@$][A-Za-z0-9_@$.-]*$"))]
    pub name: String,
    /// SQL type: BIGINT, INT, SMALLINT, DOUBLE, FLOAT, BOOLEAN, VARCHAR, TIMESTAMP, DATE, DECIMAL(p,s) or VARBINARY.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// How the generator makes values; only with `generator`, and needed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
}

/// SQL type of a column; see docs/types.md for the encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    BigInt,
    Int,
    SmallInt,
    Double,
    Float,
    Boolean,
    Varchar,
    /// Microseconds since 1970, UTC.
    Timestamp,
    Date,
    /// 1 <= precision <= 38, scale <= precision.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Varbinary,
}

/// A text that is not a column type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a column type")]
pub struct InvalidColumnType {
    text: String,
}

/// Names without parameters; DECIMAL is read apart.
const PLAIN: [(&str, ColumnType); 10] = [
    ("BIGINT", ColumnType::BigInt),
    ("INT", ColumnType::Int),
    ("SMALLINT", ColumnType::SmallInt),
    ("DOUBLE", ColumnType::Double),
    ("FLOAT", ColumnType::Float),
    ("BOOLEAN", ColumnType::Boolean),
    ("VARCHAR", ColumnType::Varchar),
    ("TIMESTAMP", ColumnType::Timestamp),
    ("DATE", ColumnType::Date),
    ("VARBINARY", ColumnType::Varbinary),
];

impl FromStr for ColumnType {
    type Err = InvalidColumnType;

    fn from_str(text: &str) -> Result<Self, InvalidColumnType> {
        if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*plain);
        }
        parse_decimal(text).ok_or_else(|| InvalidColumnType { text: text.chars().take(40).collect() })
    }
}

fn parse_decimal(text: &str) -> Option<ColumnType> {
    let (precision, scale) = text.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    let number = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u8>().ok() } else { None }
    };
    let (precision, scale) = (number(precision)?, number(scale.strip_prefix(' ').unwrap_or(scale))?);
    ((1..=38).contains(&precision) && scale <= precision).then_some(ColumnType::Decimal { precision, scale })
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Decimal { precision, scale } = self {
            return write!(f, "DECIMAL({precision},{scale})");
        }
        let name = PLAIN.iter().find(|(_, plain)| plain == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl TryFrom<String> for ColumnType {
    type Error = InvalidColumnType;

    fn try_from(text: String) -> Result<Self, InvalidColumnType> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(column_type: ColumnType) -> Self {
        column_type.to_string()
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnType".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let plain: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
        let pattern =
            format!("^({}|DECIMAL[(]([1-9]|[12][0-9]|3[0-8]), ?([0-9]|[12][0-9]|3[0-8])[)])$", plain.join("|"));
        json_schema!({ "type": "string", "maxLength": 16, "pattern": pattern })
    }
}

/// How the generator makes a column's values: exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("[has(self.sequence), has(self.random), has(self.choice)].filter(x, x).size() == 1",
    "set exactly one of sequence, random, choice"))]
pub struct Generate {
    /// start + k * step in row k.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Evenly distributed from min to max, both included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<Random>,
    /// One of these, evenly distributed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub choice: Option<Vec<Literal>>,
}

/// start + k * step.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sequence {
    /// A number; for TIMESTAMP an RFC 3339 text.
    pub start: Literal,
    /// A number; for TIMESTAMP a duration, which may be in microseconds (`10us`). Absent: 1, for TIMESTAMP 1ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Literal>,
}

/// From min to max, both included.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Random {
    /// The least value.
    pub min: Literal,
    /// The greatest value; not below min.
    pub max: Literal,
}

/// A value in the manifest: a whole number, or text (fractions and timestamps are text).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    Integer(i64),
    Text(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl JsonSchema for Literal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Literal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": 256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_printed() {
        let decimal = ColumnType::Decimal { precision: 38, scale: 10 };
        for column_type in PLAIN.iter().map(|(_, plain)| *plain).chain([decimal]) {
            assert_eq!(column_type.to_string().parse(), Ok(column_type));
        }
        assert_eq!("DECIMAL(10, 2)".parse(), Ok(ColumnType::Decimal { precision: 10, scale: 2 }));
    }

    #[test]
    fn impossible_types_are_refused() {
        for wrong in
            ["bigint", "STRING", "DECIMAL", "DECIMAL(0,0)", "DECIMAL(39,0)", "DECIMAL(5,6)", "DECIMAL(+5,1)", ""]
        {
            assert!(wrong.parse::<ColumnType>().is_err(), "{wrong}");
        }
    }
}
