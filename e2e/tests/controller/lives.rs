//! Lives of a Pipeline from `kubectl apply` to its deletion, judged by its output.

use anyhow::{Context as _, Result, ensure};
use api::pipeline::Phase;
use e2e::generated::{Generated, Source};
use e2e::site::Site as Folder;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::site::Cluster;

/// The generated pipeline with the paths of its folder in it, as an object for the server.
pub(crate) fn manifest(generated: &Generated, name: &str) -> Result<(Folder, Value)> {
    let folder = generated.site()?;
    let text = std::fs::read_to_string(&folder.manifest)?;
    let mut manifest: Value = serde_yaml_ng::from_str(&text)?;
    manifest["metadata"]["name"] = name.into();
    let absolute = |value: &mut Value| {
        let path = folder.folder().join(value.as_str().unwrap_or_default());
        *value = path.to_string_lossy().into_owned().into();
    };
    absolute(&mut manifest["spec"]["checkpoint"]["storage"]["local"]["path"]);
    for sink in manifest["spec"]["sinks"].as_array_mut().context("sinks")? {
        absolute(&mut sink["files"]["path"]);
    }
    Ok((folder, manifest))
}

/// Lasts for as many seconds as it must at least.
pub(crate) fn generated(seconds: u64) -> Generated {
    const ROWS_PER_SECOND: u64 = 4_000;
    let source =
        |seed, step_ms, rows_per_second| Source { seed, rows: seconds * ROWS_PER_SECOND, step_ms, rows_per_second };
    Generated { web: source(3, 7, Some(ROWS_PER_SECOND)), shop: source(4, 11, None), parallelism: 2 }
}

#[tokio::test]
async fn an_applied_pipeline_runs_outlives_deaths_and_suspension_and_finishes_exactly() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let generated = generated(90);
    let (folder, manifest) = manifest(&generated, "lives")?;
    let made = cluster.create(&manifest).await?;
    let running = |status: &api::pipeline::PipelineStatus| {
        status.phase == Some(Phase::Running) && status.checkpoints.last_completed.is_some()
    };
    let first = cluster.status("lives", "it runs and has a checkpoint", running).await?;
    let log = first.log.context("the log is known")?;
    let uid = made.metadata.uid.context("a uid")?.replace('-', "");
    ensure!(log.pipeline_id == uid, "the log is another one's: {log:?}, {uid}");
    let handle = first.checkpoints.last_completed.context("a checkpoint")?.handle;
    let known = folder.checkpoints()?;
    ensure!(known.iter().any(|known| known["handle"] == handle.as_str()), "{handle} is not among {known:?}");

    cluster.kubelet.kill()?;
    let killed = |status: &api::pipeline::PipelineStatus| {
        status.restarts.total == 1 && status.phase == Some(Phase::Running) && status.checkpoints.restored_from.is_some()
    };
    cluster.status("lives", "it runs again, restored", killed).await?;

    cluster.kill_controller()?;
    cluster.kubelet.kill()?;
    cluster.start_controller()?;
    let killed =
        |status: &api::pipeline::PipelineStatus| status.restarts.total == 2 && status.phase == Some(Phase::Running);
    cluster.status("lives", "it is replaced by a controller that saw nothing of it", killed).await?;

    let savepoint = asks_for_things(&cluster).await?;

    cluster.patch("lives", json!({ "spec": { "suspend": true } })).await?;
    cluster.phase("lives", Phase::Suspended).await?;
    cluster.kubelet.hold(true);
    cluster.patch("lives", json!({ "spec": { "suspend": false } })).await?;
    tells_what_hinders_a_pod(&cluster).await?;
    cluster.kubelet.hold(false);
    let done = cluster.phase("lives", Phase::Finished).await?;
    ensure!(done.restarts.total == 2, "{:?}", done.restarts);
    generated.assert_exact(&folder)?;
    let ready = done.conditions.iter().find(|condition| condition.kind == "Ready").context("Ready")?;
    ensure!((ready.status.as_str(), ready.reason.as_str()) == ("False", "Finished"), "{ready:?}");

    let known = folder.checkpoints()?;
    let is_kept = known.iter().any(|known| known["handle"] == savepoint.as_str());
    ensure!(is_kept, "the savepoint {savepoint} is gone: {known:?}");

    cluster.delete("lives").await?;
    cluster.gone("lives").await?;
    generated.assert_exact(&folder)?;
    told_of_a_life(&cluster).await?;
    let (granted, used) = (cluster.release.granted()?, cluster.used()?);
    ensure!(granted == used, "granted and not used: {:?}; used: {used:?}", granted.difference(&used));
    Ok(())
}

/// What a kubelet says of a Secret that is not there stands in an event and nowhere else.
async fn tells_what_hinders_a_pod(cluster: &Cluster) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let pending = async |_: &Cluster| {
        let found = pods.list(&ListParams::default().fields("status.phase=Pending")).await?.items;
        Ok(found.into_iter().next())
    };
    let pod = cluster.until("a pod waits for its kubelet", pending).await?;
    let note = "MountVolume.SetUp failed for volume \"secret-0\" : secret \"kafka-user\" not found";
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let event = json!({
        "metadata": { "generateName": "mount-", "namespace": "default" },
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": pod.metadata.name, "uid": pod.metadata.uid },
        "type": "Warning", "reason": "FailedMount", "message": note, "count": 1, "lastTimestamp": now,
    });
    let events: Api<Event> = Api::namespaced(cluster.client(), "default");
    let event: Event = serde_json::from_value(event)?;
    let event = events.create(&PostParams::default(), &event).await?;
    let told = |status: &api::pipeline::PipelineStatus| {
        let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
        ready.is_some_and(|ready| ready.reason == "PodNotStarting" && ready.message.contains("secret \"kafka-user\""))
    };
    cluster.status("lives", "the status says what hinders the pod", told).await?;
    // All other events are the controller's.
    events.delete(event.metadata.name.as_deref().context("a name")?, &DeleteParams::default()).await?;
    Ok(())
}

/// A checkpoint, a savepoint and a restart by annotation; the savepoint's handle.
async fn asks_for_things(cluster: &Cluster) -> Result<String> {
    let asked = k8s_openapi::jiff::Timestamp::now().to_string();
    let annotations =
        json!({ "onceward.dev/checkpoint-requested-at": asked, "onceward.dev/savepoint-requested-at": asked });
    cluster.patch("lives", json!({ "metadata": { "annotations": annotations } })).await?;
    let taken = |status: &api::pipeline::PipelineStatus| {
        let is_taken = |action: &Option<api::pipeline::ActionStatus>| {
            action.as_ref().is_some_and(|action| action.requested_at == asked && action.taken.is_some())
        };
        is_taken(&status.actions.checkpoint) && is_taken(&status.actions.savepoint)
    };
    let status = cluster.status("lives", "checkpoint and savepoint are taken", taken).await?;
    let savepoint = status.actions.savepoint.and_then(|action| action.taken).context("a savepoint")?;

    let before = cluster.kubelet.started().len();
    cluster
        .patch("lives", json!({ "metadata": { "annotations": { "onceward.dev/restart-requested-at": asked } } }))
        .await?;
    let restarted = |status: &api::pipeline::PipelineStatus| {
        status.restarts.reasons.get("Requested") == Some(&1) && status.phase == Some(Phase::Running)
    };
    let status = cluster.status("lives", "it was started again as asked", restarted).await?;
    ensure!(status.restarts.total == 2 && cluster.kubelet.started().len() == before + 1, "{:?}", status.restarts);
    Ok(savepoint.handle)
}

/// What happened is told, and what happened twice in one event.
async fn told_of_a_life(cluster: &Cluster) -> Result<()> {
    let (told, repeated) = cluster.events().await?;
    for reason in
        ["WorkerMade", "WorkerFailed", "WorkerReplaced", "CheckpointTaken", "SavepointTaken", "Suspended", "Finished"]
    {
        ensure!(told.contains(reason), "{reason} is not told: {told:?}");
    }
    ensure!(repeated.contains("WorkerMade"), "{repeated:?}");
    Ok(())
}

/// A worker dies between a decision and its commit, and the Pipeline is deleted before anybody goes on.
#[tokio::test]
async fn what_was_decided_for_a_deleted_pipeline_becomes_visible_before_it_goes() -> Result<()> {
    let cluster = Cluster::start().await?;
    let generated = generated(60);
    let (folder, mut manifest) = manifest(&generated, "deleted")?;
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 3, "delay": "10m" } });
    cluster.kubelet.arm("coordinator.decided:3=kill");
    cluster.create(&manifest).await?;
    let waits = |status: &api::pipeline::PipelineStatus| status.restarts.next_time.is_some();
    cluster.status("deleted", "the policy's delay runs", waits).await?;
    let owed = folder.assert_all_decided_is_visible().is_err();
    ensure!(owed, "nothing is owed: this proves nothing");
    cluster.delete("deleted").await?;
    cluster.gone("deleted").await?;
    folder.assert_all_decided_is_visible()?;
    ensure!(cluster.kubelet.started() == ["run", "commit"], "{:?}", cluster.kubelet.started());
    Ok(())
}

/// What is applied becomes objects that Kubernetes accepts as they are, owned by the Pipeline.
#[tokio::test]
async fn objects_are_owned_immutable_and_restricted() -> Result<()> {
    let cluster = Cluster::start().await?;
    let (_folder, manifest) = manifest(&generated(60), "objects")?;
    let made = cluster.create(&manifest).await?;
    cluster.phase("objects", Phase::Running).await?;
    let pods = Api::<Pod>::namespaced(cluster.client(), "default").list(&<_>::default()).await?.items;
    let config_maps = Api::<ConfigMap>::namespaced(cluster.client(), "default").list(&<_>::default()).await?.items;
    let ours: Vec<_> = config_maps.iter().filter(|found| found.immutable == Some(true)).collect();
    let ([pod], [config_map]) = (pods.as_slice(), ours.as_slice()) else {
        anyhow::bail!("{} pods, {} configurations", pods.len(), ours.len())
    };
    for owners in [&pod.metadata.owner_references, &config_map.metadata.owner_references] {
        let owner = owners.iter().flatten().next().context("an owner")?;
        ensure!(Some(&owner.uid) == made.metadata.uid.as_ref() && owner.controller == Some(true), "{owner:?}");
    }
    let spec = pod.spec.as_ref().context("a spec")?;
    ensure!(spec.restart_policy.as_deref() == Some("Never") && spec.automount_service_account_token == Some(false));
    ensure!(spec.security_context.as_ref().and_then(|context| context.run_as_non_root) == Some(true));
    cluster.delete("objects").await?;
    cluster.gone("objects").await
}
