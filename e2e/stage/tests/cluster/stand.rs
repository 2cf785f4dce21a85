//! What scenarios do on the shared cluster, and how they wait. Of the API server's objects they see the JSON: what a
//! person sees, too.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use serde_json::{Value, json};
use stage::cluster::{Cluster, NODES, Node, node_name};
use stage::kubernetes::{Answer, Body, call};
use tokio::runtime::{Builder, Runtime};

use crate::say;

/// Where Pipelines are.
pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const PIPELINES: &str = "/apis/onceward.dev/v1alpha1/namespaces/shop/pipelines";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const LOOK: Duration = Duration::from_millis(100);
/// Five minutes, and the time that looking takes.
const MOST_LOOKS: u32 = 3_000;
/// A request that takes longer is tried again.
const MOST_CALL: Duration = Duration::from_secs(20);

/// The shared cluster, from within its network.
pub(crate) struct Stand {
    pub(crate) cluster: Cluster,
    client: Client,
    runtime: Runtime,
}

impl Stand {
    pub(crate) fn begin(cluster: Cluster) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(cluster.client())?;
        Ok(Self { cluster, client, runtime })
    }

    fn wait_for<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async { tokio::time::timeout(MOST_CALL, answer).await.context("no answer")? })
    }

    fn call(&self, method: &str, path: &str, body: Body<'_>) -> Result<Answer> {
        self.wait_for(call(&self.client, method, path, body)).with_context(|| format!("{method} {path}"))
    }

    /// An object, or a list of them.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let answer = self.call("GET", path, Body::None)?;
        ensure!(answer.is_success(), "{path}: {}", answer.message());
        Ok(answer.body)
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self.call("POST", path, Body::Json(object))?;
        ensure!(answer.is_success(), "{path}: {}", answer.message());
        Ok(answer.body)
    }

    /// Merges into an object.
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        let answer = self.call("PATCH", path, Body::Patch("application/merge-patch+json", patch))?;
        ensure!(answer.is_success(), "{path}: {}", answer.message());
        Ok(())
    }

    /// Deletes with or without (`is_forced`) time to end.
    pub(crate) fn delete(&self, path: &str, is_forced: bool) -> Result<()> {
        let options = if is_forced { json!({ "gracePeriodSeconds": 0 }) } else { json!({}) };
        let answer = self.call("DELETE", path, Body::Json(&options))?;
        ensure!(answer.is_success(), "{path}: {}", answer.message());
        Ok(())
    }

    /// The status of a Pipeline once it is as wanted.
    pub(crate) fn status(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let path = format!("{PIPELINES}/{name}");
        let mut seen = Value::Null;
        let found = until(&format!("{name}: {what}"), || {
            seen = self.get(&path)?["status"].take();
            Ok(wanted(&seen).then(|| seen.clone()))
        });
        found.with_context(|| format!("last seen: {seen:#}"))
    }

    pub(crate) fn phase(&self, name: &str, phase: &str) -> Result<Value> {
        self.status(name, phase, |status| status["phase"] == phase)
    }

    /// Worker pods of a Pipeline, the newest one first.
    pub(crate) fn workers(&self, name: &str) -> Result<Vec<Value>> {
        let mut list = self.get(&format!("{PODS}?labelSelector=onceward.dev%2Fpipeline%3D{name}"))?;
        let Value::Array(mut pods) = list["items"].take() else { bail!("no list: {list}") };
        pods.sort_by_key(|pod| std::cmp::Reverse(serial(pod)));
        Ok(pods)
    }

    /// The newest worker pod once its container runs, if it is newer than `than`.
    pub(crate) fn worker(&self, name: &str, than: u64) -> Result<Value> {
        until(&format!("a worker of {name} newer than {than} runs"), || {
            let newest = self.workers(name)?.into_iter().next();
            let runs =
                |pod: &Value| !pod.pointer("/status/containerStatuses/0/state/running").is_none_or(Value::is_null);
            Ok(newest.filter(|pod| serial(pod) > than && runs(pod)))
        })
    }

    /// The node that a pod is on.
    pub(crate) fn node_of(&self, pod: &Value) -> Result<Node<'_>> {
        let name = pod["spec"]["nodeName"].as_str().context("it is on no node")?;
        let number = (1..=NODES).find(|number| node_name(*number) == name).with_context(|| name.to_owned())?;
        Ok(self.cluster.node(number))
    }

    /// The only process of a pod's container, as this machine counts.
    pub(crate) fn process_of(&self, pod: &Value) -> Result<i32> {
        let (uid, id) = container_of(pod)?;
        let processes = self.node_of(pod)?.processes(uid, id)?;
        let [process] = processes.as_slice() else { bail!("the container has the processes {processes:?}") };
        Ok(*process)
    }

    /// What the newest event about a Pipeline says that has this reason.
    pub(crate) fn event(&self, name: &str, reason: &str) -> Result<String> {
        let list = self.get(&format!("/api/v1/namespaces/{NAMESPACE}/events"))?;
        let is_it = |event: &&Value| event["involvedObject"]["name"] == name && event["reason"] == reason;
        let found = list["items"].as_array().into_iter().flatten().rfind(is_it);
        let found = found.and_then(|event| event["message"].as_str()).map(str::to_owned);
        found.with_context(|| format!("no event {reason} about {name}"))
    }

    /// Whether any worker pod of a Pipeline that is still there has said this.
    pub(crate) fn has_said(&self, name: &str, what: &str) -> Result<bool> {
        let of = format!("--selector=onceward.dev/pipeline={name}");
        Ok(self.cluster.told(&["logs", "--namespace", NAMESPACE, &of, "--tail=-1"])?.contains(what))
    }

    /// Whether there is no such Pipeline, and no pod of it.
    pub(crate) fn is_gone(&self, name: &str) -> Result<bool> {
        Ok(self.call("GET", &format!("{PIPELINES}/{name}"), Body::None)?.status == 404
            && self.workers(name)?.is_empty())
    }

    /// A claim for a volume of the cluster's.
    pub(crate) fn claim(&self, name: &str) -> Result<()> {
        let claim = json!({
            "metadata": { "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        });
        self.create(&format!("/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"), &claim).map(drop)
    }

    /// Everything of the Pipeline goes; its output stays.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let path = format!("{PIPELINES}/{name}");
        self.delete(&path, false)?;
        until(&format!("{name} is gone, and its pods"), || Ok(self.is_gone(name)?.then_some(())))
    }

    /// What a person would look at first.
    pub(crate) fn describe(&self) {
        let questions: [&[&str]; 5] = [
            &["get", "nodes,pods,pipelines", "-A", "-o", "wide"],
            &["describe", "pipelines", "--namespace", NAMESPACE],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &["logs", "--namespace", NAMESPACE, "--selector=onceward.dev/pipeline", "--tail=40", "--prefix"],
            &["logs", "--namespace", "onceward-system", "deployment/onceward-controller", "--tail=40", "--all-pods"],
        ];
        for question in questions {
            let answer = self.cluster.told(question).unwrap_or_else(|error| format!("{error:#}"));
            say(&format!("--- kubectl {}\n{answer}", question.join(" ")));
        }
    }
}

/// Waits for a condition. A look that fails is taken again: servers are killed here.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut last = None;
    for _ in 0..MOST_LOOKS {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => last = None,
            Err(error) => last = Some(error),
        }
        std::thread::sleep(LOOK);
    }
    bail!("it never came to this: {what}{}", last.map_or(String::new(), |error| format!(": {error:#}")))
}

/// Ids of a pod and of its container.
pub(crate) fn container_of(pod: &Value) -> Result<(&str, &str)> {
    let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
    let id = pod.pointer("/status/containerStatuses/0/containerID").and_then(Value::as_str);
    Ok((uid, id.context("a container")?))
}

/// Of the newest checkpoint; 0: there is none.
pub(crate) fn epoch(status: &Value) -> u64 {
    status.pointer("/checkpoints/lastCompleted/epoch").and_then(Value::as_u64).unwrap_or_default()
}

/// A condition's status, reason and message.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let all = status["conditions"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|condition| condition["type"] == kind);
    let text = |name: &str| found.and_then(|condition| condition[name].as_str()).unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

/// The how-manieth pod of its Pipeline it is.
pub(crate) fn serial(pod: &Value) -> u64 {
    let label = pod["metadata"]["labels"]["onceward.dev/serial"].as_str();
    label.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A process that runs, or is not done dying.
pub(crate) fn is_alive(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn kill(process: i32) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    Ok(kill_process(Pid::from_raw(process).context("an id")?, Signal::KILL)?)
}
