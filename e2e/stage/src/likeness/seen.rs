//! What can be compared of two lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

/// A life as it was told.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// In their order, each once. That of the end is in `left`: whether it is seen before is chance.
    pub(super) states: Vec<String>,
    /// Fields that ever said something in a state, and in the last words (`left`).
    pub(super) fields: BTreeMap<String, BTreeSet<String>>,
    /// To requests.
    pub(super) answers: Vec<u16>,
    pub(super) code: i32,
    pub(super) left: Option<String>,
}

const ENDS: [&str; 7] = ["Stopped", "StoppedUndecided", "Finished", "Settled", "Failed", "Refused", "Fenced"];

impl Seen {
    /// One more answer.
    pub(super) fn hears(&mut self, report: &Value) {
        let state = report["state"].as_str().unwrap_or_default();
        // Where nothing was read since the newest checkpoint, a stop takes no time: whether it is seen is chance, too.
        if ENDS.contains(&state) || state == "Stopping" {
            return;
        }
        if self.states.last().is_none_or(|last| last != state) {
            self.states.push(state.to_owned());
        }
        self.take(state, report);
    }

    pub(super) fn ends(&mut self, code: i32, left: &str) {
        self.code = code;
        let report: Value = serde_json::from_str(left).unwrap_or_default();
        self.left = report["state"].as_str().map(str::to_owned);
        if self.left.is_some() {
            self.take("left", &report);
        }
    }

    /// Of it alone.
    pub(super) fn end(mut self) -> Self {
        self.states.clear();
        self.fields.retain(|state, _| state == "left");
        self
    }

    /// Whether a field ever said something, in whatever state.
    pub(super) fn tells(&self, field: &str) -> bool {
        self.fields.values().any(|fields| fields.contains(field))
    }

    /// Between a real life and a scripted one, in words.
    pub(super) fn difference(&self, scripted: &Self) -> String {
        let mut told = String::new();
        for (who, one, other) in [("real", self, scripted), ("scripted", scripted, self)] {
            let _ = write!(told, "\n{who}: {:?}, {:?}, {}, {:?}", one.states, one.answers, one.code, one.left);
            let nothing = BTreeSet::new();
            for (state, fields) in &one.fields {
                let alone: Vec<_> = fields.difference(other.fields.get(state).unwrap_or(&nothing)).collect();
                if !alone.is_empty() {
                    let _ = write!(told, "; {state} alone has {alone:?}");
                }
            }
        }
        told
    }

    fn take(&mut self, state: &str, report: &Value) {
        let fields = self.fields.entry(state.to_owned()).or_default();
        for (name, value) in report.as_object().into_iter().flatten() {
            let inner: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(_) => vec![value],
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
            };
            if inner.is_empty() && says(value) {
                fields.insert(name.clone());
            }
            // Places in the log begin at 0.
            let is_told = |(_, value): &(&String, &Value)| name == "log" || says(value);
            for (field, _) in inner.into_iter().filter_map(Value::as_object).flatten().filter(is_told) {
                fields.insert(format!("{name}.{field}"));
            }
        }
    }
}

fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Object(_) => true,
    }
}
