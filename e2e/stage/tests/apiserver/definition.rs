//! The definition itself: accepted as it stands, within the budget that the server sets for rules.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use stage::kubernetes::{Body, call};

use crate::site::{DEFINITIONS, root, site};

#[tokio::test]
async fn definition_is_accepted_without_a_warning() -> Result<()> {
    let (site, client) = site().await?;
    assert_eq!(site.defined.status, 201);
    assert_eq!(site.defined.warnings, Vec::<String>::new());
    let path = format!("{DEFINITIONS}/pipelines.onceward.dev");
    let stored = call(&client, "GET", &path, Body::None).await?;
    let conditions = stored.body.pointer("/status/conditions").and_then(Value::as_array).context("conditions")?;
    let mut said: Vec<_> = conditions.iter().map(|one| (one["type"].as_str(), one["status"].as_str())).collect();
    said.sort_unstable();
    // A schema that is not structural would have a condition of its own.
    assert_eq!(said, [(Some("Established"), Some("True")), (Some("NamesAccepted"), Some("True"))]);
    Ok(())
}

/// The definition under another name, with a change.
fn renamed(change: impl FnOnce(&mut Value)) -> Result<Value> {
    let mut definition: Value = serde_yaml_ng::from_slice(&std::fs::read(root().join("crds/pipelines.yaml"))?)?;
    definition["metadata"]["name"] = json!("others.onceward.dev");
    let names = json!({ "plural": "others", "singular": "other", "kind": "Other" });
    definition["spec"]["names"] = names;
    change(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    Ok(definition)
}

/// Else the test above might not see a budget at all.
#[tokio::test]
async fn budget_of_rules_is_checked() -> Result<()> {
    let (_site, client) = site().await?;
    let path = format!("{DEFINITIONS}?dryRun=All&fieldValidation=Strict");
    let as_it_is = call(&client, "POST", &path, Body::Json(&renamed(|_| ())?)).await?;
    assert!(as_it_is.is_success(), "{}", as_it_is.message());
    let without_bounds = renamed(|spec| {
        for list in ["sources", "sinks"] {
            drop(spec["properties"][list].as_object_mut().expect("an object").remove("maxItems"));
        }
    })?;
    let refused = call(&client, "POST", &path, Body::Json(&without_bounds)).await?;
    assert_eq!(refused.status, 422);
    assert!(refused.message().contains("budget"), "{}", refused.message());
    Ok(())
}
