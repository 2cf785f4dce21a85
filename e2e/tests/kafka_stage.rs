//! The stage itself: what other tests take for granted of brokers, the judge and the proxy.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::judge::Input;
use e2e::kafka::{Broker, Judge, Options, Version};

#[test]
fn every_version_keeps_its_records_when_it_is_killed() -> Result<()> {
    for version in Version::ALL {
        let mut broker = Broker::start(version, &Options::default())?;
        let judge = Judge::start(&broker.address())?;
        judge.create("orders", 2)?;
        judge.produce("orders", &Input { first: 0, count: 1_000, keys: 10, begin_ms: 5, rate: 0 })?;
        broker.kill()?;
        ensure!(broker.kill().is_err(), "a process cannot be killed twice");
        broker.restart()?;
        let records = judge.committed("orders", 1_000)?;
        ensure!(records.len() == 1_000, "{version:?}: {} records", records.len());
        let seventh = records.iter().find(|record| record.text().contains("\"n\":7,")).context("record 7")?;
        ensure!(seventh.text() == r#"{"n":7,"customer":7,"cents":5398,"ts":12}"#, "{}", seventh.text());
        ensure!((seventh.timestamp, seventh.key.as_deref()) == (12, Some(b"7".as_slice())));
        ensure!(judge.committed("orders", 999).is_err(), "reading is bounded");
        let ends = judge.ends("orders")?;
        ensure!(ends.iter().map(|ends| ends.end).sum::<i64>() == 1_000 && ends.iter().all(|ends| ends.begin == 0));
        judge.delete_records("orders", 0, 1)?;
        ensure!(judge.ends("orders")?.first().is_some_and(|ends| ends.begin == 1));
        judge.add_partitions("orders", 3)?;
        ensure!(judge.topic("orders")?.leaders.len() == 3);
        judge.delete("orders")?;
        judge.assert_nothing_is_open(&[])?;
    }
    Ok(())
}

#[test]
fn three_nodes_go_on_without_one() -> Result<()> {
    let mut nodes = Broker::cluster(Version::Newest, &Options::default(), 3)?;
    let addresses: Vec<_> = nodes.iter().map(Broker::address).collect();
    let judge = Judge::start(&addresses.join(","))?;
    judge.create_with("orders", 3, 3, &[("min.insync.replicas", "2")])?;
    let mut leaders = judge.topic("orders")?.leaders;
    leaders.sort_unstable();
    ensure!(leaders == [1, 2, 3], "{leaders:?}");
    nodes.get_mut(2).context("three nodes")?.kill()?;
    judge.produce("orders", &Input { first: 0, count: 100, keys: 10, begin_ms: 5, rate: 0 })?;
    ensure!(judge.committed("orders", 100)?.len() == 100);
    ensure!(!judge.topic("orders")?.leaders.contains(&3), "the dead node leads nothing");
    Ok(())
}
