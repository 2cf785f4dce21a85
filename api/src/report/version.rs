//! Reports of one version, read by a binary of another.
//!
//! What keeps that possible: a field never changes its meaning, and a new one may be missing. A version whose reports must not
//! be read by those before it says so by a state that they do not know.

use serde::Deserialize;
use serde_json::Value;

use super::WorkerReport;

/// The oldest format that is still read.
pub const OLDEST_REPORT_VERSION: u32 = 1;

/// What a worker's words come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Words {
    Report(Box<WorkerReport>),
    Unread(Unread),
}

/// Words that are a worker's, and cannot be understood here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// Of the report's format.
    pub report_version: u32,
    /// Of the worker's binary.
    #[serde(default)]
    pub version: String,
}

impl Words {
    /// Reads JSON; None: these are no words of a worker's, or were cut off.
    pub fn read(json: &[u8]) -> Option<Self> {
        let words: Value = serde_json::from_slice(json).ok().filter(Value::is_object)?;
        let head = Unread::deserialize(&words).ok()?;
        if head.report_version < OLDEST_REPORT_VERSION {
            return Some(Self::Unread(head));
        }
        Some(match serde_json::from_value(words) {
            Ok(report) => Self::Report(Box::new(report)),
            Err(_) => Self::Unread(head),
        })
    }

    /// What is understood.
    pub fn report(&self) -> Option<&WorkerReport> {
        match self {
            Self::Report(report) => Some(report),
            Self::Unread(_) => None,
        }
    }
}

impl From<WorkerReport> for Words {
    fn from(report: WorkerReport) -> Self {
        Self::Report(Box::new(report))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::report::WorkerState;

    /// As a worker of format 1 writes it, everything in it.
    const FORMAT_1: &str = include_str!("format-1.json");

    fn stored() -> Value {
        serde_json::from_str(FORMAT_1).expect("JSON")
    }

    fn read(report: &Value) -> Option<Words> {
        Words::read(report.to_string().as_bytes())
    }

    fn understood(report: &Value) -> WorkerReport {
        read(report).and_then(|words| words.report().cloned()).unwrap_or_else(|| panic!("not understood: {report}"))
    }

    /// Every object in it, by its path.
    fn objects(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.push(path.to_owned());
                fields.iter().for_each(|(field, value)| objects(value, &format!("{path}/{field}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| objects(item, &format!("{path}/{index}"), found));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fields<'a>(report: &'a mut Value, path: &str) -> &'a mut Map<String, Value> {
        report.pointer_mut(path).and_then(Value::as_object_mut).expect("an object")
    }

    #[test]
    fn the_stored_format_is_read_and_written_for_ever() {
        let report = understood(&stored());
        assert_eq!(report.state, WorkerState::Running);
        assert_eq!(serde_json::to_value(&report).expect("JSON"), stored());
    }

    #[test]
    fn fields_that_are_new_change_nothing() {
        let mut places = vec![];
        objects(&stored(), "", &mut places);
        assert!(places.len() >= 9, "{places:?}");
        for place in &places {
            let mut newer = stored();
            fields(&mut newer, place).insert("ofTheFuture".to_owned(), json!({ "a": [1, "b"] }));
            newer["reportVersion"] = 2.into();
            let expected = WorkerReport { report_version: 2, ..understood(&stored()) };
            assert_eq!(understood(&newer), expected, "at {place}");
        }
    }

    #[test]
    fn figures_and_texts_may_be_missing_and_what_names_a_decision_may_not() {
        const NEEDED: [&str; 14] = [
            "/log/pipelineId",
            "/log/log",
            "/log/attempt",
            "/log/slot",
            "/checkpoints/newest/attempt",
            "/checkpoints/newest/epoch",
            "/checkpoints/newest/handle",
            "/checkpoints/restoredFrom/attempt",
            "/checkpoints/restoredFrom/epoch",
            "/checkpoints/restoredFrom/handle",
            "/requested/id",
            "/requested/taken/attempt",
            "/requested/taken/epoch",
            "/requested/taken/handle",
        ];
        let (mut places, mut needed, mut seen) = (vec![], vec![], 0);
        objects(&stored(), "", &mut places);
        for place in &places {
            for field in fields(&mut stored(), place).keys() {
                let mut older = stored();
                fields(&mut older, place).remove(field);
                seen += 1;
                match read(&older) {
                    Some(Words::Report(_)) => {}
                    // Not without the version either: whose words are they?
                    None => assert_eq!((place.as_str(), field.as_str()), ("", "reportVersion")),
                    Some(Words::Unread(_)) => needed.push(format!("{place}/{field}")),
                }
            }
        }
        needed.sort();
        let mut expected = NEEDED.map(str::to_owned);
        expected.sort();
        assert_eq!(needed, expected);
        assert!(seen >= 45, "{seen} fields");
    }

    #[test]
    fn words_of_a_format_that_is_too_new_or_too_old_tell_who_spoke_them() {
        let mut newer = stored();
        (newer["reportVersion"], newer["version"], newer["state"]) = (7.into(), "3.2.1".into(), "Dreaming".into());
        let unread = Unread { report_version: 7, version: "3.2.1".to_owned() };
        assert_eq!(read(&newer), Some(Words::Unread(unread)));
        let mut older = stored();
        older["reportVersion"] = 0.into();
        assert!(matches!(read(&older), Some(Words::Unread(Unread { report_version: 0, .. }))));
    }

    #[test]
    fn what_no_worker_said_is_not_taken_for_words() {
        for text in ["", "{}", "null", "[1]", "\"reportVersion\"", "panicked at main.rs", &FORMAT_1[..200]] {
            assert_eq!(Words::read(text.as_bytes()), None, "{text}");
        }
    }
}
