//! What a person's cluster has beside it: a broker, a bucket and a Prometheus in its network, and a Secret for the bucket.
//! A process of its own holds them for as long as the cluster is up; taking the cluster down ends it with all others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::cluster::{Cluster, PLANE};
use crate::kafka::{Broker, Options, Version};
use crate::monitored::{Monitored, rendered};
use crate::s3::{ACCESS_KEY_ID, Gateway, SECRET_ACCESS_KEY};

/// The bucket, and the Secret with `id` and `secret` that opens it, in the namespace `default`.
pub const BUCKET: &str = "onceward";
const LOOK: Duration = Duration::from_secs(2);
/// Libraries and programs may have to be fetched and built first.
const MOST_LOOKS: u32 = 600;

/// Addresses by the names of variables.
pub type Addresses = BTreeMap<String, String>;

fn record(cluster: &Cluster) -> PathBuf {
    cluster.layout().folder().join("company.json")
}

/// Where they are; starts them first if they are not there yet. `keeper`: a program that calls [`keep`].
///
/// # Errors
/// One of them does not start; what was said is in the cluster's folder.
pub fn of(cluster: &Cluster, keeper: &mut Command) -> Result<Addresses> {
    let (record, log) = (record(cluster), cluster.layout().folder().join("company.log"));
    if !record.exists() {
        let folder = cluster.layout().folder().join("company");
        std::fs::create_dir_all(&folder)?;
        // What they write goes with the cluster's folder.
        let process = cluster.start_beside(keeper.env("TMPDIR", folder), "company")?;
        for _ in 0..MOST_LOOKS {
            if record.exists() {
                break;
            }
            ensure!(process.is_alive(), "the broker, the bucket or Prometheus did not start; see {}", log.display());
            std::thread::sleep(LOOK);
        }
    }
    let text = std::fs::read(&record).with_context(|| format!("they do not start; see {}", log.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Starts them, writes down where they are, and keeps telling Prometheus which pods there are. Does not return.
///
/// # Errors
/// One of them does not start.
pub fn keep(cluster: &Cluster) -> Result<()> {
    let broker = Broker::start(Version::Newest, &Options { host: Some(PLANE.to_owned()), ..Options::default() })?;
    let gateway = Gateway::start_at(PLANE)?;
    std::fs::create_dir(gateway.buckets().join(BUCKET))?;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": BUCKET, "namespace": "default" },
        "stringData": { "id": ACCESS_KEY_ID, "secret": SECRET_ACCESS_KEY } });
    cluster.apply(&secret.to_string())?;
    let monitored = Monitored::start(&rendered()?)?;
    // It listens a moment after its start.
    let mut looks = 0;
    while monitored.prometheus.alerts()?.is_none() {
        looks += 1;
        ensure!(looks < MOST_LOOKS, "Prometheus does not listen: {}", monitored.prometheus.said());
        std::thread::sleep(LOOK);
    }
    let addresses = [
        ("KAFKA", broker.address()),
        ("S3_ENDPOINT", gateway.endpoint()),
        ("PROMETHEUS", format!("http://{}", monitored.prometheus.address())),
    ];
    let addresses: Addresses = addresses.into_iter().map(|(name, address)| (name.to_owned(), address)).collect();
    // As a whole or not at all.
    let part = record(cluster).with_extension("part");
    std::fs::write(&part, serde_json::to_vec(&addresses)?)?;
    std::fs::rename(part, record(cluster))?;
    loop {
        // A look that fails is taken again.
        let _ = monitored.look(cluster);
        std::thread::sleep(LOOK);
    }
}
