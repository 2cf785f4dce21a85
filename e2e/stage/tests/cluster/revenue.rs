//! From topic to topic: orders in Kafka are summed by windows into another topic, while worker pods are deleted by force.
//! Judged by Kafka's own client and straight loops.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::PLANE;
use stage::kafka::judge::Input;
use stage::kafka::{Broker, Judge, Options, Version};

use crate::deaths::path_of;
use crate::installed::SHARED_CLAIM;
use crate::say;
use crate::stand::{PIPELINES, Stand, serial, until};

const INPUT: Input = Input { first: 0, count: 200_000, keys: 20, begin_ms: 1_767_225_600_000, rate: 0 };
const ORDERS: &str = "orders";
const REVENUE: &str = "revenue";
const WINDOW_MS: i64 = 1_000;
const DELETIONS: usize = 3;
/// Every batch that is read takes this much longer, so that there is time for several deaths.
const SLOW: &str = "worker.batch_read:*=pause:900ms";

/// Topics of a broker of its own, all of the input, and a Pipeline that takes its time over it.
pub(crate) struct Revenue {
    pub(crate) broker: Broker,
    judge: Judge,
}

impl Revenue {
    /// `faults`: crash points of each worker, if any.
    pub(crate) fn start(stand: &Stand, name: &str, faults: &str) -> Result<Self> {
        let broker = Broker::start(Version::Newest, &Options { host: Some(PLANE.to_owned()), ..Options::default() })?;
        let judge = Judge::start(&broker.address())?;
        judge.create(ORDERS, 2)?;
        judge.create(REVENUE, 2)?;
        judge.produce(ORDERS, &INPUT)?;
        let revenue = Self { broker, judge };
        stand.create(PIPELINES, &revenue.manifest(name, faults))?;
        Ok(revenue)
    }

    pub(crate) fn manifest(&self, name: &str, faults: &str) -> Value {
        let mut slow = manifest(name, &self.broker.address(), [ORDERS, REVENUE]);
        let faults = if faults.is_empty() { SLOW.to_owned() } else { format!("{faults},{SLOW}") };
        slow["spec"]["podTemplate"]["spec"]["containers"][0]["env"] =
            json!([{ "name": "ONCEWARD_CRASHPOINT", "value": faults }]);
        // What cannot be had is to be told soon.
        slow["spec"]["checkpoint"]["timeout"] = "30s".into();
        slow
    }

    pub(crate) fn visible(&self) -> Result<i64> {
        visible(&self.judge, REVENUE)
    }

    pub(crate) fn until_more_is_visible(&self) -> Result<()> {
        let before = self.visible()?;
        until("more sums are visible", || Ok((self.visible()? > before).then_some(())))
    }

    /// Every sum once and right, and no transaction open; how many there are.
    pub(crate) fn assert_exact(&self) -> Result<usize> {
        self.judge.assert_nothing_is_open(&[REVENUE])?;
        assert_exact(&self.judge, REVENUE, &INPUT)
    }
}

pub(crate) fn sums_from_topic_to_topic_outlive_forced_deletions(stand: &Stand) -> Result<()> {
    let revenue = Revenue::start(stand, "revenue", "")?;
    let mut than = 0;
    for _ in 0..DELETIONS {
        let worker = stand.worker("revenue", than)?;
        than = serial(&worker);
        revenue.until_more_is_visible()?;
        stand.delete(&path_of(&worker)?, true)?;
    }
    let done = stand.phase("revenue", "Finished")?;
    ensure!(done["workers"]["serial"].as_u64() > Some(u64::try_from(DELETIONS)?), "{done}");
    let counted = revenue.assert_exact()?;
    say(&format!("revenue: {counted} sums, {DELETIONS} pods deleted by force"));
    stand.forget("revenue")
}

/// Offsets of a topic up to which readers of committed records get.
pub(crate) fn visible(judge: &Judge, topic: &str) -> Result<i64> {
    Ok(judge.ends(topic)?.iter().map(|ends| ends.stable).sum())
}

/// Orders of one topic summed by windows into another, each customer's for each second.
pub(crate) fn manifest(name: &str, bootstrap: &str, [from, to]: [&str; 2]) -> Value {
    let source = json!({
        "name": "orders",
        "kafka": { "connection": "main", "topics": [from], "startFrom": "Earliest", "until": "Latest" },
        "columns": [{ "name": "customer", "type": "BIGINT" }, { "name": "cents", "type": "BIGINT" }],
        "metadata": [{ "column": "at", "from": "timestamp" }],
        "eventTime": { "column": "at", "maxOutOfOrderness": "5s" },
    });
    let sums = "SELECT window_start, customer, SUM(cents) AS total, COUNT(*) AS orders \
                FROM TUMBLE(orders, at, INTERVAL '1 second') GROUP BY window_start, window_end, customer";
    let volume = json!({ "name": "data", "persistentVolumeClaim": { "claimName": SHARED_CLAIM } });
    let container = json!({ "name": "worker", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": name },
        "spec": {
            "parallelism": 2,
            "connections": [{ "name": "main", "kafka": { "bootstrapServers": [bootstrap] } }],
            "sources": [source],
            "transforms": [{ "name": "summed", "sql": sums }],
            "sinks": [{
                "name": "out", "input": "summed",
                "kafka": { "connection": "main", "topic": to, "key": ["customer"] },
            }],
            "checkpoint": { "interval": "1s", "storage": { "local": { "path": format!("/data/{name}/state") } } },
            "podTemplate": { "spec": { "volumes": [volume], "containers": [container] } },
        },
    })
}

/// Every sum of the input once and right, as a reader of committed records sees it; how many there are.
pub(crate) fn assert_exact(judge: &Judge, topic: &str, input: &Input) -> Result<usize> {
    let mut wanted: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for n in input.first..input.first + input.count {
        let at = input.begin_ms + i64::try_from(n - input.first)?;
        let window = k8s_openapi::jiff::Timestamp::from_millisecond(at - at % WINDOW_MS)?.to_string();
        let sum = wanted.entry((window, n % input.keys)).or_default();
        *sum = (sum.0 + n * 7919 % 10_007, sum.1 + 1);
    }
    let mut found: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for record in judge.committed(topic, 10 * u64::try_from(wanted.len())?)? {
        let row: Value = serde_json::from_str(record.text()).with_context(|| format!("{record:?}"))?;
        let field = |name: &str| row[name].as_u64().with_context(|| format!("{name} of {row}"));
        let window = row["window_start"].as_str().with_context(|| row.to_string())?;
        let window = window.parse::<k8s_openapi::jiff::Timestamp>().with_context(|| row.to_string())?.to_string();
        let key = (window, field("customer")?);
        ensure!(found.insert(key, (field("total")?, field("orders")?)).is_none(), "it comes twice: {row}");
    }
    let missing = wanted.keys().filter(|key| !found.contains_key(*key)).count();
    ensure!(missing == 0, "{missing} of {} sums are missing", wanted.len());
    ensure!(found == wanted, "sums are wrong, or were never asked for");
    Ok(found.len())
}
