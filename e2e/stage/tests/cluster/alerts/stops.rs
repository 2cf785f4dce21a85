//! What stops a Pipeline until somebody has mended the cause: decided output that is gone, a damaged checkpoint, a Secret that
//! is not there.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Site, dealt, files};
use crate::orders::Orders;
use crate::stand::{NAMESPACE, PIPELINES, condition, kill, until};

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

/// Between a decision and its commit the worker dies, and what it had written is taken away.
pub(super) fn decided_output_is_lost(site: &Site<'_>) -> Result<()> {
    let mut manifest = site.numbers(None);
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 3, "delay": "10s" } });
    // It waits there until it is killed from outside.
    Site::set_steps(&mut manifest, "coordinator.decided:3=pause:600s");
    site.watch.is_quiet(site.wanted)?;
    site.stand.create(PIPELINES, &manifest)?;
    let worker = site.stand.worker(site.name(), 0)?;
    let pod = worker["metadata"]["name"].as_str().context("a name")?;
    until("it has decided, and told nobody", || {
        let said = site.stand.cluster.told(&["logs", "--namespace", NAMESPACE, pod])?;
        Ok(said.contains("crashpoint coordinator.decided").then_some(()))
    })?;
    kill(site.stand.process_of(&worker)?)?;
    site.stand.status(site.name(), "the policy's delay runs", |status| status["restarts"]["nextTime"].is_string())?;
    let hidden =
        |path: &&std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let (mut taken, output) = (0, site.stand.cluster.layout().shared().join(site.name()).join("out"));
    for path in files(&output)?.iter().filter(hidden) {
        std::fs::remove_file(path)?;
        taken += 1;
    }
    dealt(taken, "taking away what was decided")?;
    let shows = [
        ("get pipelines.onceward.dev", "CommitLost"),
        ("logs", "lost"),
        ("get events", "CommitLost"),
        ("kubectl onceward", "attempt"),
    ];
    site.judge(&site.desk()?, &shows, || {
        let status = site.stand.phase(site.name(), "Failed")?;
        ensure!(condition(&status, "Ready").1 == "CommitLost", "{status}");
        let number = |name: &str| status["log"]["floor"][name].as_u64().with_context(|| status.to_string());
        site.clear_steps()?;
        site.annotate("onceward.dev/accept-loss", &format!("{}/{}", number("attempt")?, number("epoch")?))
    })?;
    site.stand.phase(site.name(), "Running")?;
    site.stand.forget(site.name())
}

/// While nothing runs, every part of every checkpoint is damaged; mended when they are as they were.
pub(super) fn a_checkpoint_is_damaged(site: &Site<'_>) -> Result<()> {
    let bucket = site.bucket()?;
    let storage = Some(bucket.storage("failed"));
    let orders = Orders {
        name: site.name(),
        rows: 1 << 40,
        rows_per_second: 200,
        claim: crate::installed::SHARED_CLAIM,
        storage,
    };
    let mut manifest = orders.manifest();
    // So much state that it does not fit into a record of the log.
    manifest["spec"]["transforms"] = json!([
        { "name": "keyed", "sql": "SELECT ts, n, n % 2000 AS customer FROM orders" },
        { "name": "summed", "sql": "SELECT window_start, customer, SUM(n) AS total FROM TUMBLE(keyed, ts, INTERVAL '1 day') \
                                    GROUP BY window_start, window_end, customer" },
    ]);
    site.runs(&manifest)?;
    until("it has parts", || Ok(files(&bucket.objects())?.iter().any(|path| is_part(path)).then_some(())))?;
    site.change(&json!({ "spec": { "suspend": true } }))?;
    site.stand.phase(site.name(), "Suspended")?;
    let mut kept = vec![];
    for path in files(&bucket.objects())?.into_iter().filter(|path| is_part(path)) {
        let bytes = std::fs::read(&path)?;
        std::fs::write(&path, bytes.iter().map(|byte| !byte).collect::<Vec<_>>())?;
        kept.push((path, bytes));
    }
    dealt(u64::try_from(kept.len())?, "damage to a part")?;
    site.change(&json!({ "spec": { "suspend": false } }))?;
    let shows = [
        ("get pipelines.onceward.dev", "CorruptCheckpoint"),
        ("logs", "failed"),
        ("get events", "CorruptCheckpoint"),
        ("--verify", "part"),
    ];
    site.judge(&site.desk_with_secret()?, &shows, || {
        kept.iter().try_for_each(|(path, bytes)| std::fs::write(path, bytes))?;
        site.annotate("onceward.dev/restart-requested-at", "2026-01-02T00:00:00Z")
    })?;
    site.stand.phase(site.name(), "Running")?;
    site.stand.forget(site.name())
}

fn is_part(path: &Path) -> bool {
    path.components().any(|component| component.as_os_str() == "parts")
}

/// The pod is there and cannot start.
pub(super) fn a_secret_is_missing(site: &Site<'_>) -> Result<()> {
    let bucket = site.bucket()?;
    let path = format!("{SECRETS}/{}", site.name());
    let mut secret: Value = site.stand.get(&path)?;
    site.watch.is_quiet(site.wanted)?;
    site.stand.delete(&path, false)?;
    site.stand.create(PIPELINES, &site.numbers(Some(bucket.storage("not-ready"))))?;
    let missing = "secret \"not-ready\" not found";
    let shows = [
        ("get pipelines.onceward.dev", "PodNotStarting"),
        ("describe pods", missing),
        ("get events", "not-ready"),
        ("logs", ""),
    ];
    site.judge(&site.desk()?, &shows, || {
        secret["metadata"] = json!({ "name": site.name(), "namespace": NAMESPACE });
        site.stand.create(SECRETS, &secret).map(drop)
    })?;
    site.stand.phase(site.name(), "Running")?;
    site.stand.forget(site.name())
}
