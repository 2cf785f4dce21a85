//! Updates of what is stored: what must not change, who may write status, what `kubectl scale` and `kubectl get` see.

use anyhow::{Context as _, Result};
use api::pipeline::PipelineStatus;
use kube::Client;
use serde_json::{Value, json};
use stage::kubernetes::{Answer, Body, call, table};

use crate::samples;
use crate::site::{PIPELINES, server_names, site};
use crate::spots::bases;

/// Stores a base under a name of this test's own.
async fn stored(client: &Client, name: &str) -> Result<String> {
    let mut manifest = bases()[1].1.clone();
    manifest["metadata"]["name"] = json!(name);
    let answer = call(client, "POST", &format!("{PIPELINES}?fieldValidation=Strict"), Body::Json(&manifest)).await?;
    assert_eq!(answer.status, 201, "{}", answer.message());
    Ok(format!("{PIPELINES}/{name}"))
}

async fn patched(client: &Client, path: &str, patch: &Value) -> Result<Answer> {
    let path = format!("{path}?fieldValidation=Strict");
    call(client, "PATCH", &path, Body::Patch("application/merge-patch+json", patch)).await
}

async fn got(client: &Client, path: &str) -> Result<Value> {
    let answer = call(client, "GET", path, Body::None).await?;
    assert!(answer.is_success(), "{path}: {}", answer.message());
    Ok(answer.body)
}

/// As a controller would write it.
fn status() -> Value {
    json!({
        "observedGeneration": 1, "phase": "Running", "parallelism": 1, "selector": "onceward.dev/pipeline=p",
        "workers": { "desired": 1, "ready": 1, "updated": 1, "serial": 3 },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Running", "message": "records flow",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }],
        "checkpoints": {
            "lastCompleted": {
                "attempt": 2, "epoch": 41, "handle": "s3://bucket/p/checkpoint", "completedTime": "2026-01-01T00:00:00Z",
                "durationMilliseconds": 12, "sizeBytes": 4096,
            },
            "consecutiveFailures": 0,
        },
        "pendingCommits": [{
            "sink": "dear", "attempt": 2, "epoch": 41, "committables": 3, "sinceTime": "2026-01-01T00:00:00Z", "attempts": 1,
        }],
        "restarts": { "total": 5, "sinceReset": 1 },
        "log": { "pipelineId": "0123456789abcdef", "log": 0, "attempt": 2, "slot": 9, "floor": { "attempt": 2, "epoch": 41 } },
        "guarantee": "ExactlyOnce", "pendingCommittables": 3,
        "actions": {},
    })
}

#[tokio::test]
async fn immutable_fields_stay_as_they_are() -> Result<()> {
    let (_site, client) = site().await?;
    let path = stored(&client, "immutable").await?;
    let mut rules = Vec::new();
    transitions(api::pipeline::schema(), "", &mut rules);
    assert_eq!(rules, ["spec.maxParallelism"], "a rule about changes that no case here meets");
    for (field, patch) in [("spec.maxParallelism", json!({ "spec": { "maxParallelism": 64 } }))] {
        let refused = patched(&client, &path, &patch).await?;
        assert_eq!(refused.status, 422, "{field}: {:?}", refused.body);
        assert!(server_names(field, &refused), "{field}: {}", refused.message());
        assert!(refused.message().contains("immutable"), "{field}: {}", refused.message());
    }
    // What is not immutable does change.
    let changed = patched(&client, &path, &json!({ "spec": { "parallelism": 7 } })).await?;
    assert_eq!((changed.status, &changed.body["spec"]["parallelism"]), (200, &json!(7)), "{}", changed.message());
    Ok(())
}

/// Fields with rules that look at the old value.
fn transitions(schema: &Value, field: &str, found: &mut Vec<String>) {
    for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        if rule["rule"].as_str().is_some_and(|rule| rule.contains("oldSelf")) {
            found.push(format!("{field}{}", rule["fieldPath"].as_str().unwrap_or_default()));
        }
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        transitions(property, format!("{field}.{name}").trim_start_matches('.'), found);
    }
    if let Some(items) = schema.get("items") {
        transitions(items, &format!("{field}[]"), found);
    }
}

#[tokio::test]
async fn status_is_written_through_its_subresource_alone() -> Result<()> {
    let (_site, client) = site().await?;
    let path = stored(&client, "with-status").await?;
    let ignored = patched(&client, &path, &json!({ "status": status() })).await?;
    assert_eq!((ignored.status, ignored.body.get("status")), (200, None), "{}", ignored.message());
    let both = json!({ "status": status(), "spec": { "parallelism": 9 }, "metadata": { "labels": { "a": "b" } } });
    let written = patched(&client, &format!("{path}/status"), &both).await?;
    assert_eq!(written.status, 200, "{}", written.message());
    let now = got(&client, &path).await?;
    assert_eq!(now["status"], status(), "nothing is dropped and nothing is filled in");
    let typed: PipelineStatus = serde_json::from_value(now["status"].clone())?;
    assert_eq!(serde_json::to_value(&typed)?["checkpoints"], status()["checkpoints"], "the types read it");
    assert_eq!((&now["spec"]["parallelism"], &now["metadata"]["generation"]), (&json!(1), &json!(1)));
    assert_eq!(now["metadata"].get("labels"), None, "metadata is not written through status");
    // Nor does a new spec touch the status.
    let changed =
        patched(&client, &path, &json!({ "spec": { "parallelism": 2 }, "status": { "phase": "Failed" } })).await?;
    assert_eq!(
        (&changed.body["status"]["phase"], &changed.body["metadata"]["generation"]),
        (&json!("Running"), &json!(2))
    );
    for (field, patch) in [
        ("status.phase", json!({ "status": { "phase": "Nonsense" } })),
        ("status.surplus", json!({ "status": { "surplus": 1 } })),
        ("status.restarts.total", json!({ "status": { "restarts": { "total": -1 } } })),
    ] {
        let refused = patched(&client, &format!("{path}/status"), &patch).await?;
        assert!(!refused.is_success() && server_names(field, &refused), "{field}: {}", refused.message());
    }
    Ok(())
}

#[tokio::test]
async fn scale_is_parallelism() -> Result<()> {
    let (_site, client) = site().await?;
    let path = stored(&client, "scaled").await?;
    patched(&client, &format!("{path}/status"), &json!({ "status": status() })).await?;
    let scale = got(&client, &format!("{path}/scale")).await?;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 1);
    assert_eq!(scale["status"], json!({ "replicas": 1, "selector": "onceward.dev/pipeline=p" }));
    let scaled = patched(&client, &format!("{path}/scale"), &json!({ "spec": { "replicas": 3 } })).await?;
    assert_eq!(scaled.status, 200, "{}", scaled.message());
    assert_eq!(got(&client, &path).await?["spec"]["parallelism"], 3);
    for wrong in [0, 129] {
        let refused = patched(&client, &format!("{path}/scale"), &json!({ "spec": { "replicas": wrong } })).await?;
        assert!(!refused.is_success() && refused.message().contains("parallelism"), "{wrong}: {:?}", refused.body);
    }
    assert_eq!(got(&client, &path).await?["spec"]["parallelism"], 3);
    Ok(())
}

#[tokio::test]
async fn columns_show_what_status_says() -> Result<()> {
    let (_site, client) = site().await?;
    let path = stored(&client, "shown").await?;
    let before = table(&client, &path).await?.body;
    patched(&client, &format!("{path}/status"), &json!({ "status": status() })).await?;
    let after = table(&client, &path).await?.body;
    let columns = after["columnDefinitions"].as_array().context("columns")?;
    let shown = |wide: bool| {
        let of = columns.iter().filter(|column| wide || column["priority"] == 0);
        of.filter_map(|column| column["name"].as_str()).collect::<Vec<_>>()
    };
    let narrow = ["Name", "Phase", "Ready", "Epoch", "Last-Checkpoint", "Restarts", "Age"];
    assert_eq!(shown(false), narrow);
    assert_eq!(shown(true), [&narrow[..], &["Guarantee", "Pending-Commits", "Reason", "Message"]].concat());
    let cell = |table: &Value, name: &str| {
        let index = columns.iter().position(|column| column["name"] == name).expect("a column");
        table["rows"][0]["cells"][index].clone()
    };
    for (name, expected) in [
        ("Name", json!("shown")),
        ("Phase", json!("Running")),
        ("Ready", json!("True")),
        ("Epoch", json!(41)),
        ("Restarts", json!(5)),
        ("Guarantee", json!("ExactlyOnce")),
        ("Pending-Commits", json!(3)),
        ("Reason", json!("Running")),
        ("Message", json!("records flow")),
    ] {
        assert_eq!(cell(&after, name), expected, "{name}");
    }
    for name in ["Last-Checkpoint", "Age"] {
        let age = cell(&after, name);
        assert!(age.as_str().is_some_and(|age| age.ends_with(['s', 'm', 'h', 'd', 'y'])), "{name}: {age}");
    }
    // Before anybody reports, a cell is empty and not a zero.
    for name in ["Phase", "Ready", "Epoch", "Last-Checkpoint", "Restarts", "Pending-Commits"] {
        let empty = cell(&before, name);
        assert!(empty.is_null() || empty == "" || empty == "<none>", "{name}: {empty}");
    }
    Ok(())
}

/// The samples of the rules are stored, not only judged: so defaults do not upset them.
#[tokio::test]
async fn what_is_stored_is_accepted_again() -> Result<()> {
    let (_site, client) = site().await?;
    for (i, manifest) in bases().into_iter().map(|(_, manifest)| manifest).chain([samples::accepted()]).enumerate() {
        let mut manifest = manifest;
        manifest["metadata"]["name"] = json!(format!("again-{i}"));
        let made = call(&client, "POST", PIPELINES, Body::Json(&manifest)).await?;
        assert!(made.is_success(), "{}", made.message());
        let path = format!("{PIPELINES}/again-{i}?fieldValidation=Strict");
        let again = call(&client, "PUT", &path, Body::Json(&made.body)).await?;
        assert_eq!((again.status, &again.warnings), (200, &Vec::new()), "{}", again.message());
        assert_eq!(again.body["metadata"]["generation"], 1, "nothing has changed");
        let report = api::manifest::read("stored", made.body.to_string().as_bytes(), &[]);
        assert!(report.manifest.is_some(), "the reader takes what the server gives: {:?}", report.findings);
    }
    Ok(())
}
