//! A worker's pod. Whoever makes it again makes the same one: everything in it comes from the Pipeline and a number.

use api::pipeline::Pipeline;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::configuration::{Configuration, FILE, image, labels};
use super::{merge, owner};
use crate::names::{self, CONTAINER, PORT, Purpose};
use crate::observe::Settings;
use crate::requests;

const CONFIGURATION: &str = "/etc/onceward/pipeline";
const SECRETS: &str = "/etc/onceward/secrets";
/// What a worker may take for its last checkpoint, and what Kubernetes then still waits.
const GRACE_SECONDS: i64 = 25;
const TERMINATION_SECONDS: i64 = GRACE_SECONDS + 15;
/// Nobody in particular, and not root.
const USER: i64 = 65_532;

/// What is different between pods of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    pub purpose: Purpose,
    /// The how-manieth pod of the Pipeline.
    pub serial: u64,
    /// `PIPELINE-ID/ATTEMPT/EPOCH` that the log must not end before.
    pub floor: Option<String>,
    /// The log that is gone on with; absent: one with the Pipeline's uid.
    pub pipeline_id: Option<String>,
    /// Only where no log is known yet.
    pub restore_from: Option<String>,
    /// The newest attempt that is known to be this Pipeline's: whoever deletes must know it.
    pub claimed: Option<u64>,
}

/// The pod of a worker.
///
/// # Errors
/// The pod template does not fit, in words.
pub fn pod(
    pipeline: &Pipeline,
    configuration: &Configuration,
    worker: &Worker,
    settings: &Settings,
) -> Result<Pod, String> {
    let mut template = json!({
        "metadata": { "labels": {}, "annotations": {} },
        "spec": spec(pipeline, configuration, worker, settings),
    });
    let Value::Object(fields) = &mut template else { return Err("a template is an object".to_owned()) };
    if let Some(patch) = &pipeline.spec.pod_template {
        merge::merge(fields, &patch.0);
    }
    let mut own = labels(pipeline, &configuration.hash);
    own.insert(names::PURPOSE.to_owned(), worker.purpose.label().to_owned());
    own.insert(names::WORKER.to_owned(), "0".to_owned());
    own.insert(names::SERIAL.to_owned(), worker.serial.to_string());
    let mut pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
    // What decisions are made by is not the user's to change.
    pod["metadata"]["name"] = names::pod(pipeline, worker.serial).into();
    pod["metadata"]["namespace"] = names::namespace(pipeline).into();
    pod["metadata"]["ownerReferences"] = json!([owner(pipeline)]);
    for (label, value) in own {
        pod["metadata"]["labels"][label] = value.into();
    }
    if let Some(restart) = requests::restart(pipeline) {
        pod["metadata"]["annotations"][names::RESTART_REQUESTED_AT] = restart.into();
    }
    pod["spec"]["restartPolicy"] = "Never".into();
    let pod: Pod = serde_json::from_value(pod).map_err(|error| format!("spec.podTemplate: {error}"))?;
    let has_worker = pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == CONTAINER);
    if has_worker { Ok(pod) } else { Err(format!("spec.podTemplate takes the container `{CONTAINER}` away")) }
}

fn spec(pipeline: &Pipeline, configuration: &Configuration, worker: &Worker, settings: &Settings) -> Value {
    let (mut volumes, mut mounts) = (vec![], vec![]);
    volumes.push(json!({ "name": "pipeline", "configMap": { "name": configuration.config_map.metadata.name } }));
    mounts.push(json!({ "name": "pipeline", "mountPath": CONFIGURATION, "readOnly": true }));
    volumes.push(json!({ "name": "tmp", "emptyDir": {} }));
    mounts.push(json!({ "name": "tmp", "mountPath": "/tmp" }));
    for (number, secret) in configuration.secrets.iter().enumerate() {
        let name = format!("secret-{number}");
        volumes.push(json!({ "name": name, "secret": { "secretName": secret, "defaultMode": 0o440 } }));
        mounts.push(json!({ "name": name, "mountPath": format!("{SECRETS}/{secret}"), "readOnly": true }));
    }
    json!({
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [{
            "name": CONTAINER,
            "image": image(pipeline, settings),
            "args": arguments(pipeline, configuration, worker, settings),
            "ports": [{ "name": "metrics", "containerPort": PORT }],
            "readinessProbe": { "httpGet": { "path": "/readyz", "port": PORT }, "periodSeconds": 2 },
            "livenessProbe": { "httpGet": { "path": "/healthz", "port": PORT }, "periodSeconds": 10, "failureThreshold": 6 },
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            },
            "terminationMessagePolicy": "File",
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    })
}

fn arguments(pipeline: &Pipeline, configuration: &Configuration, worker: &Worker, settings: &Settings) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "worker",
        "--pipeline",
        &format!("{CONFIGURATION}/{FILE}"),
        "--purpose",
        worker.purpose.label(),
        "--identity",
        worker.pipeline_id.as_deref().unwrap_or(names::uid(pipeline)),
        "--configuration",
        &configuration.hash,
        "--listen",
        &format!("0.0.0.0:{PORT}"),
        "--secrets-dir",
        SECRETS,
        "--grace",
        &format!("{GRACE_SECONDS}s"),
        "--termination-log",
        "/dev/termination-log",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut option = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
    };
    // Not part of the hash: another key replaces no worker, and is known to the next one.
    option("--controller-key", settings.controller_key.as_deref());
    option("--floor", worker.floor.as_deref());
    option("--restore", worker.restore_from.as_deref());
    option("--claimed", worker.claimed.map(|attempt| attempt.to_string()).as_deref());
    let annotation = |name: &str| pipeline.metadata.annotations.as_ref().and_then(|all| all.get(name));
    // What was accepted once is of no use to those who run nothing, and they refuse it.
    if let Some(decision) = annotation(names::ACCEPT_LOSS).filter(|_| worker.purpose == Purpose::Run) {
        option("--accept-loss", Some(decision));
        option("--reason", Some(&format!("annotation {}", names::ACCEPT_LOSS)));
    }
    // Only of the very floor that the person has seen.
    let is_waived =
        |floor: &str| annotation(names::ACCEPT_REWIND).is_some_and(|waived| floor.ends_with(&format!("/{waived}")));
    if worker.floor.as_deref().is_some_and(is_waived) {
        arguments.push("--accept-rewind".to_owned());
    }
    arguments
}
