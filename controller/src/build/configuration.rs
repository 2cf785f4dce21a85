//! What a worker runs: the manifest without what concerns the controller alone, in an immutable `ConfigMap` that is named
//! by its hash. A pod whose hash is another one runs something of before.

use std::collections::{BTreeMap, BTreeSet};

use api::pipeline::Pipeline;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::owner;
use crate::names;
use crate::observe::Settings;
use crate::requests;

/// File of the manifest in a worker.
pub(super) const FILE: &str = "pipeline.yaml";
/// Fields of the spec that say nothing to a running worker.
const OF_THE_CONTROLLER: [&str; 6] = ["deletionTimeout", "image", "podTemplate", "restoreFrom", "suspend", "workers"];

/// A `ConfigMap` and what else a pod needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Of everything that a running worker would have to be replaced for.
    pub hash: String,
    pub config_map: ConfigMap,
    /// Secrets that the manifest names; each becomes a folder of files.
    pub secrets: BTreeSet<String>,
}

/// The configuration of the present spec.
pub fn configuration(pipeline: &Pipeline, settings: &Settings) -> Configuration {
    let mut spec = serde_json::to_value(&pipeline.spec).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        for field in OF_THE_CONTROLLER {
            fields.remove(field);
        }
        if let Some(checkpoint) = fields.get_mut("checkpoint").and_then(Value::as_object_mut) {
            checkpoint.remove("onDelete");
        }
    }
    let mut secrets = BTreeSet::new();
    collect_secrets(&spec, &mut secrets);
    let manifest = json!({
        "apiVersion": format!("{}/{}", api::pipeline::GROUP, api::pipeline::VERSION),
        "kind": "Pipeline",
        "metadata": { "name": names::name(pipeline), "namespace": names::namespace(pipeline) },
        "spec": spec,
    });
    let manifest = format!("{manifest:#}\n");
    let template = pipeline.spec.pod_template.as_ref().map(|template| Value::Object(template.0.clone()));
    let annotations = pipeline.metadata.annotations.as_ref();
    let annotation = |name: &str| annotations.and_then(|all| all.get(name)).map(String::as_str).unwrap_or_default();
    let hash = names::short_hash(&[
        manifest.as_bytes(),
        image(pipeline, settings).as_bytes(),
        template.unwrap_or_default().to_string().as_bytes(),
        requests::restart(pipeline).unwrap_or_default().as_bytes(),
        annotation(names::ACCEPT_LOSS).as_bytes(),
        annotation(names::ACCEPT_REWIND).as_bytes(),
    ]);
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::config_map(pipeline, &hash)),
            namespace: Some(names::namespace(pipeline).to_owned()),
            labels: Some(labels(pipeline, &hash)),
            owner_references: Some(vec![owner(pipeline)]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(FILE.to_owned(), manifest)])),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    Configuration { hash, config_map, secrets }
}

pub(super) fn image<'a>(pipeline: &'a Pipeline, settings: &'a Settings) -> &'a str {
    pipeline.spec.image.as_deref().unwrap_or(&settings.image)
}

/// Of everything that is made for a Pipeline.
pub(super) fn labels(pipeline: &Pipeline, configuration: &str) -> BTreeMap<String, String> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    BTreeMap::from([
        label("app.kubernetes.io/name", "onceward"),
        label("app.kubernetes.io/component", "worker"),
        label("app.kubernetes.io/managed-by", names::MANAGER),
        label(names::PIPELINE, names::name(pipeline)),
        label(names::CONFIGURATION, configuration),
    ])
}

/// Wherever the manifest has `{secret, key}`.
fn collect_secrets(value: &Value, secrets: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let (2, Some(Value::String(secret)), Some(Value::String(_))) =
                (fields.len(), fields.get("secret"), fields.get("key"))
            {
                secrets.insert(secret.clone());
            }
            fields.values().for_each(|field| collect_secrets(field, secrets));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
