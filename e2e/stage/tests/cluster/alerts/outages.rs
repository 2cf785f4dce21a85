//! A store that is away.

use anyhow::Result;

use super::Site;
use crate::stand::condition;

/// An attempt ends, and the next ones wait for the store.
pub(super) fn no_checkpoint_is_decided(site: &Site<'_>) -> Result<()> {
    let mut bucket = site.bucket()?;
    site.runs(&site.numbers(Some(bucket.storage("stale"))))?;
    bucket.kill()?;
    let shows = [("get pipelines.onceward.dev", "lastCompleted"), ("logs", "store"), ("get pods", "Running")];
    site.judge(&site.desk()?, &shows, || bucket.start_again())?;
    site.stand.status(site.name(), "it runs again", |status| condition(status, "Ready").0 == "True")?;
    site.stand.forget(site.name())
}
