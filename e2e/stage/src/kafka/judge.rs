//! A long-lived Java process on Kafka's own client that tells what is in a broker, and does what a person would do to
//! it. It shares no code with the engine, nor librdkafka with the connector.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::broker::java;

/// The judge's own client, whatever version it judges.
const RELEASE: &str = "4.3.1";

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    #[serde(deserialize_with = "base64")]
    pub key: Option<Vec<u8>>,
    #[serde(deserialize_with = "base64")]
    pub value: Option<Vec<u8>>,
    /// Names, and values in base64.
    pub headers: Vec<(String, Option<String>)>,
}

impl Record {
    /// The value as text; empty for a tombstone or bytes that are none.
    pub fn text(&self) -> &str {
        self.value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// One partition's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Ends {
    pub partition: i32,
    /// First offset that is kept.
    pub begin: i64,
    /// Last stable offset: as far as a `read_committed` reader gets.
    pub stable: i64,
    pub end: i64,
}

/// What a coordinator says of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Transaction {
    pub id: String,
    pub state: String,
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub timeout_ms: i64,
    pub start_ms: Option<i64>,
    pub partitions: u32,
}

impl Transaction {
    /// Neither committed nor aborted.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "Ongoing" | "PrepareCommit" | "PrepareAbort")
    }
}

/// A producer that a partition knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Producer {
    pub producer_id: i64,
    pub producer_epoch: i32,
    /// First offset of its open transaction.
    pub begin: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Topic {
    pub name: String,
    pub id: String,
    /// By partition; -1 for none.
    pub leaders: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Test input: record n holds `{"n", "customer": n % keys, "cents": n * 7919 % 10007, "ts"}` and has the customer as its
/// key. `ts` is `begin_ms + (n - first)`, or the time of sending where a rate is given.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub first: u64,
    pub count: u64,
    pub keys: u64,
    pub begin_ms: i64,
    /// Records a second; 0 for as fast as can be.
    pub rate: u64,
}

/// An access rule for everybody's host.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// `User:name`.
    pub principal: &'a str,
    /// `TOPIC`, `TRANSACTIONAL_ID`, `CLUSTER` (named `kafka-cluster`), `GROUP`.
    pub resource: &'a str,
    /// `LITERAL` or `PREFIXED`.
    pub pattern: &'a str,
    pub name: &'a str,
    /// `READ`, `WRITE`, `DESCRIBE`, ...
    pub operation: &'a str,
}

/// The process. Requests are answered one after the other; every one ends within a minute of silence.
pub struct Judge {
    process: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _folder: tempfile::TempDir,
}

impl Judge {
    /// `bootstrap`: addresses, joined by commas.
    ///
    /// # Errors
    /// Java is missing.
    pub fn start(bootstrap: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-judge-").tempdir()?;
        let path = folder.path().join("judge.properties");
        std::fs::write(&path, format!("bootstrap.servers={bootstrap}\ndefault.api.timeout.ms=60000\n"))?;
        let mut command = java(RELEASE, &[], "Judge")?;
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("java")?;
        let pipes = process.stdin.take().zip(process.stdout.take()).context("both are piped")?;
        Ok(Self { process, pipes: Mutex::new((pipes.0, BufReader::new(pipes.1))), _folder: folder })
    }

    /// Fetches and compiles what it needs, for those who are about to go where nothing can be fetched.
    ///
    /// # Errors
    /// Java or Maven is missing.
    pub fn prepare() -> Result<()> {
        java(RELEASE, &[], "Judge").map(drop)
    }

    /// Asks; gives every line before the last to `each`, and answers what the last one says.
    fn ask<T: DeserializeOwned>(&self, request: &Value, mut each: impl FnMut(&str) -> Result<()>) -> Result<T> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, from) = &mut *pipes;
        writeln!(to, "{request}").and_then(|()| to.flush()).context("the judge is gone")?;
        let (mut line, mut failed) = (String::new(), None);
        loop {
            line.clear();
            ensure!(from.read_line(&mut line)? > 0, "the judge ended instead of answering {request}");
            if line.starts_with("{\"done\":") {
                let answer: Done<T> = serde_json::from_str(&line).with_context(|| line.clone())?;
                return failed.map_or(Ok(answer.done), Err);
            }
            if line.starts_with("{\"error\":") {
                bail!("the judge says to {request}: {line}");
            }
            // The rest must be read all the same, or the next answer would begin with it.
            if failed.is_none() {
                failed = each(&line).err();
            }
        }
    }

    fn tell(&self, request: &Value) -> Result<()> {
        self.ask::<Value>(request, |_| bail!("nothing is to be said here")).map(drop)
    }

    fn known<T: DeserializeOwned>(&self, request: &Value) -> Result<T> {
        self.ask(request, |_| bail!("nothing is to be said here"))
    }

    /// What a `read_committed` reader sees of a topic at this moment, by partition and offset.
    ///
    /// # Errors
    /// More than `most`, or what Kafka's client says.
    pub fn committed(&self, topic: &str, most: u64) -> Result<Vec<Record>> {
        self.records(topic, "read_committed", most)
    }

    /// All data records of a topic, also open and aborted ones.
    ///
    /// # Errors
    /// As [`Self::committed`].
    pub fn uncommitted(&self, topic: &str, most: u64) -> Result<Vec<Record>> {
        self.records(topic, "read_uncommitted", most)
    }

    /// As [`Self::committed`], one by one, in the order of offsets within each partition: for more than memory should hold.
    ///
    /// # Errors
    /// As there, and what `each` says.
    pub fn each_committed(&self, topic: &str, most: u64, each: impl FnMut(Record) -> Result<()>) -> Result<()> {
        self.each_record((topic, "read_committed"), most, each)
    }

    fn records(&self, topic: &str, isolation: &str, most: u64) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = vec![];
        self.each_record((topic, isolation), most, |record| {
            records.push(record);
            Ok(())
        })?;
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    fn each_record(
        &self,
        (topic, isolation): (&str, &str),
        most: u64,
        mut each: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let mut count = 0_u64;
        let request = json!({"op": "records", "topic": topic, "isolation": isolation, "most": most});
        let told: Value = self.ask(&request, |line| {
            count += 1;
            each(serde_json::from_str(line).with_context(|| line.to_owned())?)
        })?;
        ensure!(told["records"] == count, "{told} records were told, {count} came");
        Ok(())
    }

    /// # Errors
    /// What Kafka's client says.
    pub fn ends(&self, topic: &str) -> Result<Vec<Ends>> {
        self.known(&json!({"op": "ends", "topic": topic}))
    }

    /// All transactional ids that the coordinators know.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn transactions(&self) -> Result<Vec<Transaction>> {
        self.known(&json!({"op": "transactions"}))
    }

    /// What the coordinator of one id says; no other broker is asked.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn transaction(&self, id: &str) -> Result<Option<Transaction>> {
        let found: Vec<Transaction> = self.known(&json!({"op": "transaction", "id": id}))?;
        Ok(found.into_iter().next())
    }

    /// No transaction is open, and every reader gets to the end of `topics`.
    ///
    /// # Errors
    /// Which one is, or where readers are held up.
    pub fn assert_nothing_is_open(&self, topics: &[&str]) -> Result<()> {
        let open: Vec<_> = self.transactions()?.into_iter().filter(Transaction::is_open).collect();
        ensure!(open.is_empty(), "open transactions: {open:?}");
        for topic in topics {
            let held: Vec<_> = self.ends(topic)?.into_iter().filter(|ends| ends.stable != ends.end).collect();
            ensure!(held.is_empty(), "readers of {topic} are held up: {held:?}");
        }
        Ok(())
    }

    /// # Errors
    /// What Kafka's client says.
    pub fn producers(&self, topic: &str, partition: i32) -> Result<Vec<Producer>> {
        self.known(&json!({"op": "producers", "topic": topic, "partition": partition}))
    }

    /// # Errors
    /// What Kafka's client says; also if there is no such topic.
    pub fn topic(&self, topic: &str) -> Result<Topic> {
        let found: Vec<Topic> = self.known(&json!({"op": "topics", "topics": [topic]}))?;
        found.into_iter().next().context("the topic that was asked for")
    }

    /// Creates a topic with one replica; returns when its leaders answer.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn create(&self, topic: &str, partitions: u32) -> Result<()> {
        self.create_with(topic, partitions, 1, &[])
    }

    /// As [`Self::create`], with replicas and topic configuration.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn create_with(&self, topic: &str, partitions: u32, replication: u32, config: &[(&str, &str)]) -> Result<()> {
        let (op, config) = ("create", texts(config));
        self.tell(
            &json!({"op": op, "topic": topic, "partitions": partitions, "replication": replication, "config": config}),
        )
    }

    /// # Errors
    /// What Kafka's client says.
    pub fn delete(&self, topic: &str) -> Result<()> {
        self.tell(&json!({"op": "delete", "topic": topic}))
    }

    /// # Errors
    /// What Kafka's client says.
    pub fn add_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.tell(&json!({"op": "add_partitions", "topic": topic, "total": total}))
    }

    /// Deletes everything of a partition below `before`.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        self.tell(&json!({"op": "delete_records", "topic": topic, "partition": partition, "before": before}))
    }

    /// Sets topic configuration.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn configure(&self, topic: &str, config: &[(&str, &str)]) -> Result<()> {
        self.tell(&json!({"op": "configure", "topic": topic, "config": texts(config)}))
    }

    /// # Errors
    /// What Kafka's client says; the broker must be secured.
    pub fn allow(&self, rule: &Rule<'_>) -> Result<()> {
        self.tell(&rule.request("allow"))
    }

    /// # Errors
    /// As [`Self::allow`].
    pub fn withdraw(&self, rule: &Rule<'_>) -> Result<()> {
        self.tell(&rule.request("withdraw"))
    }

    /// # Errors
    /// What Kafka's client says.
    pub fn group_offsets(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.known(&json!({"op": "group_offsets", "group": group}))
    }

    /// Produces test input; returns when all of it is acknowledged.
    ///
    /// # Errors
    /// What Kafka's client says.
    pub fn produce(&self, topic: &str, input: &Input) -> Result<()> {
        let Input { first, count, keys, begin_ms, rate } = *input;
        let request = json!({"op": "produce", "topic": topic, "first": first, "count": count, "keys": keys, "begin_ms": begin_ms, "rate": rate});
        self.tell(&request)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Rule<'_> {
    fn request(&self, op: &str) -> Value {
        let Rule { principal, resource, pattern, name, operation } = self;
        json!({"op": op, "principal": principal, "resource": resource, "pattern": pattern, "name": name, "operation": operation})
    }
}

#[derive(Deserialize)]
struct Done<T> {
    done: T,
}

fn texts(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

fn base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    use ::base64::Engine as _;
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    let decode = |text: String| ::base64::engine::general_purpose::STANDARD.decode(text);
    text.map(decode).transpose().map_err(serde::de::Error::custom)
}
