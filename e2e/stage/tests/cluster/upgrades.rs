//! Other versions under Pipelines that run: an image of one of them, and the release.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use stage::cluster::{NODES, image};
use stage::helm::{Helm, chart};

use crate::installed::{DEPLOYMENT, SECRET, SHARED_CLAIM};
use crate::orders::{Orders, visible};
use crate::stand::{PIPELINES, Stand, kill, serial, until};

/// The same program by another name.
pub(crate) const NEXT: &str = "docker.io/library/onceward:next";
/// What controllers of the other release log.
const OTHER: &str = "info,kube=warn";
/// Helm returns when they are replaced.
const OF: [&str; 5] = ["--namespace", "onceward-system", "--wait", "--timeout", "5m"];

fn orders(name: &'static str, rows: u64) -> Orders {
    Orders { name, rows, rows_per_second: 1_000, claim: SHARED_CLAIM, storage: None }
}

/// Returns when output is visible. The status tells it, too, but every thirty seconds only.
pub(crate) fn at_work(stand: &Stand, name: &str) -> Result<()> {
    let output = stand.cluster.layout().shared().join(name).join("rows");
    until(&format!("{name}: output"), || Ok((visible(&output)? > 4).then_some(())))
}

/// Returns when both nodes have it.
pub(crate) fn make_next(stand: &Stand) -> Result<()> {
    (1..=NODES).try_for_each(|node| stand.cluster.node(node).tag_image(image::ONCEWARD, NEXT))
}

pub(crate) fn another_image_goes_through_a_last_checkpoint(stand: &Stand) -> Result<()> {
    make_next(stand)?;
    let orders = orders("upgraded", 40_000);
    stand.create(PIPELINES, &orders.manifest())?;
    at_work(stand, "upgraded")?;
    let before = stand.worker("upgraded", 0)?;
    stand.patch(&format!("{PIPELINES}/upgraded"), &json!({ "spec": { "image": NEXT } }))?;
    let after = stand.worker("upgraded", serial(&before))?;
    let image = after.pointer("/spec/containers/0/image").and_then(|image| image.as_str());
    ensure!(image == Some(NEXT), "{image:?}");
    let done = stand.phase("upgraded", "Finished")?;
    let restarts = &done["restarts"];
    ensure!(restarts["total"] == 0 && restarts["reasons"]["SpecChanged"] == 1, "{restarts}");
    ensure!(done.pointer("/checkpoints/restoredFrom/epoch").is_some(), "it began anew: {done}");
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("upgraded")
}

/// To other settings of the controllers, and back: workers stay as they are, and who dies meanwhile is replaced.
pub(crate) fn a_release_that_is_upgraded_and_rolled_back_leaves_pipelines_alone(stand: &Stand) -> Result<()> {
    let orders = orders("release", 150_000);
    stand.create(PIPELINES, &orders.manifest())?;
    at_work(stand, "release")?;
    let worker = stand.worker("release", 0)?;
    let key = stand.get(SECRET)?["data"].take();
    let release = Release::of(stand)?;
    release.upgrade()?;
    let same = stand.worker("release", 0)?;
    ensure!(same["metadata"]["uid"] == worker["metadata"]["uid"], "the upgrade has replaced the worker");
    // Those who have come take care of it.
    kill(stand.process_of(&same)?)?;
    let next = stand.worker("release", serial(&same))?;

    release.roll_back()?;
    ensure!(stand.get(SECRET)?["data"] == key, "the signing key is another one");
    let same = stand.worker("release", 0)?;
    ensure!(same["metadata"]["uid"] == next["metadata"]["uid"], "the rollback has replaced the worker");
    let done = stand.phase("release", "Finished")?;
    ensure!(done["restarts"]["total"] == 1 && done["restarts"]["reasons"]["Error"] == 1, "{}", done["restarts"]);
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget("release")
}

/// Upgraded and rolled back, whoever is at work meanwhile.
pub(crate) fn change_release(stand: &Stand) -> Result<()> {
    let release = Release::of(stand)?;
    release.upgrade()?;
    release.roll_back()
}

/// What is installed.
struct Release<'s> {
    stand: &'s Stand,
    helm: Helm,
    /// The one that is deployed.
    revision: String,
}

impl<'s> Release<'s> {
    fn of(stand: &'s Stand) -> Result<Self> {
        let helm = Helm::new()?;
        let list = helm.run_on(&stand.cluster, &["list", "--namespace", "onceward-system", "--output", "json"])?;
        let list: serde_json::Value = serde_json::from_str(&list)?;
        let revision = list.pointer("/0/revision").and_then(|revision| revision.as_str());
        let revision = revision.with_context(|| list.to_string())?.to_owned();
        Ok(Self { stand, helm, revision })
    }

    /// To other settings of the controllers.
    fn upgrade(&self) -> Result<()> {
        let (chart, log) = (chart(), format!("controller.log={}", OTHER.replace(',', "\\,")));
        let upgrade = ["upgrade", "onceward", chart.to_str().context("a path")?, "--reuse-values", "--set", &log];
        self.helm.run_on(&self.stand.cluster, &[upgrade.as_slice(), &OF].concat())?;
        ensure!(self.is_other()?, "nothing was upgraded");
        Ok(())
    }

    fn roll_back(&self) -> Result<()> {
        let rollback = ["rollback", "onceward", &self.revision];
        self.helm.run_on(&self.stand.cluster, &[rollback.as_slice(), &OF].concat())?;
        ensure!(!self.is_other()?, "nothing was rolled back");
        Ok(())
    }

    fn is_other(&self) -> Result<bool> {
        Ok(self.stand.get(DEPLOYMENT)?["spec"].to_string().contains(OTHER))
    }
}
