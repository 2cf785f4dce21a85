//! What a Pipeline stands on is away, or wrong: a bucket, a Secret, the control plane.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::{Component, PLANE};
use stage::s3::{ACCESS_KEY_ID, Gateway, SECRET_ACCESS_KEY};

use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::revenue::Revenue;
use crate::stand::{PIPELINES, Stand, condition, epoch, until};
use crate::{Begin, say};

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

/// A bucket of a server of its own, which pods reach, and the Secret that opens it.
pub(crate) struct Bucket {
    pub(crate) gateway: Gateway,
    name: &'static str,
}

impl Bucket {
    /// Bucket and Secret have this name.
    pub(crate) fn start(stand: &Stand, name: &'static str) -> Result<Self> {
        Self::start_with(stand, name, SECRET_ACCESS_KEY)
    }

    fn start_with(stand: &Stand, name: &'static str, secret: &str) -> Result<Self> {
        let gateway = Gateway::start_at(PLANE)?;
        std::fs::create_dir(gateway.buckets().join(name))?;
        let values = json!({ "id": ACCESS_KEY_ID, "secret": secret });
        stand.create(SECRETS, &json!({ "metadata": { "name": name }, "stringData": values }))?;
        Ok(Self { gateway, name })
    }

    /// As `spec.checkpoint.storage`.
    pub(crate) fn storage(&self, prefix: &str) -> Value {
        let value = |key: &str| json!({ "secret": self.name, "key": key });
        json!({ "s3": {
            "bucket": self.name, "prefix": prefix, "endpoint": self.gateway.endpoint(),
            "credentials": { "accessKeyId": value("id"), "secretAccessKey": value("secret") },
        } })
    }

    /// Where its objects lie as files.
    pub(crate) fn objects(&self) -> PathBuf {
        self.gateway.buckets().join(self.name)
    }

    /// Nobody answers from now on.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.gateway.kill()
    }

    /// With what it held.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.gateway.start_again()
    }
}

pub(crate) fn a_bucket_that_is_away_is_waited_for(stand: &Stand) -> Result<()> {
    let mut bucket = Bucket::start(stand, "away")?;
    let storage = Some(bucket.storage("away"));
    let orders = Orders { name: "away", rows: 60_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage };
    stand.create(PIPELINES, &orders.manifest())?;
    let before = stand.status("away", "it has checkpoints", |status| epoch(status) >= 2)?;
    bucket.kill()?;
    stand.status("away", "it is told that checkpoints fail, or that it does not run", |status| {
        condition(status, "CheckpointHealthy").0 == "False" || condition(status, "Ready").0 == "False"
    })?;
    bucket.start_again()?;
    stand.status("away", "it goes on", |status| {
        epoch(status) > epoch(&before) + 1 && condition(status, "CheckpointHealthy").0 == "True"
    })?;
    stand.phase("away", "Finished")?;
    ensure!(std::fs::read_dir(bucket.objects().join("away"))?.next().is_some(), "the log is not in the bucket");
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("away")
}

/// Told by its name; and once it is right, the Pipeline runs by itself or when it is asked to.
pub(crate) fn a_wrong_secret_and_a_missing_bucket_are_told_with_what_to_do(stand: &Stand) -> Result<()> {
    let bucket = Bucket::start_with(stand, "wrong", "not-the-key")?;
    let storage = Some(bucket.storage("wrong"));
    let orders = Orders { name: "wrong", rows: 2_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage };
    stand.create(PIPELINES, &orders.manifest())?;
    let status = stand.status("wrong", "it is told that the credentials do not fit", |status| {
        let (ready, _, message) = condition(status, "Ready");
        ready == "False" && message.contains("credentials")
    })?;
    ensure!(!status.to_string().contains("not-the-key"), "the secret is shown: {status}");
    say(&format!("{:?}", condition(&status, "Ready")));
    stand.patch(&format!("{SECRETS}/wrong"), &json!({ "stringData": { "secret": SECRET_ACCESS_KEY } }))?;
    let asked = json!({ "onceward.dev/restart-requested-at": "2026-01-02T00:00:00Z" });
    stand.patch(&format!("{PIPELINES}/wrong"), &json!({ "metadata": { "annotations": asked } }))?;
    stand.phase("wrong", "Finished")?;
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("wrong")?;

    // And a bucket that is not there.
    let mut storage = bucket.storage("nowhere");
    storage["s3"]["bucket"] = "no-such-bucket".into();
    let nowhere = Orders { name: "nowhere", storage: Some(storage), ..orders };
    let mut manifest = nowhere.manifest();
    // Nobody can know whether commits of it wait in a bucket that is not there.
    manifest["spec"]["deletionTimeout"] = "5s".into();
    stand.create(PIPELINES, &manifest)?;
    let status = stand.status("nowhere", "it is told that there is no such bucket", |status| {
        let (ready, _, message) = condition(status, "Ready");
        ready == "False" && message.contains("no-such-bucket")
    })?;
    say(&format!("{:?}", condition(&status, "Ready")));
    stand.forget("nowhere")?;
    until("it is told what was left", || stand.event("nowhere", "LeftBehind").map(Some)).map(drop)
}

/// The broker is killed between two checkpoints of a run.
pub(crate) fn a_broker_that_is_away_is_waited_for(stand: &Stand) -> Result<()> {
    let name = "no-broker";
    let mut revenue = Revenue::start(stand, name, "")?;
    revenue.until_more_is_visible()?;
    revenue.broker.kill()?;
    let told =
        stand.status(name, "it is told that checkpoints fail, commits wait, or that it does not run", |status| {
            ["CheckpointHealthy", "CommitsSettled", "Ready"].iter().any(|kind| condition(status, kind).0 == "False")
        })?;
    say(&format!("no-broker: {}", told["conditions"]));
    revenue.broker.restart()?;
    stand.phase(name, "Finished")?;
    revenue.assert_exact()?;
    stand.forget(name)
}

/// API server and etcd are away for a minute and many checkpoints; the output grows all the time.
pub(crate) fn the_data_plane_goes_on_without_the_control_plane(stand: &Stand) -> Result<()> {
    let orders = Orders { name: "alone", rows: 120_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    stand.status("alone", "it has checkpoints", |status| epoch(status) >= 2)?;
    for component in [Component::Apiserver, Component::Etcd] {
        stand.cluster.component(component).kill()?;
    }
    let output = stand.cluster.layout().shared().join("alone/rows");
    let files = || -> Result<usize> { Ok(std::fs::read_dir(&output).context("output")?.count()) };
    let away = Begin::now();
    while away.seconds() < 60.0 {
        let before = files()?;
        until("output grows", || Ok((files()? > before + 10).then_some(())))?;
    }
    for component in [Component::Etcd, Component::Apiserver] {
        stand.cluster.component(component).start()?;
    }
    stand.cluster.until_served()?;
    let done = stand.phase("alone", "Finished")?;
    // Kubernetes, which has heard of no node for a while, may call all of them lost at first, and the controller believes it.
    let reasons = done["restarts"]["reasons"].as_object().into_iter().flatten();
    let others: Vec<_> = reasons.filter(|(reason, _)| *reason != "NodeLost").collect();
    ensure!(others.is_empty(), "restarts for another reason: {others:?}");
    orders.assert_exact(&stand.cluster.layout().shared())?;
    stand.forget("alone")
}
