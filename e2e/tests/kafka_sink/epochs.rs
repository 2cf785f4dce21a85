//! Producer epochs count up to 32,767 and then begin anew under another producer: half a day at a checkpoint a second.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use runtime::clock::{SystemClock, SystemRandom};
use runtime::connectors::kafka::client::{Backoff, Client, Ports, Settings};

use crate::stage::{Cluster, Shape, Stage};

/// A few short of the last one: the run itself crosses it.
const NEAR: i16 = i16::MAX - 4;

/// Uses an id up; returns its producer.
async fn use_up(client: Client, id: String) -> Result<i64> {
    loop {
        let again = || client.init_producer(&id, 60_000);
        let producer = client.retried(&Backoff::SHORT, again).await?;
        if producer.epoch >= NEAR {
            return Ok(producer.id);
        }
    }
}

#[test]
fn epochs_that_run_out_lose_and_double_nothing() -> Result<()> {
    let mut cluster = Cluster::new(Version::Newest, &Options::default())?;
    // Long enough for a machine with something else to do to get past the last epoch of both.
    let shape = || Shape { rows: 30_000, rows_per_second: 4_000, ..Shape::new("epochs") };
    let stage = Stage::new(&cluster, shape())?;
    stage.crash_at("coordinator.all_committed", 2, &[])?;
    // Those of the first attempt tell what the next one's will be.
    let used: Vec<String> = cluster.judge.transactions()?.into_iter().map(|found| found.id).collect();
    let next = |id: &String| id.contains("/1/out0/0/").then(|| id.replace("/1/out0/0/", "/2/out0/0/"));
    let mut ids: Vec<String> = used.iter().filter_map(next).collect();
    // They are taken in turn: each of these two is used every few checkpoints.
    ids.sort();
    ids.truncate(2);
    ensure!(ids.len() == 2, "{used:?}");
    let site = stage.into_site();
    let settings = Settings { bootstrap_servers: vec![cluster.broker()?.address()], ..Settings::default() };
    let ports = || Ports { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients = [Client::new(&settings, ports())?, Client::new(&settings, ports())?];
    let [first, second] = clients;
    let both = async {
        let (one, two) = (use_up(first, ids[0].clone()), use_up(second, ids[1].clone()));
        futures::future::try_join(one, two).await
    };
    let (one, two) = runtime.block_on(async { tokio::time::timeout(Duration::from_mins(15), both).await })??;
    let stage = Stage::again(&cluster, shape(), site);
    stage.run_well()?;
    stage.assert_exact()?;
    for (id, before) in ids.iter().zip([one, two]) {
        let now = cluster.judge.transaction(id)?.context("it was used")?;
        ensure!(now.producer_id != before, "{id} did not get to its last epoch: {now:?}");
    }
    Ok(())
}
