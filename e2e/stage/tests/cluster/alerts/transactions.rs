//! Brokers that do not hear the ends of transactions, and a topic that is written to faster than it is read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stage::kafka::broker::Listener;
use stage::kafka::judge::Input;
use stage::kafka::proxy::{END_TXN, PRODUCE};
use stage::kafka::{Broker, Judge, Options, Proxy, Version};

use super::{HOST, Site, dealt};
use crate::stand::{condition, until};

/// More than any test waits for.
const ALL: u64 = 1_000_000;
/// Records a second, and how slowly they are read: fewer of them are in a batch than come in the meantime.
const RATE: u64 = 2_000;
const SLOW: &str = "worker.batch_read:*=pause:8s";

/// One broker starts at a time: side by side they would starve each other on a small machine.
static STARTS: Mutex<()> = Mutex::new(());

/// A topic `numbers`, and a proxy before it that loses what it is told to.
fn broker() -> Result<(Broker, Proxy, Judge)> {
    let _turn = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let proxy = Proxy::start_at(HOST)?;
    let options = Options { host: Some(HOST.to_owned()), proxy: Some(proxy.port()), ..Options::default() };
    let broker = Broker::start(Version::Newest, &options)?;
    proxy.forward_to(broker.address_of(Listener::Proxied)?);
    let judge = Judge::start(&broker.address())?;
    // A machine with too much to do answers late, and has made it by the next look.
    until("the topic is there", || {
        if judge.topic("numbers").is_err() {
            judge.create("numbers", 1)?;
        }
        Ok(Some(()))
    })?;
    Ok((broker, proxy, judge))
}

fn connection(address: &str) -> Value {
    let properties = json!({ "socket.timeout.ms": 6000 });
    json!([{ "name": "main", "kafka": { "bootstrapServers": [address], "properties": properties } }])
}

/// Into the topic, with its log in a bucket: both can be reached from where the page's commands are typed.
fn to_topic(site: &Site<'_>, storage: Value, address: &str) -> Value {
    let mut manifest = site.numbers(Some(storage));
    manifest["spec"]["connections"] = connection(address);
    let kafka = json!({ "connection": "main", "topic": "numbers", "transactionTimeout": "10m" });
    manifest["spec"]["sinks"] = json!([{ "name": "out", "input": "rows", "kafka": kafka }]);
    manifest
}

fn lose_ends(site: &Site<'_>, shows: &[(&str, &str)]) -> Result<()> {
    let (bucket, (_broker, proxy, judge)) = (site.bucket()?, broker()?);
    site.runs(&to_topic(site, bucket.storage(site.name()), &proxy.address()))?;
    proxy.lose_requests(END_TXN, ALL);
    site.judge(&site.desk_with_secret()?, shows, || {
        dealt(proxy.lost(), "the loss of a transaction's end")?;
        proxy.lose_requests(END_TXN, 0);
        Ok(())
    })?;
    let before = judge.ends("numbers")?.iter().map(|ends| ends.stable).sum::<i64>();
    until("more is visible", || {
        Ok((judge.ends("numbers")?.iter().map(|ends| ends.stable).sum::<i64>() > before).then_some(()))
    })?;
    // It went on by itself: nothing was lost.
    let status = site.stand.status(site.name(), "its commits are settled", |status| {
        condition(status, "CommitsSettled").0 == "True" && condition(status, "Ready").0 == "True"
    })?;
    ensure!(status["phase"] == "Running", "{status}");
    site.stand.forget(site.name())
}

/// Records are not acknowledged, so that every checkpoint times out; the attempt may bear that.
pub(super) fn checkpoints_fail(site: &Site<'_>) -> Result<()> {
    let (bucket, (_broker, proxy, _)) = (site.bucket()?, broker()?);
    let mut manifest = to_topic(site, bucket.storage(site.name()), &proxy.address());
    manifest["spec"]["checkpoint"]["tolerableFailedCheckpoints"] = json!(100);
    site.runs(&manifest)?;
    proxy.lose_requests(PRODUCE, ALL);
    let shows = [
        ("get pipelines.onceward.dev", "CheckpointHealthy"),
        ("kubectl onceward", "in a row"),
        ("logs", "checkpoint"),
        ("get events", "Checkpoint"),
    ];
    site.judge(&site.desk()?, &shows, || {
        dealt(proxy.lost(), "the loss of a record")?;
        proxy.lose_requests(PRODUCE, 0);
        Ok(())
    })?;
    site.stand
        .status(site.name(), "checkpoints succeed", |status| condition(status, "CheckpointHealthy").0 == "True")?;
    site.stand.forget(site.name())
}

pub(super) fn commits_wait(site: &Site<'_>) -> Result<()> {
    lose_ends(
        site,
        &[
            ("get pipelines.onceward.dev", "pendingCommits"),
            ("logs", "commit"),
            ("kubectl onceward", "out"),
            ("transactions list", "decided"),
        ],
    )
}

/// As before, until most of its timeout is over.
pub(super) fn a_transaction_grows_old(site: &Site<'_>) -> Result<()> {
    lose_ends(
        site,
        &[("get pipelines.onceward.dev", "pendingCommits"), ("logs", "commit"), ("transactions list", "decided")],
    )
}

pub(super) fn it_falls_behind(site: &Site<'_>) -> Result<()> {
    let (broker, _proxy, judge) = broker()?;
    let mut manifest = site.numbers(None);
    manifest["spec"]["connections"] = connection(&broker.address());
    manifest["spec"]["sources"] = json!([{
        "name": "orders", "kafka": { "connection": "main", "topics": ["numbers"], "startFrom": "Earliest" },
        "columns": [{ "name": "n", "type": "BIGINT" }, { "name": "customer", "type": "BIGINT" }],
    }]);
    manifest["spec"]["sinks"][0]["input"] = "orders".into();
    manifest["spec"]["checkpoint"]["timeout"] = "1m".into();
    Site::set_steps(&mut manifest, SLOW);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| write(&judge, &is_over));
        let ended = site.runs(&manifest).and_then(|()| {
            let shows = [
                ("get pipelines.onceward.dev", "lastCompleted"),
                ("logs", ""),
                ("proxy/metrics", "onceward_source_lag_records"),
            ];
            site.judge(&site.desk()?, &shows, || {
                is_over.store(true, Ordering::Relaxed);
                site.clear_steps()
            })
        });
        is_over.store(true, Ordering::Relaxed);
        let written = producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        ended.and_then(|()| dealt(written, "a record"))
    })?;
    site.stand.forget(site.name())
}

/// At a steady rate, some seconds at a time; how many records.
fn write(judge: &Judge, is_over: &AtomicBool) -> Result<u64> {
    const SECONDS: u64 = 5;
    let mut first = 0;
    while !is_over.load(Ordering::Relaxed) {
        let count = RATE * SECONDS;
        judge.produce("numbers", &Input { first, count, keys: 20, begin_ms: 0, rate: RATE })?;
        first += count;
    }
    Ok(first)
}
