//! Valid manifests, and every place in them that the schema speaks of.

use std::collections::BTreeSet;

use api::pipeline;
use serde_json::Value;

use crate::site::root;

/// A value in a manifest with its schema.
pub(crate) struct Spot {
    pub(crate) schema: &'static Value,
    pub(crate) value: Value,
    /// As `/spec/sinks/0/input`.
    pub(crate) pointer: String,
    /// As `spec.sinks[0].input`.
    pub(crate) field: String,
}

impl Spot {
    /// `object`, `array`, `string`, `integer`, `boolean`, or `literal`: a whole number or text.
    pub(crate) fn kind(&self) -> &'static str {
        let literal = self.schema.get("x-kubernetes-int-or-string").is_some();
        if literal { "literal" } else { self.schema["type"].as_str().expect("every node has a type") }
    }

    /// The field in the schema: items of lists as `[]`.
    pub(crate) fn general(&self) -> String {
        let mut is_index = false;
        let kept = self.field.chars().filter(|c| {
            is_index = *c == '[' || (is_index && c.is_ascii_digit());
            !(is_index && c.is_ascii_digit())
        });
        kept.collect()
    }

    /// Its manifest with another value there.
    pub(crate) fn replaced(&self, manifest: &Value, value: Value) -> Value {
        let mut manifest = manifest.clone();
        *manifest.pointer_mut(&self.pointer).expect("it is there") = value;
        manifest
    }
}

/// The manifests in `bases/`: together they set every field that there is.
pub(crate) fn bases() -> Vec<(&'static str, Value)> {
    let texts = [
        ("kafka", include_str!("bases/kafka.yaml")),
        ("files", include_str!("bases/files.yaml")),
        ("generator", include_str!("bases/generator.yaml")),
        ("never", include_str!("bases/never.yaml")),
    ];
    texts.map(|(name, text)| (name, serde_yaml_ng::from_str(text).expect("YAML"))).to_vec()
}

/// The spec and everything in it.
pub(crate) fn spots(manifest: &Value) -> Vec<Spot> {
    let mut found = Vec::new();
    walk(
        &pipeline::schema()["properties"]["spec"],
        &manifest["spec"],
        "/spec".to_owned(),
        "spec".to_owned(),
        &mut found,
    );
    found
}

fn walk(schema: &'static Value, value: &Value, pointer: String, field: String, found: &mut Vec<Spot>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.get("properties").and_then(|properties| properties.get(name)) {
                    walk(schema, value, format!("{pointer}/{name}"), format!("{field}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                walk(&schema["items"], item, format!("{pointer}/{i}"), format!("{field}[{i}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(Spot { schema, value: value.clone(), pointer, field });
}

/// Fields of the schema, items of lists as `[]`.
fn fields(schema: &Value, field: &str, found: &mut BTreeSet<String>) {
    found.insert(field.to_owned());
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        fields(property, &format!("{field}.{name}"), found);
    }
    if let Some(items) = schema.get("items") {
        fields(items, &format!("{field}[]"), found);
    }
}

#[test]
fn bases_set_every_field() {
    let mut missing = BTreeSet::new();
    fields(&pipeline::schema()["properties"]["spec"], "spec", &mut missing);
    assert!(missing.len() > 100, "the schema is not where this test looks for it");
    for (_, manifest) in bases() {
        for spot in spots(&manifest) {
            missing.remove(&spot.general());
        }
    }
    assert_eq!(
        missing,
        BTreeSet::new(),
        "fields that no manifest of {} sets",
        root().join("e2e/stage/tests/apiserver/bases").display()
    );
}
