//! Durations as people write them: `10s`, `100ms`, `1m30s` (Kubernetes GEP-2257).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A non-negative span of whole milliseconds, written as one to four of `<number>h|m|s|ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(std::time::Duration);

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write one to four of `<number>h|m|s|ms`, as `10s`, `100ms` or `1m30s`")]
pub struct InvalidDuration {
    text: String,
}

impl Duration {
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    pub const fn as_std(self) -> std::time::Duration {
        self.0
    }

    /// Whole milliseconds; fits because each of at most four terms has at most five digits.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whole microseconds, the unit of TIMESTAMP.
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        parse_millis(text)
            .map(Self::from_millis)
            .ok_or_else(|| InvalidDuration { text: text.chars().take(40).collect() })
    }
}

fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    for _term in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let (unit, tail) = UNITS.iter().find_map(|(name, ms)| tail.strip_prefix(name).map(|tail| (ms, tail)))?;
        total += number.parse::<u64>().ok()? * unit;
        rest = tail;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// `ms` before `m`, since the first prefix that fits is taken.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let mut text = String::new();
        let terms = [(ms / 3_600_000, "h"), (ms / 60_000 % 60, "m"), (ms / 1_000 % 60, "s"), (ms % 1_000, "ms")];
        for (number, unit) in terms.into_iter().filter(|(number, _)| *number > 0) {
            write!(text, "{number}{unit}")?;
        }
        f.write_str(&text)
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, InvalidDuration> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.to_string()
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // 28 = four terms of five digits and two letters.
        json_schema!({ "type": "string", "maxLength": 28, "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for ms in [0, 1, 999, 1_000, 61_001, 3_600_000, 90_000, 359_999_999] {
            let duration = Duration::from_millis(ms);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }

    #[test]
    fn only_whole_terms_are_durations() {
        assert_eq!("1m30s".parse(), Ok(Duration::from_secs(90)));
        assert_eq!("100ms".parse(), Ok(Duration::from_millis(100)));
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 s", "1d", "123456s", "1s1s1s1s1s", "1µs", "é"] {
            assert!(wrong.parse::<Duration>().is_err(), "{wrong}");
        }
    }
}
