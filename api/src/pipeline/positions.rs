//! Where reading a log begins and ends. A position is one text, a word or a moment, since a schema cannot say "text or
//! mapping" (docs/decisions/0201).

use std::fmt;
use std::str::FromStr;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::instant::micros_of_rfc3339;
use super::kafka::TOPIC;

/// A moment as it was written: RFC 3339 with a zone, not before 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    text: String,
    millis: i64,
}

impl Moment {
    /// Milliseconds since 1970, the unit of Kafka's timestamps; a part of one counts as a whole, so that "at or after" holds.
    pub fn millis(&self) -> i64 {
        self.millis
    }
}

impl FromStr for Moment {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let micros = micros_of_rfc3339(text).filter(|_| text.len() <= MAX_LENGTH).ok_or_else(|| invalid(text))?;
        // Digits beyond microseconds are cut off on reading, and a moment between two milliseconds belongs to the later.
        let millis = micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) != 0);
        // Kafka's requests give meanings of their own to negative timestamps.
        if micros < 0 { Err(invalid(text)) } else { Ok(Self { text: text.to_owned(), millis }) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is neither a known word nor a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither a known word nor a moment from 1970 on; write a moment as \"2026-01-01T00:00:00Z\"")]
pub struct InvalidPosition {
    text: String,
}

fn invalid(text: &str) -> InvalidPosition {
    InvalidPosition { text: text.chars().take(40).collect() }
}

/// Where a new pipeline begins to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StartPosition {
    #[default]
    Earliest,
    Latest,
    /// What the group committed; a partition without an offset from its beginning.
    CommittedOffsets,
    /// The first record at or after it.
    Moment(Moment),
}

/// Where reading ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Until {
    /// What is there when the pipeline first starts.
    Latest,
    /// Before the first record at or after it.
    Moment(Moment),
}

/// Where reading ends, all forms in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    Unbounded,
    Latest,
    Moment(&'a Moment),
    /// Partitions that are not among them are not read.
    Offsets(&'a [PartitionOffset]),
}

/// The end of one partition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionOffset {
    /// One of the topics that are read.
    #[schemars(length(min = 1, max = 249), regex(pattern = TOPIC))]
    pub topic: String,
    /// Its partition.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub partition: i32,
    /// The first offset that is not read.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub offset: i64,
}

impl StartPosition {
    const WORDS: [&'static str; 3] = ["Earliest", "Latest", "CommittedOffsets"];
}

impl FromStr for StartPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        match text {
            "Earliest" => Ok(Self::Earliest),
            "Latest" => Ok(Self::Latest),
            "CommittedOffsets" => Ok(Self::CommittedOffsets),
            _ => text.parse().map(Self::Moment),
        }
    }
}

impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("Earliest"),
            Self::Latest => f.write_str("Latest"),
            Self::CommittedOffsets => f.write_str("CommittedOffsets"),
            Self::Moment(moment) => moment.fmt(f),
        }
    }
}

impl FromStr for Until {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        if text == "Latest" { Ok(Self::Latest) } else { text.parse().map(Self::Moment) }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("Latest"),
            Self::Moment(moment) => moment.fmt(f),
        }
    }
}

macro_rules! text_in_manifest {
    ($position:ty, $name:literal, $words:expr) => {
        impl TryFrom<String> for $position {
            type Error = InvalidPosition;

            fn try_from(text: String) -> Result<Self, InvalidPosition> {
                text.parse()
            }
        }

        impl From<$position> for String {
            fn from(position: $position) -> Self {
                position.to_string()
            }
        }

        impl JsonSchema for $position {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let pattern = format!("^({}|{MOMENT})$", $words.join("|"));
                json_schema!({ "type": "string", "maxLength": MAX_LENGTH, "pattern": pattern })
            }
        }
    };
}

text_in_manifest!(StartPosition, "StartPosition", StartPosition::WORDS);
text_in_manifest!(Until, "Until", ["Latest"]);

/// RFC 3339; impossible days (February 30) are left to who reads the text.
pub(crate) const MOMENT: &str = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
/// `2026-01-01T00:00:00.123456789+02:00`.
const MAX_LENGTH: usize = 35;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_as_written() {
        for text in ["Earliest", "Latest", "CommittedOffsets", "2026-01-01T02:00:00.5+02:00"] {
            assert_eq!(text.parse::<StartPosition>().unwrap().to_string(), text);
        }
        for text in ["Latest", "2026-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Until>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn part_of_a_millisecond_belongs_to_the_next() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("1970-01-01T00:00:00.001001Z", 2),
            ("2026-01-01T02:00:00+02:00", 1_767_225_600_000),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().millis(), millis, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_position() {
        for wrong in ["", "earliest", "Timestamp", "2026-01-01", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert!(wrong.parse::<StartPosition>().is_err(), "{wrong}");
        }
        // Below 1970 only by its zone.
        assert!("1970-01-01T01:00:00+02:00".parse::<Until>().is_err());
        assert!("Earliest".parse::<Until>().is_err());
    }
}
