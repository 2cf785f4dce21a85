//! Manifests that are right: accepted without a warning, and with the same defaults that the reader fills in.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use api::manifest;
use api::pipeline::PipelineSpec;
use serde_json::Value;
use stage::kubernetes::{Body, call};

use crate::site::{PIPELINES, root, site};

/// Names of all fields that are set, as `spec.sinks.0.input`.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields_of) => {
            found.insert(path.to_owned());
            fields_of.iter().for_each(|(name, value)| fields(value, &format!("{path}.{name}"), found));
        }
        Value::Array(items) => {
            found.insert(path.to_owned());
            items.iter().enumerate().for_each(|(i, value)| fields(value, &format!("{path}.{i}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => drop(found.insert(path.to_owned())),
    }
}

/// Fields that the server fills in and the types leave out when they write: empty, and so the same absent.
const LEFT_OUT: [&str; 5] = ["suspend", "dropStateOf", "properties", "metadata", "key"];

fn compare(name: &str, server: &Value, text: &[u8]) -> Result<()> {
    let (read, _) = manifest::read(name, text, &[]).into_manifest().map_err(|findings| {
        anyhow::anyhow!("{name}: {}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let mut stored: PipelineSpec = serde_json::from_value(server.clone()).context("the types read what is stored")?;
    // Kubernetes alone judges it; the reader passes it over.
    stored.pod_template = None;
    ensure!(stored == read.pipeline.spec, "{name}: stored {stored:?}\nread {:?}", read.pipeline.spec);
    let (mut theirs, mut ours) = (BTreeSet::new(), BTreeSet::new());
    fields(server, "spec", &mut theirs);
    fields(&serde_json::to_value(&read.pipeline.spec)?, "spec", &mut ours);
    let empty = |path: &&String| path.rsplit('.').next().is_some_and(|last| LEFT_OUT.contains(&last));
    let more: Vec<_> = theirs.difference(&ours).filter(|path| !path.starts_with("spec.podTemplate")).collect();
    let more: Vec<_> = more.into_iter().filter(|path| !empty(path)).collect();
    let less: Vec<_> = ours.difference(&theirs).collect();
    ensure!(more.is_empty() && less.is_empty(), "{name}: the server fills in {more:?}, the reader {less:?}");
    Ok(())
}

#[tokio::test]
async fn every_example_is_accepted_with_the_readers_defaults() -> Result<()> {
    let (_site, client) = site().await?;
    let (mut seen, mut defaults) = (0, 0);
    for folder in ["examples", "e2e/stage/tests/apiserver/bases"] {
        for entry in std::fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            let (name, text) = (path.display().to_string(), std::fs::read_to_string(&path)?);
            // What else a cluster needs may stand before it.
            let text = text.split("---\n").find(|text| text.contains("kind: Pipeline")).context("a Pipeline")?;
            let text = text.as_bytes();
            let to = format!("{PIPELINES}?dryRun=All&fieldValidation=Strict");
            let answer = call(&client, "POST", &to, Body::Raw("application/yaml", text)).await?;
            ensure!(answer.is_success(), "{name}: {}", answer.message());
            ensure!(answer.warnings.is_empty(), "{name}: {:?}", answer.warnings);
            let stored = answer.body.get("spec").context("a spec")?;
            compare(&name, stored, text)?;
            let written: Value = serde_yaml_ng::from_slice(text)?;
            let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
            fields(&written["spec"], "spec", &mut before);
            fields(stored, "spec", &mut after);
            defaults += after.difference(&before).count();
            seen += 1;
        }
    }
    assert!(seen >= 12 && defaults > 50, "{seen} manifests, {defaults} defaults: this test looks in the wrong place");
    Ok(())
}
