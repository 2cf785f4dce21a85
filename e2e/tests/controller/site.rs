//! An API server with the definition in it, the controller as a process, and the kubelet.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::pipeline::{Phase, Pipeline, PipelineStatus};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use runtime::tasks::{self, Task};
use serde_json::{Value, json};
use stage::kubernetes::{Apiserver, Body, call};

use crate::kubelet::Kubelet;

const LOOK: Duration = Duration::from_millis(50);
/// Two minutes.
const MOST_LOOKS: u32 = 2_400;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

pub(crate) struct Cluster {
    pub(crate) pipelines: Api<Pipeline>,
    pub(crate) kubelet: Kubelet,
    controller: Option<Child>,
    _kubelet: Task<()>,
    folder: tempfile::TempDir,
    server: Apiserver,
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        let server = Apiserver::start().await?;
        let client = server.client().await?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let definition = std::fs::read(root.join("crds/pipelines.yaml"))?;
        let answer = call(&client, "POST", DEFINITIONS, Body::Raw("application/yaml", &definition)).await?;
        ensure!(answer.is_success(), "the definition is refused: {}", answer.message());
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "onceward-worker" } });
        let answer = call(&client, "POST", ACCOUNTS, Body::Json(&account)).await?;
        ensure!(answer.is_success(), "the account is refused: {}", answer.message());
        let folder = tempfile::Builder::new().prefix("onceward-kubelet-").tempdir()?;
        let kubelet = Kubelet::new(client.clone(), folder.path())?;
        let task = tasks::spawn("kubelet", kubelet.clone().work());
        let pipelines = Api::namespaced(client, "default");
        let mut cluster = Self { pipelines, kubelet, controller: None, _kubelet: task, folder, server };
        cluster
            .until("the resource is served", async |cluster| {
                Ok(cluster.pipelines.list(&<_>::default()).await.is_ok().then_some(()))
            })
            .await?;
        cluster.start_controller()?;
        Ok(cluster)
    }

    pub(crate) fn start_controller(&mut self) -> Result<()> {
        ensure!(self.controller.is_none(), "there is a controller");
        let mut command = Command::new(e2e::site::binary()?);
        command.args(["controller", "--worker-image", "onceward:test", "--watch-namespace", "default"]);
        command.env("KUBECONFIG", self.server.kubeconfig());
        let said = self.folder.path().join("controller.log");
        command.stderr(std::fs::File::options().create(true).append(true).open(said)?);
        self.controller = Some(command.spawn()?);
        Ok(())
    }

    /// `SIGKILL`.
    pub(crate) fn kill_controller(&mut self) -> Result<()> {
        let mut process = self.controller.take().context("a controller")?;
        ensure!(process.try_wait()?.is_none(), "it had ended: {}", self.said());
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("controller.log")).unwrap_or_default()
    }

    pub(crate) async fn create(&self, manifest: &Value) -> Result<Pipeline> {
        let pipeline: Pipeline = serde_json::from_value(manifest.clone())?;
        Ok(self.pipelines.create(&PostParams::default(), &pipeline).await?)
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) -> Result<()> {
        self.pipelines.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.pipelines.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The first status that is as wanted.
    pub(crate) async fn status(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&PipelineStatus) -> bool,
    ) -> Result<PipelineStatus> {
        self.until(what, async |cluster| {
            let status = cluster.pipelines.get_opt(name).await?.and_then(|found| found.status);
            Ok(status.filter(|status| wanted(status)))
        })
        .await
    }

    pub(crate) async fn phase(&self, name: &str, phase: Phase) -> Result<PipelineStatus> {
        self.status(name, &format!("it is {phase:?}"), |status| status.phase == Some(phase)).await
    }

    pub(crate) async fn gone(&self, name: &str) -> Result<()> {
        self.until("it is gone", async |cluster| Ok(cluster.pipelines.get_opt(name).await?.is_none().then_some(())))
            .await
    }

    /// Waits for a condition.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Result<Option<T>>) -> Result<T> {
        for _ in 0..MOST_LOOKS {
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
        let pipelines = self.pipelines.list(&<_>::default()).await;
        let statuses: Vec<_> = pipelines.into_iter().flatten().map(|pipeline| pipeline.status).collect();
        anyhow::bail!(
            "it never came to this: {what}; {statuses:#?}\nkubelet: {:?}\ncontroller: {}",
            self.kubelet.failure(),
            self.said()
        )
    }

    pub(crate) fn client(&self) -> Client {
        self.pipelines.clone().into_client()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.controller.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
