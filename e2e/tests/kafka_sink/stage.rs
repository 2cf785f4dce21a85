//! A broker with its judge, and pipelines from a generator to a topic: row k is known by its number.

use std::collections::BTreeMap;
use std::ops::Deref;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::Listener;
use e2e::kafka::judge::Record;
use e2e::kafka::{Broker, Judge, Options, Proxy, Version};
use e2e::stage::Site;
use onceward::child::Ended;
use serde_json::Value;

/// Brokers for many pipelines, each with topics of its own.
pub(crate) struct Cluster {
    nodes: Vec<Broker>,
    pub(crate) judge: Judge,
}

impl Cluster {
    /// Of one broker.
    pub(crate) fn new(version: Version, options: &Options) -> Result<Self> {
        Self::of(1, version, options)
    }

    pub(crate) fn of(nodes: usize, version: Version, options: &Options) -> Result<Self> {
        let nodes = Broker::cluster(version, options, nodes)?;
        let judge = Judge::start(&bootstrap(&nodes))?;
        Ok(Self { nodes, judge })
    }

    /// Of one broker, which is reached through a proxy.
    pub(crate) fn proxied() -> Result<(Proxy, Self)> {
        let proxy = Proxy::start()?;
        let options = Options { proxy: Some(proxy.port()), ..Options::default() };
        let mut cluster = Self::new(Version::Newest, &options)?;
        proxy.forward_to(cluster.broker()?.address_of(Listener::Proxied)?);
        Ok((proxy, cluster))
    }

    /// The only broker.
    pub(crate) fn broker(&mut self) -> Result<&mut Broker> {
        self.node(1)
    }

    pub(crate) fn node(&mut self, id: i32) -> Result<&mut Broker> {
        self.nodes.iter_mut().find(|node| node.id() == id).with_context(|| format!("there is no node {id}"))
    }

    /// Kafka's admin client may list nothing any more once it has seen a node go ("unexpected key set").
    pub(crate) fn renew_judge(&mut self) -> Result<()> {
        self.judge = Judge::start(&bootstrap(&self.nodes))?;
        Ok(())
    }

    /// Addresses of all nodes at one kind of listener.
    pub(crate) fn bootstrap(&self, listener: Listener) -> Result<String> {
        let addresses = self.nodes.iter().map(|node| node.address_of(listener)).collect::<Result<Vec<_>>>()?;
        Ok(addresses.join(","))
    }

    /// The node that coordinates a transactional id, by Kafka's rule: the leader of one partition of its own topic.
    pub(crate) fn coordinator(&self, id: &str) -> Result<i32> {
        let leaders = self.judge.topic("__transaction_state")?.leaders;
        let hash = id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let leader = leaders.get((hash & i32::MAX) as usize % leaders.len()).context("a partition")?;
        ensure!(*leader > 0, "{id} has no coordinator at the moment");
        Ok(*leader)
    }
}

/// As Kafka's own clients spread keys.
fn murmur2(key: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

fn bootstrap(nodes: &[Broker]) -> String {
    nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",")
}

/// What a pipeline is like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) topic: String,
    pub(crate) partitions: u32,
    pub(crate) replication: u32,
    /// Sinks, each with a topic of its own (`<topic>`, `<topic>-2`, ...).
    pub(crate) sinks: u32,
    pub(crate) rows: u64,
    pub(crate) rows_per_second: u64,
    pub(crate) parallelism: u32,
    /// More of the connection's `kafka`.
    pub(crate) connection: String,
    /// What the sink is fed with, beside `id` and `customer`: an expression with a name.
    pub(crate) also: String,
    /// More of a sink's `kafka`.
    pub(crate) sink: String,
    /// More of `checkpoint`.
    pub(crate) checkpoint: String,
}

impl Shape {
    /// To be struck after some checkpoints: also on a machine where they take long, there are rows left by then.
    pub(crate) fn struck(topic: &str) -> Self {
        Self { rows: 10_000, rows_per_second: 2_000, ..Self::new(topic) }
    }

    pub(crate) fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions: 3,
            replication: 1,
            sinks: 1,
            rows: 40_000,
            rows_per_second: 20_000,
            parallelism: 1,
            connection: String::new(),
            also: "0 AS zero".to_owned(),
            sink: String::new(),
            checkpoint: String::new(),
        }
    }

    fn topics(&self) -> Vec<String> {
        let further = (2..=self.sinks).map(|number| format!("{}-{number}", self.topic));
        std::iter::once(self.topic.clone()).chain(further).collect()
    }

    fn manifest(&self, bootstrap: &str) -> String {
        let Self { topic, rows, rows_per_second, parallelism, connection, also, sink, checkpoint, .. } = self;
        let bootstrap = bootstrap.split(',').map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
        let sinks = self.topics().into_iter().enumerate().map(|(number, topic)| {
            format!("  - {{name: out{number}, input: rows, kafka: {{connection: main, topic: {topic}, key: [customer]{sink}}}}}\n")
        });
        format!(
            "apiVersion: onceward.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: {topic}}}\nspec:\n  parallelism: {parallelism}\n  \
             connections:\n  - {{name: main, kafka: {{bootstrapServers: [{bootstrap}]{connection}}}}}\n  sources:\n  - name: numbers\n    \
             generator: {{rows: {rows}, rowsPerSecond: {rows_per_second}, seed: 5}}\n    columns:\n    \
             - {{name: id, type: BIGINT, generate: {{sequence: {{start: 0}}}}}}\n    \
             - {{name: customer, type: BIGINT, generate: {{random: {{min: 0, max: 99}}}}}}\n  \
             transforms:\n  - {{name: rows, sql: \"SELECT id, customer, {also} FROM numbers\"}}\n  sinks:\n{}  \
             checkpoint: {{interval: 100ms, timeout: 20s, tolerableFailedCheckpoints: 3, storage: {{local: {{path: state}}}}{checkpoint}}}\n  \
             restartPolicy: {{fixedDelay: {{attempts: 1000, delay: 100ms}}}}\n",
            sinks.collect::<String>()
        )
    }
}

/// A pipeline and what it should have written.
pub(crate) struct Stage<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) shape: Shape,
    site: Site,
}

impl Deref for Stage<'_> {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl<'c> Stage<'c> {
    /// Makes topics and manifest.
    pub(crate) fn new(cluster: &'c Cluster, shape: Shape) -> Result<Self> {
        Self::with_bootstrap(cluster, shape, &bootstrap(&cluster.nodes))
    }

    /// As [`Self::new`], over another way to the brokers.
    pub(crate) fn with_bootstrap(cluster: &'c Cluster, shape: Shape, bootstrap: &str) -> Result<Self> {
        for topic in shape.topics() {
            cluster.judge.create_with(&topic, shape.partitions, shape.replication, &[])?;
        }
        let site = Site::new()?;
        std::fs::write(&site.manifest, shape.manifest(bootstrap))?;
        Ok(Self { cluster, shape, site })
    }

    /// Runs undisturbed and as fast as can be: nobody waits for a checkpoint of it.
    pub(crate) fn run_out(&self, more: &[&str]) -> Result<Ended> {
        let rate = |rows: u64| format!("rowsPerSecond: {rows},");
        let text = std::fs::read_to_string(&self.manifest)?;
        std::fs::write(&self.manifest, text.replace(&rate(self.shape.rows_per_second), &rate(1_000_000)))?;
        self.run_well_with(more)
    }

    /// Gives the folder away, so that the cluster can be struck.
    pub(crate) fn into_site(self) -> Site {
        self.site
    }

    /// Back in a folder that was given away.
    pub(crate) fn again(cluster: &'c Cluster, shape: Shape, site: Site) -> Self {
        Self { cluster, shape, site }
    }

    /// Every row once, in order within its key where one subtask wrote, and nothing is open.
    pub(crate) fn assert_exact(&self) -> Result<()> {
        self.assert_rows()?;
        let topics = self.shape.topics();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.cluster.judge.assert_nothing_is_open(&topics)
    }

    /// Every row once, in order within its key where one subtask wrote.
    pub(crate) fn assert_rows(&self) -> Result<()> {
        for topic in self.shape.topics() {
            let records = self.cluster.judge.committed(&topic, self.shape.rows * 2)?;
            // Whether readers are held up tells what is missing from what is not visible yet.
            let ends = || self.cluster.judge.ends(&topic);
            self.compare(&records).with_context(|| format!("topic {topic}: {:?}; {}", ends(), self.describe()))?;
        }
        Ok(())
    }

    fn compare(&self, records: &[Record]) -> Result<()> {
        let mut times = vec![0_u32; self.shape.rows as usize];
        // Of each key its partition and its last row.
        let mut keys: BTreeMap<Vec<u8>, (i32, u64)> = BTreeMap::new();
        let mut reordered = Vec::new();
        for record in records {
            let row: Value = serde_json::from_str(record.text()).with_context(|| format!("{record:?}"))?;
            let id = row["id"].as_u64().with_context(|| format!("{row}"))?;
            *times.get_mut(id as usize).with_context(|| format!("row {id} was never made"))? += 1;
            let key = record.key.clone().context("a key")?;
            ensure!(key == format!("{{\"customer\":{}}}", row["customer"]).into_bytes(), "{record:?}");
            let (partition, last) = keys.entry(key).or_insert((record.partition, id));
            ensure!(*partition == record.partition, "a key in two partitions: {record:?}");
            let java = (murmur2(record.key.as_deref().unwrap_or_default()) & i32::MAX) % self.shape.partitions as i32;
            ensure!(record.partition == java, "Kafka's own clients would take partition {java}: {record:?}");
            if *last > id {
                reordered.push((*last, id));
            }
            *last = id;
        }
        let missing: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times == 0).map(|(id, _)| id).collect();
        let doubled: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times > 1).map(|(id, _)| id).collect();
        let some = |ids: &[usize]| format!("{} ({:?}...)", ids.len(), ids.iter().take(5).collect::<Vec<_>>());
        ensure!(
            missing.is_empty() && doubled.is_empty(),
            "{} rows, missing {}, doubled {}",
            self.shape.rows,
            some(&missing),
            some(&doubled)
        );
        ensure!(self.shape.parallelism > 1 || reordered.is_empty(), "{} reordered: {reordered:?}", reordered.len());
        Ok(())
    }
}
