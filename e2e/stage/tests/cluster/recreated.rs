//! A Pipeline that is deleted while what its commits need is away, and made again where it ended.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stand::{PIPELINES, Stand, condition, serial, until};
use crate::stream::{SUMS, Stream};

/// Keeps a Pipeline in sight when its controller has let it go: its last status names the handle.
const HOLD: &str = "example.com/hold";

/// Sums wait for the broker, rows for the bucket that has their log.
pub(crate) fn delete_and_make_again(stand: &Stand, stream: &mut Stream, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    let worker = serial(&stand.worker(name, 0)?);
    let mut before = stand.get(&path)?;
    let mut finalizers = finalizers(&before);
    ensure!(!finalizers.is_empty(), "its controller lets it go as it likes: {before}");
    finalizers.push(HOLD.to_owned());
    hold(stand, &path, &finalizers)?;
    if name == SUMS {
        stream.broker.kill()?;
    } else {
        stream.bucket.kill()?;
    }
    stand.delete(&path, false)?;
    let seen = until(&format!("somebody is to finish what {name} has decided, or nothing is left of it"), || {
        let is_newer = stand.workers(name)?.first().is_some_and(|newest| serial(newest) > worker);
        Ok((is_newer || self::finalizers(&stand.get(&path)?) == [HOLD]).then_some(()))
    });
    if name == SUMS {
        stream.broker.restart()?;
    } else {
        stream.bucket.start_again()?;
    }
    seen?;
    let mut last = until(&format!("{name} is let go"), || {
        let seen = stand.get(&path)?;
        Ok((self::finalizers(&seen) == [HOLD]).then_some(seen))
    })?;
    let status = last["status"].take();
    ensure!(condition(&status, "Ready").1 == "Deleted", "something is left: {status}");
    let handle = status.pointer("/checkpoints/lastCompleted/handle").context("a handle")?;
    hold(stand, &path, &[])?;
    until(&format!("{name} is gone, and its pods"), || Ok(stand.is_gone(name)?.then_some(())))?;
    let mut spec = before["spec"].take();
    spec["restoreFrom"] = json!({ "handle": handle });
    let [version, kind] = ["apiVersion", "kind"].map(|key| before[key].take());
    let again = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec });
    stand.create(PIPELINES, &again)?;
    stand.phase(name, "Running").map(drop)
}

fn finalizers(object: &Value) -> Vec<String> {
    let all = object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn hold(stand: &Stand, path: &str, finalizers: &[String]) -> Result<()> {
    stand.patch(path, &json!({ "metadata": { "finalizers": finalizers } }))
}
