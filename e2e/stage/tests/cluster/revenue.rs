//! From topic to topic: orders in Kafka are summed by windows into another topic, while worker pods are deleted by force.
//! Judged by Kafka's own client and straight loops.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::cluster::PLANE;
use stage::kafka::judge::Input;
use stage::kafka::{Broker, Judge, Options, Version};

use crate::installed::SHARED_CLAIM;
use crate::say;
use crate::stand::{NAMESPACE, PIPELINES, Stand, serial, until};

const INPUT: Input = Input { first: 0, count: 200_000, keys: 20, begin_ms: 1_767_225_600_000, rate: 0 };
const WINDOW_MS: i64 = 1_000;
const DELETIONS: usize = 3;
/// Every batch that is read takes this much longer, so that there is time for several deaths.
const SLOW: &str = "worker.batch_read:*=pause:900ms";

pub(crate) fn sums_from_topic_to_topic_outlive_forced_deletions(stand: &Stand) -> Result<()> {
    let broker = Broker::start(Version::Newest, &Options { host: Some(PLANE.to_owned()), ..Options::default() })?;
    let judge = Judge::start(&broker.address())?;
    judge.create("orders", 2)?;
    judge.create("revenue", 2)?;
    judge.produce("orders", &INPUT)?;
    stand.create(PIPELINES, &manifest(&broker.address()))?;
    let mut than = 0;
    for _ in 0..DELETIONS {
        let worker = stand.worker("revenue", than)?;
        than = serial(&worker);
        let before = visible(&judge)?;
        until("more sums are visible", || Ok((visible(&judge)? > before).then_some(())))?;
        let name = worker["metadata"]["name"].as_str().context("a name")?;
        stand.delete(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"), true)?;
    }
    let done = stand.phase("revenue", "Finished")?;
    ensure!(done["workers"]["serial"].as_u64() > Some(u64::try_from(DELETIONS)?), "{done}");
    let counted = assert_exact(&judge)?;
    judge.assert_nothing_is_open(&["revenue"])?;
    say(&format!("revenue: {counted} sums, {DELETIONS} pods deleted by force"));
    stand.forget("revenue")
}

/// Offsets up to which readers of committed records get.
fn visible(judge: &Judge) -> Result<i64> {
    Ok(judge.ends("revenue")?.iter().map(|ends| ends.stable).sum())
}

fn manifest(bootstrap: &str) -> Value {
    let source = json!({
        "name": "orders",
        "kafka": { "connection": "main", "topics": ["orders"], "startFrom": "Earliest", "until": "Latest" },
        "columns": [{ "name": "customer", "type": "BIGINT" }, { "name": "cents", "type": "BIGINT" }],
        "metadata": [{ "column": "at", "from": "timestamp" }],
        "eventTime": { "column": "at", "maxOutOfOrderness": "5s" },
    });
    let sums = "SELECT window_start, customer, SUM(cents) AS total, COUNT(*) AS orders \
                FROM TUMBLE(orders, at, INTERVAL '1 second') GROUP BY window_start, window_end, customer";
    let volume = json!({ "name": "data", "persistentVolumeClaim": { "claimName": SHARED_CLAIM } });
    let container = json!({
        "name": "worker", "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        "env": [{ "name": "ONCEWARD_CRASHPOINT", "value": SLOW }],
    });
    json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": "revenue" },
        "spec": {
            "parallelism": 2,
            "connections": [{ "name": "main", "kafka": { "bootstrapServers": [bootstrap] } }],
            "sources": [source],
            "transforms": [{ "name": "summed", "sql": sums }],
            "sinks": [{
                "name": "out", "input": "summed",
                "kafka": { "connection": "main", "topic": "revenue", "key": ["customer"] },
            }],
            "checkpoint": { "interval": "1s", "storage": { "local": { "path": "/data/revenue/state" } } },
            "podTemplate": { "spec": { "volumes": [volume], "containers": [container] } },
        },
    })
}

/// Every sum once and right, as a reader of committed records sees it; how many there are.
fn assert_exact(judge: &Judge) -> Result<usize> {
    let mut wanted: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for n in 0..INPUT.count {
        let at = INPUT.begin_ms + i64::try_from(n)?;
        let window = k8s_openapi::jiff::Timestamp::from_millisecond(at - at % WINDOW_MS)?.to_string();
        let sum = wanted.entry((window, n % INPUT.keys)).or_default();
        *sum = (sum.0 + n * 7919 % 10_007, sum.1 + 1);
    }
    let mut found: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for record in judge.committed("revenue", 10 * u64::try_from(wanted.len())?)? {
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
