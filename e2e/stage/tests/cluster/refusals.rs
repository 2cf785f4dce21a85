//! What keeps a Pipeline from running, and that its conditions say it: a quota, Pod Security and a Secret that is not there.
//! What is mended runs.

use anyhow::Result;
use serde_json::{Value, json};

use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::outages::Bucket;
use crate::stand::{NAMESPACE, PIPELINES, Stand, condition, until};

fn orders(name: &'static str, storage: Option<Value>) -> Orders {
    Orders { name, rows: 3_000, rows_per_second: 1_000, claim: SHARED_CLAIM, storage }
}

/// Waits until `Ready` is false for this reason, in words that hold `words`.
fn told(stand: &Stand, name: &str, reason: &str, words: &str) -> Result<()> {
    stand.status(name, &format!("{reason}: {words}"), |status| {
        let (ready, why, message) = condition(status, "Ready");
        ready == "False" && (reason.is_empty() || why == reason) && message.contains(words)
    })?;
    Ok(())
}

fn done(stand: &Stand, orders: &Orders) -> Result<Value> {
    let done = stand.phase(orders.name, "Finished")?;
    orders.assert_exact_and_tidy(&stand.cluster.layout().shared())?;
    stand.forget(orders.name)?;
    Ok(done)
}

pub(crate) fn what_keeps_a_pod_from_being_made_is_told(stand: &Stand) -> Result<()> {
    let quotas = format!("/api/v1/namespaces/{NAMESPACE}/resourcequotas");
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    stand.create(&quotas, &quota)?;
    // It is enforced once it is counted.
    until("the quota is counted", || Ok(stand.get(&format!("{quotas}/none"))?.pointer("/status/hard/pods").map(drop)))?;
    let limited = orders("limited", None);
    stand.create(PIPELINES, &limited.manifest())?;
    told(stand, "limited", "PodNotCreated", "exceeded quota: none")?;
    stand.delete(&format!("{quotas}/none"), false)?;
    done(stand, &limited)?;

    let unsafe_one = orders("host-network", None);
    let mut manifest = unsafe_one.manifest();
    manifest["spec"]["podTemplate"]["spec"]["hostNetwork"] = true.into();
    stand.create(PIPELINES, &manifest)?;
    told(stand, "host-network", "PodNotCreated", "violates PodSecurity")?;
    let mended = json!({ "spec": { "podTemplate": { "spec": { "hostNetwork": null } } } });
    stand.patch(&format!("{PIPELINES}/host-network"), &mended)?;
    done(stand, &unsafe_one)?;
    Ok(())
}

/// A kubelet says so in an event and nowhere else.
pub(crate) fn a_secret_that_is_not_there_is_told(stand: &Stand) -> Result<()> {
    let bucket = Bucket::start(stand, "absent")?;
    stand.delete(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/absent"), false)?;
    let mut manifest = orders("absent", Some(bucket.storage("absent"))).manifest();
    // Nobody can look into its log, so that its end is waited for to the last.
    manifest["spec"]["deletionTimeout"] = "5s".into();
    stand.create(PIPELINES, &manifest)?;
    told(stand, "absent", "PodNotStarting", "secret \"absent\" not found")?;
    stand.forget("absent")
}
