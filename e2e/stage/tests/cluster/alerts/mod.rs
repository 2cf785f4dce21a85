//! Every alert of the chart on a real Prometheus, as it is shipped: with default values, its waiting times among them. What an
//! alert watches is broken, the alert fires, the diagnosis of its runbook page is typed as it stands there, what was broken is
//! mended, and the alert resolves. All but the controller's are broken side by side, each on a Pipeline of its own.

mod controller;
mod outages;
mod runbook;
mod stops;
mod transactions;
mod watch;
mod workers;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use stage::cluster::{Cluster, PLANE};
use stage::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

use self::watch::{Wanted, Watch};
use crate::desk::Desk;
use crate::installed::SHARED_CLAIM;
use crate::outages::Bucket;
use crate::stand::{PIPELINES, Stand, epoch};
use crate::{Begin, say};

/// An alert with what breaks its Pipeline.
type Case = (Wanted, fn(&Site<'_>) -> Result<()>);

const fn case(alert: &'static str, pipeline: &'static str, run: fn(&Site<'_>) -> Result<()>) -> Case {
    (Wanted { alert, pipeline }, run)
}

/// Those that can be told without a controller come first; the last one takes it away from them when the others are done.
const CASES: [Case; 12] = [
    case("OncewardLagGrowing", "lagging", transactions::it_falls_behind),
    case("OncewardRestartLoop", "restart-loop", workers::it_dies_again_and_again),
    case("OncewardTransactionNearTimeout", "near-timeout", transactions::a_transaction_grows_old),
    case("OncewardCommitsPending", "pending", transactions::commits_wait),
    case("OncewardCheckpointFailing", "failing", transactions::checkpoints_fail),
    case("OncewardCheckpointStale", "stale", outages::no_checkpoint_is_decided),
    case("OncewardCommitLost", "lost", stops::decided_output_is_lost),
    case("OncewardPipelineFailed", "failed", stops::a_checkpoint_is_damaged),
    case("OncewardPipelineNotReady", "not-ready", stops::a_secret_is_missing),
    case("OncewardRestartLimitReached", "limit-reached", workers::it_dies_too_often_for_its_policy),
    case("OncewardWorkersNotScraped", "not-scraped", workers::nobody_reads_its_metrics),
    case("OncewardControllerDown", "", controller::no_controller_answers),
];
/// How many of them.
const WITHOUT_CONTROLLER: usize = 2;

/// What a case stands on.
struct Site<'a> {
    stand: Stand,
    watch: &'a Watch,
    wanted: Wanted,
}

pub(crate) fn every_alert_fires_and_resolves_as_shipped(stand: &Stand) -> Result<()> {
    let watch = Watch::start(stand)?;
    let broken: BTreeSet<&str> = CASES.iter().map(|(wanted, _)| wanted.alert).collect();
    let shipped: BTreeSet<&str> = watch.monitored.alerts.iter().map(String::as_str).collect();
    ensure!(broken == shipped, "the chart has {shipped:?}, and {broken:?} are broken");
    let (last, others) = CASES.split_last().context("there are some")?;
    let one = |case: &Case| {
        let (Wanted { alert, pipeline }, begin) = (case.0, Begin::now());
        let site =
            Site { stand: Stand::begin(Cluster::find(stand.cluster.layout().name())?)?, watch: &watch, wanted: case.0 };
        let ended = case.1(&site);
        if let Err(error) = &ended {
            say(&format!("{alert} of {pipeline} FAILED after {:.0} s: {error:#}", begin.seconds()));
        }
        ended
    };
    let failed = std::thread::scope(|scope| {
        let discovery = scope.spawn(|| watch.discover(&stand.cluster));
        let mut running: Vec<_> = others.iter().map(|case| (case.0.alert, scope.spawn(|| one(case)))).collect();
        let is_failed = |ended: std::thread::Result<Result<()>>| !matches!(ended, Ok(Ok(())));
        let mut failed = vec![];
        for (alert, case) in running.split_off(WITHOUT_CONTROLLER) {
            failed.extend(is_failed(case.join()).then_some(alert));
        }
        failed.extend(one(last).is_err().then_some(last.0.alert));
        for (alert, case) in running {
            failed.extend(is_failed(case.join()).then_some(alert));
        }
        watch.end();
        failed.extend(discovery.join().is_err().then_some("discovery"));
        failed
    });
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

impl Site<'_> {
    fn name(&self) -> &'static str {
        self.wanted.pipeline
    }

    fn desk(&self) -> Result<Desk<'_>> {
        Desk::new(&self.stand)
    }

    /// A desk with the Secret that opens a bucket.
    fn desk_with_secret(&self) -> Result<Desk<'_>> {
        let desk = self.desk()?;
        desk.keep(self.name(), "id", ACCESS_KEY_ID)?;
        desk.keep(self.name(), "secret", SECRET_ACCESS_KEY)?;
        Ok(desk)
    }

    /// Waits for the alert, types the diagnosis of its page, mends, and waits for the end of the alert. `shows`: see
    /// [`runbook::diagnose`].
    fn judge(&self, desk: &Desk<'_>, shows: &[(&str, &str)], mend: impl FnOnce() -> Result<()>) -> Result<()> {
        let (labels, fired) = self.watch.fires(self.wanted)?;
        say(&format!("{} fires after {fired:.0} s", self.wanted.alert));
        // What was broken is mended whatever the page says: a wrong page must not hide whether the alert resolves.
        let diagnosed = runbook::diagnose(desk, &labels, shows);
        mend()?;
        let resolved = self.watch.resolves(self.wanted)?;
        watch::tell(self.wanted, fired, resolved, *diagnosed.as_ref().unwrap_or(&0));
        diagnosed.map(drop)
    }

    /// Runs a Pipeline until it has checkpoints; its alert is quiet.
    fn runs(&self, manifest: &Value) -> Result<()> {
        self.stand.create(PIPELINES, manifest)?;
        self.stand.status(self.name(), "it has checkpoints", |status| epoch(status) >= 2)?;
        self.watch.is_quiet(self.wanted)
    }

    /// As `spec` of the Pipeline, merged.
    fn change(&self, patch: &Value) -> Result<()> {
        self.stand.patch(&format!("{PIPELINES}/{}", self.name()), patch)
    }

    fn annotate(&self, name: &str, value: &str) -> Result<()> {
        self.change(&json!({ "metadata": { "annotations": { name: value } } }))
    }

    fn bucket(&self) -> Result<Bucket> {
        Bucket::start(&self.stand, self.name())
    }

    /// An endless stream of numbers into files; `storage` as `spec.checkpoint.storage`, if not on the volume beside them.
    fn numbers(&self, storage: Option<Value>) -> Value {
        let name = self.name();
        let column = json!({ "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } });
        let volume = json!({ "name": "data", "persistentVolumeClaim": { "claimName": SHARED_CLAIM } });
        let container = json!({ "name": "worker", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
        let local = || json!({ "local": { "path": format!("/data/{name}/state") } });
        json!({
            "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": name },
            "spec": {
                "sources": [{ "name": "rows", "generator": { "rowsPerSecond": 50 }, "columns": [column] }],
                "sinks": [{ "name": "out", "input": "rows", "files": { "path": format!("/data/{name}/out") } }],
                "checkpoint": { "interval": "1s", "timeout": "3s", "storage": storage.unwrap_or_else(local) },
                "podTemplate": { "spec": { "volumes": [volume], "containers": [container] } },
            },
        })
    }

    /// The worker stops, dies or waits at these steps.
    fn set_steps(manifest: &mut Value, steps: &str) {
        manifest["spec"]["podTemplate"]["spec"]["containers"][0]["env"] =
            json!([{ "name": "ONCEWARD_CRASHPOINT", "value": steps }]);
    }

    /// From now on it does so nowhere.
    fn clear_steps(&self) -> Result<()> {
        let mut manifest = self.stand.get(&format!("{PIPELINES}/{}", self.name()))?;
        let mut containers = manifest["spec"]["podTemplate"]["spec"]["containers"].take();
        let had = containers[0].as_object_mut().and_then(|container| container.remove("env"));
        ensure!(had.is_some(), "no step was set");
        self.change(&json!({ "spec": { "podTemplate": { "spec": { "containers": containers } } } }))
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let (mut found, mut open) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// One that is asserted to have been dealt.
fn dealt(count: u64, what: &str) -> Result<()> {
    if count == 0 {
        bail!("{what} never happened: this proves nothing");
    }
    Ok(())
}

/// Where brokers listen.
const HOST: &str = PLANE;
