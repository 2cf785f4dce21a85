//! The chart, rendered by Helm itself: golden objects under several values, refused values, rights, alerts that fire and
//! stay quiet under promtool, dashboards and runbooks that lead somewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alerts;
mod dashboards;
mod hello;
mod kept;
mod metrics;
mod monitoring;
mod objects;
mod rendered;
mod rights;
mod values;

use std::path::{Path, PathBuf};

use e2e::helm::Helm;
use e2e::served::family;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// This folder.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart")
}

fn read(path: impl AsRef<Path>) -> String {
    let text = std::fs::read_to_string(&path);
    assert!(text.is_ok(), "{}: {text:?}", path.as_ref().display());
    text.unwrap()
}

/// Everything that the chart can make.
const EVERYTHING: [&str; 2] = [
    "--set",
    "monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboards.enabled=true",
];

/// The chart's objects.
fn objects(arguments: &[&str]) -> Vec<Value> {
    parse(&Helm::new().unwrap().render(arguments).unwrap())
}

fn parse(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|object| !object.is_null()).collect()
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `Deployment onceward-system/onceward-controller`.
fn title(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
    format!("{} {namespace}{}", kind(object), name(object))
}

/// The only object of a kind and name.
fn only<'a>(objects: &'a [Value], wanted: &str, called: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| kind(object) == wanted && name(object) == called).collect();
    assert_eq!(found.len(), 1, "{wanted} {called}");
    found[0]
}

/// Names of our metrics in a text.
fn metric_names(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("onceward_")).collect()
}
