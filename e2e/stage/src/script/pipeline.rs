//! The Pipeline that pretended workers are made for.

use serde_json::{Value, json};

/// Ten rows from a generator into files; `spec` adds fields, or replaces them.
pub fn pipeline(namespace: &str, name: &str, spec: &Value) -> Value {
    let mut manifest = json!({
        "apiVersion": "onceward.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "sources": [{ "name": "orders", "generator": { "rows": 10, "seed": 1 }, "columns": [
                { "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } },
            ] }],
            "sinks": [{ "name": "out", "input": "orders", "files": { "path": "/data/out" } }],
            "checkpoint": { "storage": { "local": { "path": "/data/state" } } },
        },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        manifest["spec"][field] = value.clone();
    }
    manifest
}
