//! No controller answers.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Site;
use crate::stand::until;

const CORE: &str = "/api/v1/namespaces/onceward-system";
const KEY: &str = "onceward-signing-key";
const PODS: &str = "labelSelector=app.kubernetes.io%2Fcomponent%3Dcontroller";

/// The Secret with the signing key is gone, and so are all pods: those that come cannot start.
pub(super) fn no_controller_answers(site: &Site<'_>) -> Result<()> {
    let stand = &site.stand;
    site.watch.is_quiet(site.wanted)?;
    let mut secret = stand.get(&format!("{CORE}/secrets/{KEY}"))?;
    stand.delete(&format!("{CORE}/secrets/{KEY}"), false)?;
    let mut deleted = 0;
    for pod in stand.get(&format!("{CORE}/pods?{PODS}"))?["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        stand.delete(&format!("{CORE}/pods/{name}"), true)?;
        deleted += 1;
    }
    super::dealt(deleted, "the deletion of a controller")?;
    let shows = [
        ("get pods", "ContainerCreating"),
        ("get events", "secret \"onceward-signing-key\" not found"),
        ("get leases", "onceward-controller"),
        ("logs", "ContainerCreating"),
    ];
    site.judge(&site.desk()?, &shows, || {
        let labels = secret["metadata"]["labels"].take();
        let annotations = secret["metadata"]["annotations"].take();
        secret["metadata"] = json!({ "name": KEY, "labels": labels, "annotations": annotations });
        stand.create(&format!("{CORE}/secrets"), &secret).map(drop)
    })?;
    until("both controllers are ready", || {
        let deployment = stand.get("/apis/apps/v1/namespaces/onceward-system/deployments/onceward-controller")?;
        Ok((deployment["status"]["readyReplicas"] == 2).then_some(()))
    })
}
