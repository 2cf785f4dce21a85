//! The custom resource definition and its schema, as the API server and the manifest reader use it.

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use super::Pipeline;

/// The definition of `Pipeline` that `crds/pipelines.yaml` holds.
pub fn definition() -> CustomResourceDefinition {
    let derived = serde_json::to_value(Pipeline::crd()).unwrap_or_default();
    let mut tidied = derived.clone();
    tidy(&mut tidied);
    if let Some(status) = tidied.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status") {
        // What nobody has reported must not look as if it had been.
        without_defaults(status);
    }
    serde_json::from_value(tidied).unwrap_or_else(|_| Pipeline::crd())
}

/// `openAPIV3Schema` of the only version, with defaults, bounds and CEL rules.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut definition = serde_json::to_value(definition()).unwrap_or_default();
        definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").map(Value::take).unwrap_or_default()
    })
}

fn without_defaults(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("default");
            map.values_mut().for_each(without_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes out what the derive adds and an API server does not want: formats that it does not know (it warns of each),
/// `additionalProperties: false` (it refuses that word; structural schemas drop unknown fields anyway), and `nullable`,
/// with which `field: null` would count as set in CEL's `has`, together with the null among the words of an enum.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                map.remove("additionalProperties");
            }
            if let Some(Value::String(format)) = map.get("format")
                && format.starts_with("uint")
            {
                map.insert("format".to_owned(), "int64".into());
            }
            if let Some(Value::Array(words)) = map.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
