//! An API server with the chart installed, controllers as processes of its Deployment, and the kubelet.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::pipeline::{Phase, Pipeline, PipelineStatus};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use runtime::tasks::{self, Task};
use serde_json::{Value, json};
use stage::kubernetes::{Apiserver, Audited, Body, call};

use crate::kubelet::Kubelet;
use crate::release::{NAMESPACE, Release, Replica};

const LOOK: Duration = Duration::from_millis(50);
/// Two minutes.
const MOST_LOOKS: u32 = 2_400;
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

pub(crate) struct Cluster {
    pub(crate) pipelines: Api<Pipeline>,
    pub(crate) kubelet: Kubelet,
    pub(crate) controllers: Vec<Replica>,
    pub(crate) release: Release,
    _kubelet: Task<()>,
    _folder: tempfile::TempDir,
    server: Apiserver,
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        let server = Apiserver::start().await?;
        let client = server.client().await?;
        // Every namespace of a whole cluster has it.
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
        let answer = call(&client, "POST", ACCOUNTS, Body::Json(&account)).await?;
        ensure!(answer.is_success(), "the account is refused: {}", answer.message());
        let folder = tempfile::Builder::new().prefix("onceward-kubelet-").tempdir()?;
        let release = Release::install(&server, folder.path()).await?;
        let kubelet = Kubelet::new(client.clone(), folder.path())?;
        let task = tasks::spawn("kubelet", kubelet.clone().work());
        let pipelines = Api::namespaced(client, "default");
        let mut cluster =
            Self { pipelines, kubelet, controllers: vec![], release, _kubelet: task, _folder: folder, server };
        cluster
            .until("the resource is served", async |cluster| {
                Ok(cluster.pipelines.list(&<_>::default()).await.is_ok().then_some(()))
            })
            .await?;
        cluster.start_controller()?;
        Ok(cluster)
    }

    /// One more.
    pub(crate) fn start_controller(&mut self) -> Result<()> {
        self.controllers.push(self.release.start()?);
        Ok(())
    }

    /// Controllers that are started from now on are others to the audit log.
    pub(crate) async fn renew_token(&self) -> Result<()> {
        self.release.renew_token(&self.server).await
    }

    /// All that controllers have asked for, in the order of the answers.
    pub(crate) fn asked(&self) -> Result<Vec<Audited>> {
        let mut asked = self.server.audited()?;
        asked.retain(|asked| asked.user == Release::user());
        Ok(asked)
    }

    /// `SIGKILL` to the one that was started first.
    pub(crate) fn kill_controller(&mut self) -> Result<()> {
        ensure!(!self.controllers.is_empty(), "there is no controller");
        let mut replica = self.controllers.remove(0);
        ensure!(replica.process.try_wait()?.is_none(), "it had ended: {}", self.said());
        replica.process.kill()?;
        replica.process.wait()?;
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.release.said()).unwrap_or_default()
    }

    /// Who holds the lease.
    pub(crate) async fn leader(&self) -> Result<Option<String>> {
        let leases = Api::<Lease>::namespaced(self.client(), NAMESPACE);
        let found = leases.get_opt("onceward-controller").await?;
        Ok(found.and_then(|found| found.spec?.holder_identity))
    }

    /// Reasons of all events of Pipelines, and of those that came more than once.
    pub(crate) async fn events(&self) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let answer = call(&self.client(), "GET", EVENTS, Body::None).await?;
        ensure!(answer.is_success(), "{}", answer.message());
        let (mut all, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for event in answer.body["items"].as_array().context("items")? {
            let reason = event["reason"].as_str().context("a reason")?.to_owned();
            ensure!(event["regarding"]["kind"] == "Pipeline", "{event}");
            if event["series"]["count"].as_u64().is_some_and(|count| count > 1) {
                repeated.insert(reason.clone());
            }
            all.insert(reason);
        }
        Ok((all, repeated))
    }

    /// `group/resource verb` of all that the controllers asked for; nothing was refused to them.
    pub(crate) fn used(&self) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for asked in self.asked()? {
            ensure!(asked.is_allowed && asked.status != 403, "it may not: {asked:?}");
            // Paths such as /version are everybody's.
            if asked.resource.is_empty() {
                continue;
            }
            let part = if asked.subresource.is_empty() { String::new() } else { format!("/{}", asked.subresource) };
            used.insert(format!("{}/{}{part} {}", asked.group, asked.resource, asked.verb));
        }
        Ok(used)
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
