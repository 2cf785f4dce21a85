//! A pipeline from topics to files, and the judge's word on what must be in them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::kafka::judge::{Input, Record};
use e2e::kafka::{Broker, Judge, Options, Version};
use e2e::site::Site;
use onceward::child::{Child, Ended};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use runtime::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// More than any test produces.
pub(crate) const MOST: u64 = 1_000_000;
/// Event times near now: retention goes by them.
pub(crate) const BEGIN_MS: i64 = 1_795_000_000_000;
const LOOK: Duration = Duration::from_millis(20);
const MOST_LOOKS: usize = 3_000;

/// A broker and its judge.
pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) judge: Judge,
}

impl Cluster {
    pub(crate) fn new() -> Result<Self> {
        let broker = Broker::start(Version::Newest, &Options::default())?;
        let judge = Judge::start(&broker.address())?;
        Ok(Self { broker, judge })
    }

    /// One that the tests of this process share, for as long as any of them needs it: each has topics of its own.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return Ok(cluster);
        }
        let cluster = Arc::new(Self::new()?);
        *shared = Arc::downgrade(&cluster);
        Ok(cluster)
    }

    pub(crate) fn produce(&self, topic: &str, first: u64, count: u64) -> Result<()> {
        self.judge.produce(topic, &Input { first, count, keys: 97, begin_ms: BEGIN_MS + first as i64, rate: 0 })
    }

    /// Adds partitions; returns when each has a leader.
    pub(crate) fn grow(&self, topic: &str, total: u32) -> Result<()> {
        self.judge.add_partitions(topic, total)?;
        let clock = SystemClock;
        let begun = clock.monotonic();
        loop {
            let leaders = self.judge.topic(topic)?.leaders;
            if leaders.len() == total as usize && leaders.iter().all(|leader| *leader >= 0) {
                return Ok(());
            }
            ensure!(clock.monotonic().saturating_sub(begun) < Duration::from_secs(30), "leaders: {leaders:?}");
        }
    }

    /// Records with these values, to one partition.
    pub(crate) fn put(&self, topic: &str, partition: i32, values: &[Option<&str>]) -> Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.address()).set("message.timeout.ms", "20000");
        let producer: BaseProducer = config.create()?;
        for value in values {
            let header = |value| Header { key: "trace", value };
            // A name twice, a value that is no text, and none at all.
            let headers = OwnedHeaders::new()
                .insert(header(Some(b"one".as_slice())))
                .insert(header(Some(b"\xff\0".as_slice())))
                .insert(header(None::<&[u8]>));
            let record = BaseRecord::<str, str>::to(topic).partition(partition).headers(headers);
            let record = match value {
                Some(value) => record.key("k").payload(*value),
                None => record.key("gone"),
            };
            producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(producer.flush(Duration::from_secs(20))?)
    }
}

/// What the manifest says of the source.
pub(crate) struct Source<'a> {
    pub(crate) topics: &'a [&'a str],
    /// Further fields of `kafka`, as `until: Latest`.
    pub(crate) more: &'a str,
    /// Of the connection.
    pub(crate) properties: &'a str,
    pub(crate) parallelism: u32,
}

impl Default for Source<'_> {
    fn default() -> Self {
        Self { topics: &["orders"], more: "", properties: "topic.metadata.refresh.interval.ms: 200", parallelism: 2 }
    }
}

/// Bytes and metadata of every record, into files.
pub(crate) struct Copy {
    site: Site,
    topics: Vec<String>,
}

impl Deref for Copy {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// A record as both sides tell it: partition, offset, milliseconds, key, value, headers.
pub(crate) type Told = (i64, i64, i64, Option<String>, Option<String>, String);

impl Copy {
    pub(crate) fn new(cluster: &Cluster, source: &Source<'_>) -> Result<Self> {
        let mut site = Site::new()?;
        let out = site.folder().join("out");
        let Source { topics, more, properties, parallelism } = source;
        let manifest = format!(
            "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: copy}}
spec:
  parallelism: {parallelism}
  connections:
  - name: main
    kafka: {{bootstrapServers: [\"{address}\"], properties: {{{properties}}}}}
  sources:
  - name: orders
    kafka: {{connection: main, topics: [{topics}], {more}}}
    format: {{raw: {{}}}}
    columns: [{{name: v, type: VARBINARY}}]
    metadata:
    - {{column: k, from: key}}
    - {{column: p, from: partition}}
    - {{column: o, from: offset}}
    - {{column: at, from: timestamp}}
    - {{column: h, from: headers}}
  transforms:
  - {{name: told, sql: \"SELECT p, o, CAST(at AS BIGINT) AS at, k, v, h FROM orders\"}}
  sinks:
  - {{name: out, input: told, files: {{path: {out}/}}, format: {{json: {{}}}}}}
  checkpoint:
    interval: 100ms
    storage: {{local: {{path: {state}}}}}
",
            address = cluster.broker.address(),
            topics = topics.join(", "),
            out = out.display(),
            state = site.state.display(),
        );
        std::fs::write(&site.manifest, manifest)?;
        site.sinks = vec![out];
        Ok(Self { site, topics: topics.iter().map(ToString::to_string).collect() })
    }

    /// Everything that is visible in the output.
    pub(crate) fn told(&self) -> Result<Vec<Told>> {
        let mut told = vec![];
        for (path, bytes) in self.visible()? {
            for line in std::str::from_utf8(&bytes)?.lines() {
                let row: Value = serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?;
                let number = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {line}"));
                let text = |name: &str| row[name].as_str().map(ToOwned::to_owned);
                let headers = text("h").context("headers")?;
                told.push((number("p")?, number("o")?, number("at")? / 1_000, text("k"), text("v"), headers));
            }
        }
        Ok(told)
    }

    /// The output is these records, each once.
    pub(crate) fn assert_holds(&self, expected: &BTreeSet<Told>) -> Result<()> {
        let told = self.told()?;
        let distinct: BTreeSet<_> = told.iter().cloned().collect();
        let missing: Vec<_> = expected.difference(&distinct).take(3).collect();
        let wrong: Vec<_> = distinct.difference(expected).take(3).collect();
        ensure!(
            told.len() == distinct.len() && missing.is_empty() && wrong.is_empty(),
            "{} rows, {} of them distinct, where {} are right; missing {missing:?}; wrong {wrong:?}; {}",
            told.len(),
            distinct.len(),
            expected.len(),
            self.describe()
        );
        Ok(())
    }

    /// The output is what the judge reads of the only topic.
    pub(crate) fn assert_exact(&self, cluster: &Cluster) -> Result<BTreeSet<Told>> {
        let [topic] = self.topics.as_slice() else { bail!("one topic") };
        let expected = committed(cluster, topic)?;
        self.assert_holds(&expected)?;
        Ok(expected)
    }

    /// Waits until so many rows are visible, while the run lives.
    pub(crate) fn wait_for_rows(&self, child: &Child, count: usize) -> Result<()> {
        for _ in 0..MOST_LOOKS {
            if self.told()?.len() >= count {
                return Ok(());
            }
            ensure!(child.outlives(LOOK), "the run ended before {count} rows were visible, at {}", self.told()?.len());
        }
        bail!("{count} rows did not become visible, but {}", self.told()?.len())
    }
}

/// What the judge reads of a topic.
pub(crate) fn committed(cluster: &Cluster, topic: &str) -> Result<BTreeSet<Told>> {
    let records = cluster.judge.committed(topic, MOST)?;
    Ok(records.iter().map(told).collect())
}

fn told(record: &Record) -> Told {
    let (key, value) = (record.key.as_deref().map(hex), record.value.as_deref().map(hex));
    (i64::from(record.partition), record.offset, record.timestamp, key, value, headers(record))
}

fn headers(record: &Record) -> String {
    use base64::Engine as _;
    let one = |(name, value): &(String, Option<String>)| {
        let bytes = value.as_ref().map(|value| base64::engine::general_purpose::STANDARD.decode(value).unwrap());
        let name = serde_json::to_string(name).unwrap();
        match bytes.map(String::from_utf8) {
            None => format!("{{\"name\":{name},\"value\":null}}"),
            Some(Ok(text)) => format!("{{\"name\":{name},\"value\":{}}}", serde_json::to_string(&text).unwrap()),
            Some(Err(error)) => format!("{{\"name\":{name},\"hex\":\"{}\"}}", hex(error.as_bytes())),
        }
    };
    format!("[{}]", record.headers.iter().map(one).collect::<Vec<_>>().join(","))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Asks a run to stop, and waits until it has.
pub(crate) fn stop(child: Child) -> Result<Ended> {
    let id = Pid::from_raw(child.id().cast_signed()).context("a child has an id")?;
    kill_process(id, Signal::TERM)?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    Ok(ended)
}
