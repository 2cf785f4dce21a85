//! Brokers that die and replies that get lost between a decision and its commit.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::Listener;
use e2e::kafka::proxy::END_TXN;
use e2e::kafka::{Broker, Judge, Options, Proxy, Version, Writer};
use runtime::connectors::kafka::client::{Class, Client, Code, Marker, Settings};
use runtime::connectors::kafka::outcome::{
    AbortAnswer, CommitAnswer, Outcome, PreparedTransaction, classify, committed, end, ready,
};

use super::stage::{BRIEF, LONG, PATIENT, Stage, abort, client, commit, plain, until};

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
        stage.wait(client.retried(&PATIENT, || commit(client, &prepared, &BRIEF)))?;
        let committed = stage.commit(&prepared)?;
        ensure!(committed == CommitAnswer::Committed, "{version:?}: {committed:?}");
        until(|| stage.visible("outlives"), |seen| *seen == 6)?;
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
    until(|| stage.classified(&prepared), |outcome| *outcome == Outcome::Committed)?;
    let again = stage.wait(commit(&through, &prepared, &BRIEF))?;
    ensure!(again == CommitAnswer::Committed, "{again:?}");
    until(|| stage.visible("reply"), |seen| *seen == 3)?;

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
    until(|| stage.visible("request"), |seen| *seen == 3)?;
    stage.judge.assert_nothing_is_open(&["reply", "request"])
}

/// Three nodes, each of which leads one partition that is nowhere else.
struct Three {
    nodes: Vec<Broker>,
    judge: Judge,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Three {
    fn new(properties: &[(&str, &str)]) -> Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let properties = properties.iter().map(owned).collect();
        let nodes = Broker::cluster(Version::Newest, &Options { properties, ..Options::default() }, 3)?;
        let addresses: Vec<_> = nodes.iter().map(Broker::address).collect();
        let judge = Judge::start(&addresses.join(","))?;
        let client = client(&Settings { bootstrap_servers: addresses, ..Settings::default() })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { nodes, judge, client, runtime })
    }

    fn prepare(&self, topic: &str, replication: u32) -> Result<PreparedTransaction> {
        self.judge.create_with(topic, 3, replication, &[])?;
        let addresses: Vec<_> = self.nodes.iter().map(Broker::address).collect();
        let writer = Writer::start(&addresses.join(","), topic, LONG)?;
        writer.write(&[(topic, 0), (topic, 1), (topic, 2)], 3)?;
        self.runtime.block_on(writer.prepare(&self.client))
    }

    fn coordinator(&self, id: &str) -> Result<i32> {
        Ok(self.runtime.block_on(self.client.retried(&PATIENT, || self.client.find_coordinator(id)))?)
    }

    /// The node with this id.
    fn node(&mut self, id: i32) -> Result<&mut Broker> {
        self.nodes.iter_mut().find(|node| node.id() == id).context("one of the three")
    }

    fn outcome(&self, prepared: &PreparedTransaction) -> Result<Outcome> {
        Ok(self.runtime.block_on(classify(&self.client, prepared, &PATIENT))?)
    }

    /// Commits, however often it takes.
    fn commit(&self, prepared: &PreparedTransaction) -> Result<CommitAnswer> {
        for tried in 0..100 {
            let answer =
                self.runtime.block_on(self.client.retried(&PATIENT, || commit(&self.client, prepared, &BRIEF)))?;
            if !matches!(answer, CommitAnswer::Again(_) | CommitAnswer::Ending(_)) {
                return Ok(answer);
            }
            std::thread::sleep(std::time::Duration::from_millis(20 + tried));
        }
        anyhow::bail!("it is not committed after a hundred tries")
    }

    fn abort(&self, prepared: &PreparedTransaction) -> Result<AbortAnswer> {
        Ok(self.runtime.block_on(abort(&self.client, prepared, &PATIENT))?)
    }
}

/// A paused leader is a leader still, as long as its session lasts: its marker waits.
#[test]
fn an_end_is_not_done_before_every_leader_has_its_marker() -> Result<()> {
    // A follower that says nothing is left behind soon, or the coordinator's own log would wait for it, too.
    let properties = [("broker.session.timeout.ms", "600000"), ("replica.lag.time.max.ms", "2000")];
    let mut three = Three::new(&properties)?;
    let prepared = three.prepare("waits", 1)?;
    let coordinator = three.coordinator("waits")?;
    let leaders = three.judge.topic("waits")?.leaders;
    let paused = leaders.into_iter().find(|leader| *leader != coordinator).context("three leaders")?;
    three.node(paused)?.pause()?;
    // The coordinator may be asked again: until its own log has left the follower behind it does not answer.
    let end = || {
        let end = || three.client.end_transaction("waits", prepared.producer(), true);
        three.runtime.block_on(three.client.retried(&PATIENT, end))
    };
    let (first, second) = (end()?, end()?);
    let again = three.runtime.block_on(commit(&three.client, &prepared, &BRIEF))?;
    three.node(paused)?.resume()?;
    let has_decided = [Code::NONE, Code::CONCURRENT_TRANSACTIONS].contains(&first);
    ensure!(has_decided, "the coordinator has decided, with or without an answer in time: {first}");
    ensure!(second == Code::CONCURRENT_TRANSACTIONS, "markers are being written: {second}");
    ensure!(again == CommitAnswer::Again(Code::CONCURRENT_TRANSACTIONS), "{again:?}");
    ensure!(three.commit(&prepared)? == CommitAnswer::Committed);
    ensure!(three.outcome(&prepared)? == Outcome::Committed);
    ensure!(three.judge.committed("waits", 100)?.len() == 9);
    three.judge.assert_nothing_is_open(&["waits"])
}

#[test]
fn a_commit_follows_its_coordinator_to_another_node() -> Result<()> {
    let mut three = Three::new(&[])?;
    let prepared = three.prepare("moves", 3)?;
    let coordinator = three.coordinator("moves")?;
    three.node(coordinator)?.kill()?;
    ensure!(three.commit(&prepared)? == CommitAnswer::Committed);
    ensure!(three.coordinator("moves")? != coordinator, "the coordinator did not move");
    let outcome = until(|| three.outcome(&prepared), |outcome| *outcome == Outcome::Committed)?;
    ensure!(outcome == Outcome::Committed);
    ensure!(three.judge.committed("moves", 100)?.len() == 9);
    three.judge.assert_nothing_is_open(&["moves"])
}

/// KAFKA-20734: a partition without a leader gets no marker, and the coordinator says that all is done. Readers of that
/// partition see nothing of what is committed elsewhere. The answer to `EndTxn` does not tell; the log does, and a commit
/// writes what is missing.
#[test]
fn a_torn_commit_is_told_by_the_log_and_mended_though_the_coordinator_calls_it_done() -> Result<()> {
    let mut three = Three::new(&[])?;
    let prepared = three.prepare("torn", 1)?;
    let coordinator = three.coordinator("torn")?;
    let leaders = three.judge.topic("torn")?.leaders;
    let dead = leaders.into_iter().find(|leader| *leader != coordinator).context("three leaders")?;
    three.node(dead)?.kill()?;
    until(|| Ok(three.judge.topic("torn")?.leaders), |leaders| leaders.contains(&-1))?;
    let (client, wait) = (&three.client, &three.runtime);
    let error = wait.block_on(ready(client, &prepared, &BRIEF)).err().context("one is without a leader")?;
    ensure!(error.class() == Class::Retry && error.to_string().contains("no leader"), "{error}");
    let code = wait.block_on(client.retried(&PATIENT, || end(client, &prepared, true)))?;
    ensure!(code == Code::NONE, "that is all that the coordinator says: {code}");
    let error = wait.block_on(committed(client, &prepared, code, &BRIEF)).err().context("nobody can say")?;
    ensure!(error.class() == Class::Retry, "{error}");
    // Kafka's admin client may trip over a node that is away.
    until(
        || Ok(three.judge.transaction("torn").ok().flatten()),
        |found| found.as_ref().is_some_and(|found| found.state == "CompleteCommit"),
    )?;
    three.node(dead)?.restart()?;
    ensure!(three.judge.committed("torn", 100)?.len() == 6, "Kafka has mended it: this test can go");
    let outcome = three.outcome(&prepared)?;
    ensure!(matches!(&outcome, Outcome::Torn(Marker::Commit, place) if place.contains("torn-")), "{outcome:?}");
    ensure!(three.judge.committed("torn", 100)?.len() == 6, "to look at it changes nothing");
    // The marker may be written by whoever asks first, and an abort that comes too late finds a commit.
    ensure!(three.abort(&prepared)? == AbortAnswer::Committed);
    ensure!(three.judge.committed("torn", 100)?.len() == 9);
    ensure!(three.commit(&prepared)? == CommitAnswer::Committed);
    ensure!(three.outcome(&prepared)? == Outcome::Committed);
    three.judge.assert_nothing_is_open(&["torn"])
}
