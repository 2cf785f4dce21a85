//! What can be compared of two lives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A life as it was told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// In their order, each once.
    pub(crate) states: Vec<String>,
    /// Fields that ever said something in a state, and in the last words (`left`).
    pub(crate) fields: BTreeMap<String, BTreeSet<String>>,
    pub(crate) code: i32,
    pub(crate) left: Option<String>,
}

impl Seen {
    /// One more answer.
    pub(crate) fn hears(&mut self, report: &Value) {
        let state = report["state"].as_str().unwrap_or_default();
        if self.states.last().is_none_or(|last| last != state) {
            self.states.push(state.to_owned());
        }
        self.take(state, report);
    }

    pub(crate) fn ends(&mut self, code: i32, left: &str) {
        self.code = code;
        let report: Value = serde_json::from_str(left).unwrap_or_default();
        self.left = report["state"].as_str().map(str::to_owned);
        if self.left.is_some() {
            self.take("left", &report);
        }
    }

    fn take(&mut self, state: &str, report: &Value) {
        let fields = self.fields.entry(state.to_owned()).or_default();
        for (name, value) in report.as_object().into_iter().flatten() {
            match value {
                Value::Object(inner) if name != "log" => {
                    let set = inner.iter().filter(|(_, value)| says(value));
                    fields.extend(set.map(|(field, _)| format!("{name}.{field}")));
                }
                value if says(value) => drop(fields.insert(name.clone())),
                _ => {}
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
