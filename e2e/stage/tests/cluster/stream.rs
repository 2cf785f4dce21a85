//! Orders that come in all the time, and two Pipelines that read them from a topic: sums by windows go to another topic, rows
//! to files, with the log in a bucket. Judged by Kafka's own client and straight loops.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::PLANE;
use stage::kafka::judge::Input;
use stage::kafka::{Broker, Judge, Options, Version};

use crate::orders::{each_row, hidden, visible};
use crate::outages::Bucket;
use crate::stand::{PIPELINES, Stand, until};
use crate::{Begin, revenue, upgrades};

pub(crate) const SUMS: &str = "chaos-sums";
pub(crate) const ROWS: &str = "chaos-rows";
pub(crate) const BOTH: [&str; 2] = [SUMS, ROWS];
const ORDERS: &str = "chaos-orders";
const REVENUE: &str = "chaos-revenue";
/// Every record is a millisecond later than the one before.
const INPUT: Input = Input { first: 0, count: 0, keys: 20, begin_ms: 1_767_225_600_000, rate: 0 };
/// So many come each second.
const PIECE: u64 = 1_000;
/// What comes last is a day later, so that every window before it is complete.
const DAY_MS: i64 = 86_400_000;
const TAIL: u64 = 200;
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Stream {
    pub(crate) broker: Broker,
    pub(crate) bucket: Bucket,
    judge: Judge,
    /// Where the second Pipeline's files lie on this machine.
    rows: PathBuf,
}

impl Stream {
    /// Both Pipelines are made; nothing comes yet.
    pub(crate) fn start(stand: &Stand) -> Result<Self> {
        let broker = Broker::start(Version::Newest, &Options { host: Some(PLANE.to_owned()), ..Options::default() })?;
        let bucket = Bucket::start(stand, ROWS)?;
        upgrades::make_next(stand)?;
        let judge = Judge::start(&broker.address())?;
        for topic in [ORDERS, REVENUE] {
            judge.create(topic, 2)?;
        }
        for mut pipeline in [sums(&broker.address()), rows(&broker.address(), bucket.storage("log"))] {
            let name = pipeline["metadata"]["name"].clone();
            let source = &mut pipeline["spec"]["sources"][0]["kafka"];
            source.as_object_mut().context("a source")?.remove("until");
            source["groupId"] = name;
            // They die often here: pauses would only grow.
            pipeline["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 1_000_000, "delay": "500ms" } });
            stand.create(PIPELINES, &pipeline)?;
        }
        let rows = stand.cluster.layout().shared().join(ROWS).join("rows");
        Ok(Self { broker, bucket, judge, rows })
    }

    /// Returns when more of the output of both is visible.
    pub(crate) fn until_both_go_on(&self) -> Result<()> {
        // The folder comes with the first output.
        let seen = || -> Result<_> { Ok((revenue::visible(&self.judge, REVENUE)?, visible(&self.rows).unwrap_or(0))) };
        let before = until("the broker tells what is visible", || seen().map(Some))?;
        until("more sums and rows are visible", || {
            let now = seen()?;
            Ok((now.0 > before.0 && now.1 > before.1).then_some(()))
        })
    }

    /// The end of the input, behind `count` orders; returns when both Pipelines are through, and stopped.
    pub(crate) fn end(&self, stand: &Stand, count: u64) -> Result<()> {
        let tail = Input { first: count, count: TAIL, begin_ms: INPUT.begin_ms + DAY_MS, ..INPUT };
        self.judge.produce(ORDERS, &tail)?;
        for name in BOTH {
            // Told to the group after each checkpoint.
            until(&format!("{name} is through"), || {
                let told: i64 = self.judge.group_offsets(name)?.iter().map(|found| found.offset).sum();
                Ok((told == i64::try_from(count + TAIL)?).then_some(()))
            })?;
            stand.patch(&format!("{PIPELINES}/{name}"), &json!({ "spec": { "suspend": true } }))?;
        }
        for name in BOTH {
            let stopped = stand.phase(name, "Suspended")?;
            ensure!(stopped["pendingCommittables"] == 0, "{stopped}");
        }
        Ok(())
    }

    /// Every order and every sum is there once and right, no transaction is open and nothing hidden is left; how many sums.
    pub(crate) fn assert_exact_and_tidy(&self, count: u64) -> Result<usize> {
        let sums = revenue::assert_exact(&self.judge, REVENUE, &Input { count, ..INPUT })?;
        self.judge.assert_nothing_is_open(&[REVENUE])?;
        let mut times = vec![0_u8; usize::try_from(count + TAIL)?];
        each_row(&self.rows, |row| {
            let n = row["n"].as_u64().with_context(|| row.to_string())?;
            ensure!(row["customer"] == n % INPUT.keys && row["cents"] == n * 7919 % 10_007, "{row}");
            let times = times.get_mut(usize::try_from(n)?).with_context(|| format!("order {n} was never made"))?;
            *times = times.saturating_add(1);
            Ok(())
        })?;
        let missing = times.iter().filter(|times| **times < 1).count();
        let doubled = times.iter().filter(|times| **times > 1).count();
        ensure!(missing == 0 && doubled == 0, "{} orders, missing {missing}, doubled {doubled}", times.len());
        let left = hidden(&self.rows)?;
        ensure!(left.is_empty(), "left over: {left:?}");
        Ok(sums)
    }
}

/// Orders at a steady rate, or as many as are due after the broker was away, until it is enough; how many.
pub(crate) fn feed(broker: &str, enough: &AtomicBool) -> Result<u64> {
    let source = Judge::start(broker)?;
    let (begin, mut first) = (Begin::now(), 0);
    while !enough.load(Ordering::SeqCst) {
        let due = (begin.seconds() * PIECE as f64) as u64 / PIECE * PIECE;
        if due > first {
            let begin_ms = INPUT.begin_ms + i64::try_from(first)?;
            source.produce(ORDERS, &Input { first, count: due - first, begin_ms, ..INPUT }).context("input")?;
            first = due;
        }
        std::thread::sleep(LOOK);
    }
    Ok(first)
}

fn sums(bootstrap: &str) -> Value {
    revenue::manifest(SUMS, bootstrap, [ORDERS, REVENUE])
}

fn rows(bootstrap: &str, storage: Value) -> Value {
    let mut pipeline = revenue::manifest(ROWS, bootstrap, [ORDERS, REVENUE]);
    let column = |name: &str| json!({ "name": name, "type": "BIGINT" });
    let spec = &mut pipeline["spec"];
    spec["sources"][0]["columns"] = json!([column("n"), column("customer"), column("cents")]);
    spec["transforms"] = json!([{ "name": "copied", "sql": "SELECT n, customer, cents FROM orders" }]);
    spec["sinks"] = json!([{ "name": "rows", "input": "copied", "files": { "path": format!("/data/{ROWS}/rows") } }]);
    spec["checkpoint"]["storage"] = storage;
    pipeline
}
