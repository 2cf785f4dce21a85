//! Undisturbed runs.

use anyhow::{Result, ensure};
use e2e::kafka::{Options, Version};

use crate::stage::{Cluster, Shape, Stage};

#[test]
fn every_row_arrives_once_at_any_parallelism_and_number_of_sinks() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    for (parallelism, partitions, sinks) in [(1, 1, 1), (1, 3, 2), (2, 3, 1)] {
        let topic = format!("whole-{parallelism}-{partitions}-{sinks}");
        let shape = Shape { partitions, sinks, parallelism, ..Shape::new(&topic) };
        let stage = Stage::new(&cluster, shape)?;
        let ended = stage.run_well()?;
        stage.assert_exact()?;
        let commits = ended.events("commit.completed").len();
        ensure!(commits >= 2, "{commits} commits: too few to prove anything");
    }
    Ok(())
}

#[test]
fn rows_without_anything_but_a_key_are_tombstones() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape { rows: 1_000, ..Shape::new("tombstones") })?;
    stage.edit_manifest("SELECT id, customer, 0 AS zero", "SELECT customer, CAST(NULL AS BIGINT) AS cents")?;
    stage.run_well()?;
    let records = cluster.judge.committed("tombstones", 10_000)?;
    ensure!(records.len() == 1_000, "{}", records.len());
    ensure!(records.iter().all(|record| record.key.is_some() && record.value.is_none()), "{:?}", records.first());
    Ok(())
}

#[test]
fn nothing_is_visible_before_its_decision() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape::new("undecided"))?;
    stage.crash_at("coordinator.before_decide", 1, &[])?;
    ensure!(cluster.judge.committed("undecided", 100_000)?.is_empty(), "visible, and nobody has decided it");
    ensure!(!cluster.judge.uncommitted("undecided", 100_000)?.is_empty(), "nothing was written: this proves nothing");
    stage.run_well()?;
    stage.assert_exact()
}

#[test]
fn at_least_once_loses_nothing() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = Stage::new(&cluster, Shape { rows: 5_000, ..Shape::struck("plain") })?;
    let from = format!("key: [customer]{}}}", stage.shape.sink);
    stage.edit_manifest(&from, &format!("{from}, guarantee: AtLeastOnce"))?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    stage.run_out(&[])?;
    let records = cluster.judge.committed("plain", 100_000)?;
    let ids: std::collections::BTreeSet<u64> = records
        .iter()
        .filter_map(|record| serde_json::from_str::<serde_json::Value>(record.text()).ok()?["id"].as_u64())
        .collect();
    ensure!(ids.len() == 5_000 && records.len() >= ids.len(), "{} of 5000", ids.len());
    Ok(())
}
