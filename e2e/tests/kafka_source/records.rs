//! Every committed record, and nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kafka::Writer;
use runtime::clock::{SystemClock, SystemRandom};
use runtime::connectors::kafka::client::{Backoff, Client, Ports, Settings};

use crate::stage::{Cluster, Copy, Source};

const LATEST: &str = "until: Latest";

#[test]
fn every_record_of_one_and_of_three_partitions_comes_once() -> Result<()> {
    let cluster = Cluster::shared()?;
    for (topic, partitions) in [("one", 1), ("three", 3)] {
        cluster.judge.create(topic, partitions)?;
        cluster.produce(topic, 0, 20_000)?;
        for parallelism in [1, 4] {
            let copy =
                Copy::new(&cluster, &Source { topics: &[topic], more: LATEST, parallelism, ..Source::default() })?;
            copy.run_well()?;
            ensure!(copy.assert_exact(&cluster)?.len() == 20_000);
        }
    }
    Ok(())
}

#[test]
fn every_codec_is_read() -> Result<()> {
    let cluster = Cluster::shared()?;
    for codec in ["gzip", "snappy", "lz4", "zstd", "uncompressed"] {
        // The broker compresses what it is given.
        let topic = format!("codec-{codec}");
        cluster.judge.create_with(&topic, 2, 1, &[("compression.type", codec)])?;
        cluster.produce(&topic, 0, 5_000)?;
        let copy = Copy::new(&cluster, &Source { topics: &[&topic], more: LATEST, ..Source::default() })?;
        copy.run_well()?;
        ensure!(copy.assert_exact(&cluster)?.len() == 5_000, "{codec}");
    }
    Ok(())
}

/// Writes to a topic's partitions and leaves the transaction behind, aborted.
fn abort(cluster: &Cluster, id: &str, partitions: &[(&str, i32)], count: u64) -> Result<()> {
    Writer::start(&cluster.broker.address(), id, Duration::from_mins(5))?.write(partitions, count)?;
    let settings = Settings { bootstrap_servers: vec![cluster.broker.address()], ..Settings::default() };
    let ports = Ports { clock: std::sync::Arc::new(SystemClock), random: std::sync::Arc::new(SystemRandom) };
    let client = Client::new(&settings, ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(client.retried(&Backoff::SHORT, || client.init_producer(id, 60_000)))?;
    Ok(())
}

#[test]
fn aborted_records_are_left_out_also_at_the_end() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("aborted", 2)?;
    for round in 0..3 {
        abort(&cluster, &format!("before-{round}"), &[("aborted", 0), ("aborted", 1)], 50)?;
        cluster.produce("aborted", round * 500, 500)?;
    }
    abort(&cluster, "last", &[("aborted", 0)], 20)?;
    let all = cluster.judge.uncommitted("aborted", 10_000)?.len();
    ensure!(all == 1_500 + 3 * 100 + 20, "{all} records are in the log");
    let copy = Copy::new(&cluster, &Source { topics: &["aborted"], more: LATEST, ..Source::default() })?;
    copy.run_well()?;
    ensure!(copy.assert_exact(&cluster)?.len() == 1_500);
    Ok(())
}

#[test]
fn keys_headers_and_tombstones_are_as_they_were_written() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("headers", 1)?;
    cluster.put("headers", 0, &[Some("a"), None, Some(""), Some("b")])?;
    let copy = Copy::new(&cluster, &Source { topics: &["headers"], more: LATEST, ..Source::default() })?;
    copy.run_well()?;
    let told = copy.assert_exact(&cluster)?;
    let headers = r#"[{"name":"trace","value":"one"},{"name":"trace","hex":"ff00"},{"name":"trace","value":null}]"#;
    ensure!(told.iter().all(|told| told.5 == headers), "{told:?}");
    let values: Vec<_> = told.iter().map(|told| told.4.as_deref()).collect();
    ensure!(values == [Some("61"), None, Some(""), Some("62")], "{values:?}");
    Ok(())
}
