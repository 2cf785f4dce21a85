//! A store that is away: while an attempt runs, and for those that come after it.

use anyhow::Result;
use serde_json::json;

use super::Site;
use crate::stand::condition;

/// Every checkpoint times out; the attempt may bear that.
pub(super) fn checkpoints_fail(site: &Site<'_>) -> Result<()> {
    let mut bucket = site.bucket()?;
    let mut manifest = site.numbers(Some(bucket.storage("failing")));
    manifest["spec"]["checkpoint"]["tolerableFailedCheckpoints"] = json!(1_000);
    site.runs(&manifest)?;
    bucket.kill()?;
    let shows = [
        ("get pipelines.onceward.dev", "CheckpointHealthy"),
        ("kubectl onceward", "last failed"),
        ("logs", "checkpoint"),
        ("get events", "Checkpoint"),
    ];
    site.judge(&site.desk()?, &shows, || bucket.start_again())?;
    site.stand.status(site.name(), "checkpoints succeed", |status| condition(status, "CheckpointHealthy").0 == "True")?;
    site.stand.forget(site.name())
}

/// The attempt ends, and the next ones wait for the store.
pub(super) fn no_checkpoint_is_decided(site: &Site<'_>) -> Result<()> {
    let mut bucket = site.bucket()?;
    site.runs(&site.numbers(Some(bucket.storage("stale"))))?;
    bucket.kill()?;
    let shows = [("get pipelines.onceward.dev", "lastCompleted"), ("logs", "store"), ("get pods", "Running")];
    site.judge(&site.desk()?, &shows, || bucket.start_again())?;
    site.stand.status(site.name(), "it runs again", |status| condition(status, "Ready").0 == "True")?;
    site.stand.forget(site.name())
}
