//! Alerts that fire: a real Prometheus reads the shipped controller and its workers, with the rules of the chart, while what
//! they watch is broken and mended. Waiting times are shortened through the chart's values.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use api::pipeline::Phase;
use e2e::helm::Helm;
use e2e::kafka::broker::Listener;
use e2e::kafka::proxy::{END_TXN, PRODUCE};
use e2e::kafka::{Broker, Judge, Options, Proxy, Version};
use e2e::prometheus::Prometheus;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use onceward::checker::output::hidden_files;
use serde_json::{Value, json};

use crate::lives::{generated, manifest};
use crate::site::Cluster;

const RULES: [&str; 6] = [
    "monitoring.prometheusRule.enabled=true",
    "monitoring.prometheusRule.controllerJob=controller",
    "monitoring.prometheusRule.alerts.checkpointFailing.for=1s",
    "monitoring.prometheusRule.alerts.checkpointFailing.window=15s",
    "monitoring.prometheusRule.alerts.commitsPending.for=1s",
    "monitoring.prometheusRule.alerts.commitsPending.minimumSeconds=3",
];
/// More than any test waits for.
const ALL: u64 = 1_000_000;

/// As the chart renders them.
fn rules() -> Result<Value> {
    let settings = [RULES.as_slice(), &["monitoring.prometheusRule.alerts.commitLost.window=15s"]].concat();
    let mut arguments = vec!["--show-only", "templates/prometheusrule.yaml"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let rendered: Value = serde_yaml_ng::from_str(&Helm::new()?.render(&arguments)?)?;
    Ok(rendered["spec"].clone())
}

struct Watched {
    cluster: Cluster,
    prometheus: Prometheus,
}

impl Watched {
    /// Waits until this alert of a Pipeline fires, or does so no longer.
    async fn alert(&self, alert: &str, pipeline: &str, fires: bool) -> Result<()> {
        let wanted = (alert.to_owned(), pipeline.to_owned());
        let what = format!("{alert} of {pipeline} fires: {fires}");
        let look = async |cluster: &Cluster| {
            discover(cluster, &self.prometheus).await?;
            let firing = self.prometheus.firing()?;
            Ok(firing.filter(|firing| firing.contains(&wanted) == fires).map(drop))
        };
        self.cluster.until(&what, look).await.with_context(|| self.prometheus.said())
    }
}

/// What the chart's `PodMonitor` finds.
async fn discover(cluster: &Cluster, prometheus: &Prometheus) -> Result<()> {
    let pods = Api::<Pod>::namespaced(cluster.client(), "default").list(&<_>::default()).await?.items;
    let mut workers = vec![];
    for pod in pods {
        let status = pod.status.unwrap_or_default();
        if let (Some("Running"), Some(address)) = (status.phase.as_deref(), status.pod_ip) {
            let address = SocketAddr::new(address.parse()?, 9464);
            workers.push((address, json!({ "namespace": "default", "pod": pod.metadata.name })));
        }
    }
    prometheus.read("workers", &workers)
}

/// A stream of numbers to a topic.
fn to_kafka(name: &str, folder: &std::path::Path, bootstrap: &str) -> Value {
    json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": name },
        "spec": {
            "connections": [{ "name": "main", "kafka": { "bootstrapServers": [bootstrap],
                "properties": { "socket.timeout.ms": 6000 } } }],
            "sources": [{ "name": "rows", "generator": { "rowsPerSecond": 200 }, "columns": [
                { "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } }] }],
            "sinks": [{ "name": "out", "input": "rows", "kafka": { "connection": "main", "topic": "numbers" } }],
            "checkpoint": { "interval": "1s", "timeout": "2s", "storage": { "local": { "path": folder.join("state") } } },
            "restartPolicy": { "fixedDelay": { "attempts": 100, "delay": "1s" } },
        },
    })
}

#[tokio::test]
async fn alerts_fire_when_checkpoints_fail_commits_wait_or_are_lost_and_resolve_when_that_is_mended() -> Result<()> {
    let proxy = Proxy::start()?;
    let options = Options { proxy: Some(proxy.port()), ..Options::default() };
    let broker = Broker::start(Version::Newest, &options)?;
    proxy.forward_to(broker.address_of(Listener::Proxied)?);
    Judge::start(&broker.address())?.create("numbers", 1)?;
    let watched = Watched { cluster: Cluster::start().await?, prometheus: Prometheus::start(&rules()?)? };
    let controller = watched.cluster.controllers[0].address;
    watched.prometheus.read("controller", &[(controller, json!({ "job": "controller" }))])?;

    let folder = tempfile::tempdir()?;
    watched.cluster.create(&to_kafka("numbers", folder.path(), &proxy.address())).await?;
    watched.cluster.phase("numbers", Phase::Running).await?;
    for alert in ["OncewardCheckpointFailing", "OncewardCommitsPending"] {
        watched.alert(alert, "numbers", false).await?;
    }
    proxy.lose_requests(PRODUCE, ALL);
    watched.alert("OncewardCheckpointFailing", "numbers", true).await?;
    proxy.lose_requests(PRODUCE, 0);
    watched.alert("OncewardCheckpointFailing", "numbers", false).await?;
    let lost = proxy.lost();
    ensure!(lost > 0, "nothing was lost");

    proxy.lose_requests(END_TXN, ALL);
    watched.alert("OncewardCommitsPending", "numbers", true).await?;
    proxy.lose_requests(END_TXN, 0);
    watched.alert("OncewardCommitsPending", "numbers", false).await?;
    ensure!(proxy.lost() > lost, "no end of a transaction was lost");
    watched.cluster.delete("numbers").await?;
    watched.cluster.gone("numbers").await?;
    a_commit_is_lost(&watched).await
}

/// Between a decision and its commit the worker dies, and what it had written is taken away.
async fn a_commit_is_lost(watched: &Watched) -> Result<()> {
    let (folder, mut manifest) = manifest(&generated(30), "torn")?;
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 3, "delay": "5s" } });
    watched.cluster.kubelet.arm("coordinator.decided:3=kill");
    watched.cluster.create(&manifest).await?;
    let waits = |status: &api::pipeline::PipelineStatus| status.restarts.next_time.is_some();
    watched.cluster.status("torn", "the policy's delay runs", waits).await?;
    let mut taken = 0;
    for sink in &folder.sinks {
        for hidden in hidden_files(sink)? {
            std::fs::remove_file(hidden)?;
            taken += 1;
        }
    }
    ensure!(taken > 0, "nothing decided was hidden: this proves nothing");
    watched.alert("OncewardCommitLost", "torn", true).await?;
    let status = watched.cluster.phase("torn", Phase::Failed).await?;
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready").context("Ready")?;
    ensure!(ready.reason == "CommitLost", "{ready:?}");

    // As the runbook says.
    let decision = status.log.and_then(|log| log.floor).context("a decision")?;
    let accepted = format!("{}/{}", decision.attempt, decision.epoch);
    let annotation = json!({ "metadata": { "annotations": { "onceward.dev/accept-loss": accepted } } });
    watched.cluster.patch("torn", annotation).await?;
    watched.alert("OncewardCommitLost", "torn", false).await?;
    watched.cluster.phase("torn", Phase::Finished).await?;
    Ok(())
}
