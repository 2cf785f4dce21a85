//! A broker, its judge and a raw client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kafka::judge::Transaction;
use e2e::kafka::{Broker, Judge, Options, Version, Writer};
use runtime::clock::{SystemClock, SystemRandom};
use runtime::connectors::kafka::client::{Backoff, Client, Code, Error, Ports, Settings};
use runtime::connectors::kafka::outcome::{
    AbortAnswer, CommitAnswer, Outcome, PreparedTransaction, aborted, classify, committed, end, ready,
};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_mins(10);
/// For what does not tell, however often one asks.
pub(crate) const BRIEF: Backoff =
    Backoff { first: Duration::from_millis(20), most: Duration::from_millis(200), tries: 5 };
/// As long as a broker may take to come back.
pub(crate) const PATIENT: Backoff =
    Backoff { first: Duration::from_millis(20), most: Duration::from_millis(500), tries: 60 };
const LOOK: Duration = Duration::from_millis(20);
const MOST_LOOKS: usize = 3_000;

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) judge: Judge,
    pub(crate) client: Client,
    runtime: tokio::runtime::Runtime,
}

pub(crate) fn client(settings: &Settings) -> Result<Client> {
    let ports = Ports { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
    Ok(Client::new(settings, ports)?)
}

pub(crate) fn plain(address: String) -> Settings {
    Settings { bootstrap_servers: vec![address], ..Settings::default() }
}

/// Ends it and asks what that came to.
pub(crate) async fn commit(
    client: &Client,
    prepared: &PreparedTransaction,
    backoff: &Backoff,
) -> Result<CommitAnswer, Error> {
    ready(client, prepared, backoff).await?;
    let code = end(client, prepared, true).await?;
    committed(client, prepared, code, backoff).await
}

pub(crate) async fn abort(
    client: &Client,
    prepared: &PreparedTransaction,
    backoff: &Backoff,
) -> Result<AbortAnswer, Error> {
    ready(client, prepared, backoff).await?;
    let code = end(client, prepared, false).await?;
    aborted(client, prepared, code, backoff).await
}

impl Stage {
    pub(crate) fn new(version: Version, options: &Options) -> Result<Self> {
        let broker = Broker::start(version, options)?;
        let judge = Judge::start(&broker.address())?;
        let client = client(&plain(broker.address()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { broker, judge, client, runtime })
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Three records on each partition of a topic of that name (made if `partitions` is not 0), open, and their writer gone.
    pub(crate) fn prepare(
        &self,
        id: &str,
        topic: &str,
        partitions: u32,
        timeout: Duration,
    ) -> Result<PreparedTransaction> {
        if partitions > 0 {
            self.judge.create(topic, partitions)?;
        }
        let places: Vec<_> = (0..partitions.max(1) as i32).map(|partition| (topic, partition)).collect();
        let writer = Writer::start(&self.broker.address(), id, timeout)?;
        writer.write(&places, 3)?;
        self.wait(writer.prepare(&self.client))
    }

    /// One transaction on a topic of its own.
    pub(crate) fn alone(&self, name: &str) -> Result<PreparedTransaction> {
        self.prepare(name, name, 1, LONG)
    }

    /// What a bare `EndTxn` is answered, asked again while the broker is busy.
    pub(crate) fn end(&self, prepared: &PreparedTransaction, is_commit: bool) -> Result<Code> {
        for _ in 0..MOST_LOOKS {
            let (id, producer) = (&prepared.transactional_id, prepared.producer());
            let code = self.wait(self.client.end_transaction(id, producer, is_commit))?;
            if code != Code::CONCURRENT_TRANSACTIONS {
                return Ok(code);
            }
            std::thread::sleep(LOOK);
        }
        anyhow::bail!("the broker stays busy")
    }

    pub(crate) fn classified(&self, prepared: &PreparedTransaction) -> Result<Outcome> {
        Ok(self.wait(classify(&self.client, prepared, &BRIEF))?)
    }

    pub(crate) fn commit(&self, prepared: &PreparedTransaction) -> Result<CommitAnswer> {
        until(
            || Ok(self.wait(commit(&self.client, prepared, &BRIEF))?),
            |answer| !matches!(answer, CommitAnswer::Again(_) | CommitAnswer::Ending(_)),
        )
    }

    pub(crate) fn abort(&self, prepared: &PreparedTransaction) -> Result<AbortAnswer> {
        until(
            || Ok(self.wait(abort(&self.client, prepared, &BRIEF))?),
            |answer| !matches!(answer, AbortAnswer::Again(_) | AbortAnswer::Ending(_)),
        )
    }

    pub(crate) fn until_state(&self, id: &str, state: &str) -> Result<Option<Transaction>> {
        until(|| self.judge.transaction(id), |found| found.as_ref().is_some_and(|found| found.state == state))
    }

    /// Records that Kafka's own client sees committed, each once.
    pub(crate) fn visible(&self, topic: &str) -> Result<usize> {
        let records = self.judge.committed(topic, 1_000)?;
        let mut values: Vec<_> = records.iter().map(|record| (record.partition, record.text().to_owned())).collect();
        values.sort();
        values.dedup();
        ensure!(values.len() == records.len(), "{topic}: records are there twice: {records:?}");
        Ok(records.len())
    }
}

/// Looks until it is so.
pub(crate) fn until<T: std::fmt::Debug>(look: impl Fn() -> Result<T>, is_so: impl Fn(&T) -> bool) -> Result<T> {
    for _ in 0..MOST_LOOKS {
        let seen = look()?;
        if is_so(&seen) {
            return Ok(seen);
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("it does not become so: {:?}", look()?)
}
