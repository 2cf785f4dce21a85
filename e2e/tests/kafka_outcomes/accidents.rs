//! Brokers that die and replies that get lost between a decision and its commit.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::Listener;
use e2e::kafka::proxy::END_TXN;
use e2e::kafka::{Broker, Judge, Options, Proxy, Version, Writer};
use runtime::connectors::kafka::client::Class;
use runtime::connectors::kafka::outcome::{CommitAnswer, Outcome, classify, commit};

use super::stage::{BRIEF, LONG, PATIENT, Stage, client, plain};

#[test]
fn a_transaction_outlives_its_writer_and_its_broker() -> Result<()> {
    for version in Version::ALL {
        let mut stage = Stage::new(version, &Options::default())?;
        let prepared = stage.prepare("outlives", "outlives", 2, LONG)?;
        stage.broker.kill()?;
        let error = stage.wait(commit(&stage.client, &prepared, &BRIEF)).err().context("nobody is there")?;
        ensure!(error.class() == Class::Retry, "{error}");
        let error = stage.wait(classify(&stage.client, &prepared, &BRIEF)).err().context("nobody is there")?;
        ensure!(error.class() == Class::Retry, "an outage is not taken for an outcome: {error}");
        stage.broker.restart()?;
        let outcome = stage.wait(classify(&stage.client, &prepared, &PATIENT))?;
        ensure!(outcome == Outcome::Open, "{version:?}: {outcome:?}");
        let client = &stage.client;
        let committed = stage.wait(client.retried(&PATIENT, || commit(client, &prepared, &PATIENT)))?;
        let committed = if matches!(committed, CommitAnswer::Again(_)) { stage.commit(&prepared)? } else { committed };
        ensure!(committed == CommitAnswer::Committed, "{version:?}: {committed:?}");
        stage.until(|| stage.visible("outlives"), |seen| *seen == 6)?;
        // What is committed stays so.
        stage.broker.kill()?;
        stage.broker.restart()?;
        let outcome = stage.wait(classify(&stage.client, &prepared, &PATIENT))?;
        ensure!(outcome == Outcome::Committed, "{version:?}: {outcome:?}");
        stage.judge.assert_nothing_is_open(&["outlives"])?;
    }
    Ok(())
}

#[test]
fn a_lost_reply_is_no_lost_commit() -> Result<()> {
    let proxy = Proxy::start()?;
    let options = Options { proxy: Some(proxy.port()), ..Options::default() };
    let stage = Stage::new(Version::Newest, &options)?;
    proxy.forward_to(stage.broker.address_of(Listener::Proxied)?);
    let through = client(&plain(proxy.address()))?;

    let prepared = stage.alone("reply")?;
    proxy.lose_replies(END_TXN, 1);
    let error = stage.wait(commit(&through, &prepared, &BRIEF)).err().context("the reply is lost")?;
    ensure!(error.class() == Class::Retry, "{error}");
    ensure!((proxy.lost(), proxy.passed(END_TXN)) == (1, 1), "the broker has heard of it");
    stage.until(|| stage.classified(&prepared), |outcome| *outcome == Outcome::Committed)?;
    let again = stage.wait(commit(&through, &prepared, &BRIEF))?;
    ensure!(again == CommitAnswer::Committed, "{again:?}");
    stage.until(|| stage.visible("reply"), |seen| *seen == 3)?;

    let prepared = stage.alone("request")?;
    proxy.lose_requests(END_TXN, 1);
    let error = stage.wait(commit(&through, &prepared, &BRIEF)).err().context("the request is lost")?;
    ensure!(error.class() == Class::Retry, "{error}");
    ensure!((proxy.lost(), proxy.passed(END_TXN)) == (2, 2), "the broker has not heard of it");
    ensure!(stage.classified(&prepared)? == Outcome::Open);
    proxy.cut(true);
    ensure!(stage.wait(commit(&through, &prepared, &BRIEF)).is_err());
    proxy.cut(false);
    let again = stage.wait(commit(&through, &prepared, &BRIEF))?;
    ensure!(again == CommitAnswer::Committed, "{again:?}");
    stage.until(|| stage.visible("request"), |seen| *seen == 3)?;
    stage.judge.assert_nothing_is_open(&["reply", "request"])
}

#[test]
fn a_commit_follows_its_coordinator_to_another_node() -> Result<()> {
    let mut nodes = Broker::cluster(Version::Newest, &Options::default(), 3)?;
    let addresses: Vec<_> = nodes.iter().map(Broker::address).collect();
    let judge = Judge::start(&addresses.join(","))?;
    judge.create_with("moves", 3, 3, &[("min.insync.replicas", "2")])?;
    let mut settings = plain(String::new());
    settings.bootstrap_servers = addresses.clone();
    let client = client(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let writer = Writer::start(&addresses.join(","), "moves", LONG)?;
    writer.write(&[("moves", 0), ("moves", 1), ("moves", 2)], 3)?;
    let prepared = runtime.block_on(writer.prepare(&client))?;
    let coordinator = runtime.block_on(client.find_coordinator("moves"))?;
    let node = nodes.iter_mut().find(|node| node.id() == coordinator).context("one of the three")?;
    node.kill()?;
    let mut answer = CommitAnswer::Unknown(String::new());
    for _ in 0..100 {
        answer = runtime.block_on(client.retried(&PATIENT, || commit(&client, &prepared, &PATIENT)))?;
        if !matches!(answer, CommitAnswer::Again(_)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(answer == CommitAnswer::Committed, "{answer:?}");
    let moved = runtime.block_on(client.find_coordinator("moves"))?;
    ensure!(moved != coordinator, "the coordinator did not move");
    let outcome = runtime.block_on(classify(&client, &prepared, &PATIENT))?;
    ensure!(outcome == Outcome::Committed, "{outcome:?}");
    ensure!(judge.committed("moves", 100)?.len() == 9);
    judge.assert_nothing_is_open(&["moves"])
}
