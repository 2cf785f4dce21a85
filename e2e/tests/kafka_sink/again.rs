//! The same store twice: two runs at once, and a run from a checkpoint that is not the newest.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use serde_json::Value;

use crate::stage::{Cluster, Shape, Stage};

#[test]
fn of_two_runs_on_one_store_one_wins_and_the_other_leaves() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape::struck("two"))?;
    let mut first = stage.start(SLOW, &[])?;
    first.wait_for(|said| said.is_event("commit.completed"))?;
    let second = stage.start(SLOW, &[])?;
    let (first, second) = (first.finish()?, second.finish()?);
    ensure!(first.code() == Some(3), "the first is fenced: {}", first.describe());
    ensure!(second.code() == Some(0), "{}", second.describe());
    // The first may have opened a transaction before it learned; that one may stay open until it expires.
    stage.assert_rows()
}

#[test]
fn an_older_checkpoint_is_restored_only_when_duplicates_are_accepted_and_doubles_what_came_after() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape::struck("older"))?;
    stage.edit_manifest("interval: 100ms", "interval: 100ms, retain: 50")?;
    let ended = stage.crash_at("coordinator.all_committed", 6, &[])?;
    let checkpoints = ended.events("checkpoint.completed");
    let middle = checkpoints.get(2).context("some checkpoints")?;
    let handle = middle["handle"].as_str().context("a handle")?;
    let before = ids(&cluster)?;
    let refused = stage.run("", &["--restore", handle])?;
    ensure!(refused.code() == Some(2) && refused.describe().contains("twice"), "{}", refused.describe());
    ensure!(ids(&cluster)? == before, "a refused run wrote something");
    stage.run_out(&["--restore", handle, "--accept-duplicates"])?;
    let from = middle["rowsIn"].as_u64().context("rows")?;
    let visible = before.len() as u64;
    ensure!(from < visible, "nothing would be doubled: {from} of {visible}");
    let expected: BTreeMap<u64, u32> =
        (0..10_000).map(|id| (id, if (from..visible).contains(&id) { 2 } else { 1 })).collect();
    ensure!(ids(&cluster)? == expected, "not exactly the rows {from} to {visible} came twice");
    cluster.judge.assert_nothing_is_open(&["older"])
}

/// How often each id is there.
fn ids(cluster: &Cluster) -> Result<BTreeMap<u64, u32>> {
    let mut ids = BTreeMap::new();
    for record in cluster.judge.committed("older", 100_000)? {
        let row: Value = serde_json::from_str(record.text())?;
        *ids.entry(row["id"].as_u64().context("an id")?).or_default() += 1;
    }
    Ok(ids)
}
