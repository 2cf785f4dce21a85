//! Scenes in few words: a manifest, pods by number, and what became of them.

use std::collections::{BTreeMap, BTreeSet};

use api::pipeline::Pipeline;
use api::report::{REPORT_VERSION, Words, WorkerReport};
use controller::build;
use controller::names::{self, Purpose};
use controller::observe::{Observed, Settings};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde::Deserialize;
use serde_json::{Value, json};

/// A file of `golden/`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scene {
    /// Time of the look.
    pub(crate) now: String,
    /// Merged over the manifest that all scenes share.
    #[serde(default)]
    pub(crate) pipeline: Value,
    #[serde(default)]
    pub(crate) pods: Vec<PodInWords>,
    #[serde(default)]
    pub(crate) lost_nodes: BTreeSet<String>,
    /// What the API server said when it refused the last pod.
    #[serde(default)]
    pub(crate) denied: Option<String>,
    /// The controller has no key to sign with.
    #[serde(default)]
    pub(crate) no_key: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodInWords {
    pub(crate) serial: u64,
    #[serde(default = "run")]
    pub(crate) purpose: String,
    /// Its spec is one of before.
    #[serde(default)]
    pub(crate) outdated: bool,
    /// As Kubernetes reports it.
    #[serde(default)]
    pub(crate) status: Value,
    /// What events tell of it.
    #[serde(default)]
    pub(crate) obstacle: Option<String>,
    #[serde(default)]
    pub(crate) leaving: bool,
    /// When it was made.
    #[serde(default)]
    pub(crate) made: Option<String>,
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// What its worker answers, or, where `status` has ended, left behind.
    #[serde(default)]
    pub(crate) report: Option<WorkerReport>,
    /// The same in words that are none of ours.
    #[serde(default)]
    pub(crate) says: Value,
}

fn run() -> String {
    "run".to_owned()
}

pub(crate) fn settings() -> Settings {
    Settings {
        image: "onceward:test".to_owned(),
        service_account: "default".to_owned(),
        controller_key: Some("key".to_owned()),
    }
}

/// The manifest of all scenes.
pub(crate) fn manifest() -> Value {
    json!({
        "apiVersion": "onceward.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {
            "name": "revenue", "namespace": "shop", "uid": "0a1b2c3d-0000-4000-8000-000000000001", "generation": 1,
            "resourceVersion": "1", "finalizers": [names::FINALIZER],
        },
        "spec": {
            "sources": [{ "name": "orders", "generator": { "rows": 10, "seed": 1 }, "columns": [
                { "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } },
            ] }],
            "sinks": [{ "name": "out", "input": "orders", "files": { "path": "/data/out" } }],
            "checkpoint": { "storage": { "local": { "path": "/data/state" } } },
        },
    })
}

impl Scene {
    pub(crate) fn observed(self) -> Observed {
        let mut manifest = manifest();
        merge(&mut manifest, &self.pipeline);
        let pipeline: Pipeline = serde_json::from_value(manifest).expect("a Pipeline");
        let now_ms = ms(&self.now);
        let (mut reports, mut obstacles) = (BTreeMap::new(), BTreeMap::new());
        let mut config_maps = vec![];
        let configuration = build::configuration(&pipeline, &settings());
        if !self.pods.is_empty() {
            config_maps.push(configuration.config_map.clone());
        }
        let pods = self.pods.into_iter().map(|words| {
            let pod = words.pod(&pipeline);
            let name = pod.metadata.name.clone().unwrap_or_default();
            obstacles.extend(words.obstacle.clone().map(|obstacle| (name.clone(), obstacle)));
            if let Some(told) = words.told().and_then(|told| Words::read(told.as_bytes())).filter(|_| !has_ended(&pod))
            {
                reports.insert(name, told);
            }
            pod
        });
        let pods = pods.collect();
        let (lost_nodes, denied) = (self.lost_nodes, self.denied);
        Observed { pipeline, pods, config_maps, reports, lost_nodes, obstacles, denied, now_ms }
    }
}

impl PodInWords {
    /// Of the present format where it names none.
    fn told(&self) -> Option<String> {
        let report = self.report.clone().map(|report| WorkerReport { report_version: REPORT_VERSION, ..report });
        let report = report.map(|report| serde_json::to_string(&report).expect("JSON"));
        report.or_else(|| self.says.is_object().then(|| self.says.to_string()))
    }

    fn pod(&self, pipeline: &Pipeline) -> Pod {
        let mut then = pipeline.clone();
        if self.outdated {
            then.spec.image = Some("onceward:before".to_owned());
            then.metadata.annotations = None;
        }
        let configuration = build::configuration(&then, &settings());
        let purpose = Purpose::of_label(&self.purpose).expect("a purpose");
        let worker = build::Worker {
            purpose,
            serial: self.serial,
            floor: None,
            pipeline_id: None,
            restore_from: None,
            claimed: None,
        };
        let mut pod = build::pod(&then, &configuration, &worker, &settings()).expect("a pod");
        pod.metadata.uid = Some(format!("pod-{}", self.serial));
        let time = |text: &String| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(text.parse().expect("a time"));
        pod.metadata.creation_timestamp = self.made.as_ref().map(time);
        if let Some(spec) = &mut pod.spec {
            spec.node_name.clone_from(&self.node);
        }
        let mut status = self.status.clone();
        // `terminated: {...}` for short; the last words go where kubelets put them.
        if let Some(mut terminated) = status.as_object_mut().and_then(|status| status.remove("terminated")) {
            if let Some(told) = self.told() {
                terminated["message"] = told.into();
            }
            status["containerStatuses"] = json!([{
                "name": names::CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": terminated },
            }]);
        }
        pod.status = serde_json::from_value::<Option<PodStatus>>(status).expect("a pod's status");
        if self.leaving {
            let time = "2026-01-01T09:59:00Z".parse().expect("a time");
            pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        }
        pod
    }
}

fn has_ended(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .any(|container| container.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}

pub(crate) fn ms(text: &str) -> u64 {
    let time: k8s_openapi::jiff::Timestamp = text.parse().expect("a time");
    u64::try_from(time.as_millisecond()).expect("after 1970")
}

fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (field, change) in patch {
                merge(object.entry(field).or_insert(Value::Null), change);
            }
        }
        (_, Value::Null) => {}
        (object, patch) => *object = patch.clone(),
    }
}
