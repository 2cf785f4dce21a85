//! The shipped chart and the image of this repository on a whole cluster, as its README says, in namespaces that enforce
//! Pod Security `restricted`.

use std::os::unix::fs::chown;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::image;
use stage::helm::{Helm, chart};

use crate::orders::Orders;
use crate::stand::{NAMESPACE, PIPELINES, Stand, condition, epoch, until};

pub(crate) const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/onceward-system/deployments/onceward-controller";
pub(crate) const SECRET: &str = "/api/v1/namespaces/onceward-system/secrets/onceward-signing-key";
/// Of both nodes at once, as a file server's.
pub(crate) const SHARED_CLAIM: &str = "shared";
/// Of workers and controllers.
const USER: u32 = 65_532;

/// Namespaces, a volume that both nodes have, and the release with the chart's defaults but for the image.
pub(crate) fn install(stand: &Stand) -> Result<()> {
    // Whoever keeps a cluster may go on with it.
    if stand.get(DEPLOYMENT).is_ok() {
        return Ok(());
    }
    for name in ["onceward-system", NAMESPACE] {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        stand.create("/api/v1/namespaces", &json!({ "metadata": { "name": name, "labels": labels } }))?;
    }
    // Where the README puts its Pipeline.
    let restricted = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    stand.patch("/api/v1/namespaces/default", &restricted)?;
    share_a_volume(stand)?;
    crate::readme::install(stand)?;
    let ready = stand.get(DEPLOYMENT)?["status"]["readyReplicas"].as_u64();
    ensure!(ready == Some(2), "{ready:?} controllers are ready");
    // As the chart's notes say.
    let test = ["test", "onceward", "--namespace", "onceward-system", "--timeout", "3m"];
    let said = Helm::new()?.run_on(&stand.cluster, &test)?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

fn release(stand: &Stand) -> Result<()> {
    let (chart, (repository, tag)) = (chart(), image::ONCEWARD.rsplit_once(':').context("a tag")?);
    let values = [format!("image.repository={repository}"), format!("image.tag={tag}")];
    let (chart, [repository, tag]) = (chart.to_string_lossy(), values);
    let arguments = ["install", "onceward", &chart, "--namespace", "onceward-system", "--wait", "--timeout", "5m"];
    Helm::new()?.run_on(&stand.cluster, &[&arguments, ["--set", &repository, "--set", &tag].as_slice()].concat())?;
    Ok(())
}

fn share_a_volume(stand: &Stand) -> Result<()> {
    let shared = stand.cluster.layout().shared();
    chown(&shared, Some(USER), Some(USER))?;
    let volume = json!({
        "metadata": { "name": "shared" },
        "spec": {
            "capacity": { "storage": "10Gi" }, "accessModes": ["ReadWriteMany"], "storageClassName": "shared",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": shared },
        },
    });
    stand.create("/api/v1/persistentvolumes", &volume)?;
    let claim = json!({
        "metadata": { "name": SHARED_CLAIM },
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "shared",
            "resources": { "requests": { "storage": "10Gi" } },
        },
    });
    stand.create(&format!("/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"), &claim).map(drop)
}

/// Where a claim of one node's volume lies on this machine.
fn place(stand: &Stand, claim: &str) -> Result<PathBuf> {
    let claim = stand.get(&format!("/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{claim}"))?;
    let name = claim["spec"]["volumeName"].as_str().context("it is bound")?;
    let volume = stand.get(&format!("/api/v1/persistentvolumes/{name}"))?;
    Ok(volume["spec"]["local"]["path"].as_str().context("a local volume")?.into())
}

pub(crate) fn a_pipeline_reaches_ready_advances_and_finishes(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "first", rows: 50_000, rows_per_second: 1_000, claim: "first", storage: None };
    stand.claim("first")?;
    stand.cluster.told(&["apply", "--dry-run=server", "-f", &example()])?;
    stand.create(PIPELINES, &orders.manifest())?;
    let status = stand.status("first", "Ready", |status| condition(status, "Ready").0 == "True")?;
    ensure!(status["phase"] == "Running", "{status}");
    let first = shown(stand, "first")?;
    until("kubectl get shows that epochs advance", || Ok((shown(stand, "first")? > first).then_some(())))?;
    let status = stand.phase("first", "Finished")?;
    ensure!(status["restarts"]["total"] == 0 && status["pendingCommittables"] == 0, "{status}");
    orders.assert_exact_and_tidy(&place(stand, "first")?)?;
    stand.forget("first")?;
    orders.assert_exact_and_tidy(&place(stand, "first")?)
}

/// Of the repository: the server takes it as it is.
fn example() -> String {
    let path = chart().join("files/hello.yaml");
    path.to_string_lossy().into_owned()
}

/// The column `EPOCH` of `kubectl get`.
fn shown(stand: &Stand, name: &str) -> Result<u64> {
    let table = stand.cluster.told(&["get", "pipelines", name, "--namespace", NAMESPACE])?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (head, row) = lines.next().zip(lines.next()).context("a table")?;
    let column = head.iter().position(|name| *name == "EPOCH").context("a column EPOCH")?;
    row.get(column).and_then(|cell| cell.parse().ok()).with_context(|| table.clone())
}

/// And who installs it again goes on with them.
pub(crate) fn a_release_that_is_removed_leaves_pipelines_and_checkpoints(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "kept", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    let before = stand.status("kept", "it has checkpoints", |status| epoch(status) >= 2)?;
    let key = stand.get(SECRET)?["data"].take();
    let helm = Helm::new()?;
    helm.run_on(&stand.cluster, &["uninstall", "onceward", "--namespace", "onceward-system", "--wait"])?;
    ensure!(stand.get(DEPLOYMENT).is_err(), "the controller is still there");
    let kept = stand.get(&format!("{PIPELINES}/kept"))?;
    ensure!(kept["status"]["log"] == before["log"] || epoch(&kept["status"]) >= epoch(&before), "{kept}");
    let state = stand.cluster.layout().shared().join("kept/state");
    ensure!(std::fs::read_dir(&state)?.next().is_some(), "no checkpoint is left in {}", state.display());
    // Its worker dies while nobody watches.
    let worker = stand.worker("kept", 0)?;
    let serial = crate::stand::serial(&worker);
    crate::stand::kill(stand.process_of(&worker)?)?;
    release(stand)?;
    ensure!(stand.get(SECRET)?["data"] == key, "the signing key is another one");
    let restored = stand.worker("kept", serial)?;
    ensure!(restored["metadata"]["uid"] != worker["metadata"]["uid"], "{restored}");
    let done: Value = stand.phase("kept", "Finished")?;
    ensure!(done.pointer("/checkpoints/restoredFrom/epoch").is_some(), "it began anew: {done}");
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("kept")
}
