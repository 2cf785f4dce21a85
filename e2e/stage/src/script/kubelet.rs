//! Scheduler, kubelets and the collector of what lost its owner, in one task that wakes when something is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::report::{WorkerReport, WorkerState};
use api::token::{Untrusted, Verifier};
use checkpoint::ids::PipelineId;
use serde_json::{Value, json};

use super::log::Store;
use super::worker::{Control, Ended, Purpose, Start, Worker};
use crate::inprocess::{Key, NODES, PODS, Server, rfc3339};

/// From one checkpoint to the next.
pub(super) const INTERVAL_MS: u64 = 1_000;
/// From a pod to its node, and from there to its process.
const SCHEDULE_MS: u64 = 50;
const START_MS: u64 = 150;
/// What has lost its owner goes so much later.
const COLLECT_MS: u64 = 500;
const NODES_THERE: [&str; 2] = ["node-a", "node-b"];

/// When a worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Unclaimed,
    Claimed,
    Recovered,
    /// Between this decision of its own and the commit.
    Decided(u64),
    Committed(u64),
}

/// How a worker dies.
#[derive(Clone, Debug, PartialEq)]
pub struct Death {
    pub at: Moment,
    /// 0 without words: it does not end, and does nothing more.
    pub code: i32,
    /// State and reason of its last words, where it has any.
    pub words: Option<(WorkerState, String)>,
}

impl Death {
    /// SIGKILL.
    pub fn killed(at: Moment) -> Self {
        Self { at, code: 137, words: None }
    }
}

/// What is to happen.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Units of input; the last one ends the run.
    pub units: u64,
    /// Of the processes, in the order of their starts by Pipeline.
    pub deaths: Vec<Option<Death>>,
}

/// A cluster around a server. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    server: Server,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    script: Script,
    /// By namespace and name of the Pipeline: a store outlives the object.
    stores: BTreeMap<String, Store>,
    started: BTreeMap<String, usize>,
    /// Pods that got a node.
    admitted: u32,
    /// By uid of the pod.
    processes: BTreeMap<String, Process>,
    lost: Vec<String>,
    collect_ms: Option<u64>,
    /// Of the server, after which was collected.
    orphanings: u64,
    /// Told when something was done that no change of an object tells of.
    stirred: tokio::sync::watch::Sender<u64>,
}

struct Process {
    pod: Key,
    node: String,
    store: String,
    /// None: its node is chosen, its process not there yet.
    worker: Option<Worker>,
    address: String,
    wake_ms: u64,
    begun_ms: u64,
    is_told: bool,
    kill_ms: Option<u64>,
}

/// Of the pod with this number: on loopback, so that it can be listened at.
pub fn address(number: u32) -> String {
    format!("127.3.{}.{}", number / 250 % 250, number % 250)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Cluster {
    /// With two nodes that are well.
    pub fn new(server: Server, script: Script) -> Self {
        for node in NODES_THERE {
            server.put(&Key::new(&NODES, "", node), node_status("True"));
        }
        let (stirred, _) = tokio::sync::watch::channel(0);
        let inner = Inner {
            script,
            stores: BTreeMap::new(),
            started: BTreeMap::new(),
            admitted: 0,
            processes: BTreeMap::new(),
            lost: vec![],
            collect_ms: None,
            orphanings: 0,
            stirred,
        };
        Self { server, inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store of a Pipeline.
    pub fn store(&self, namespace: &str, name: &str) -> Store {
        self.with(|inner| inner.stores.get(&format!("{namespace}/{name}")).cloned().unwrap_or_default())
    }

    /// Nothing can be committed for a Pipeline, or everything again.
    pub fn block(&self, namespace: &str, name: &str, is_blocked: bool) {
        self.with(|inner| inner.stores.entry(format!("{namespace}/{name}")).or_default().is_blocked = is_blocked);
    }

    /// Each checkpoint of a Pipeline fails, or none any more.
    pub fn fail_checkpoints(&self, namespace: &str, name: &str, is_failing: bool) {
        self.with(|inner| inner.stores.entry(format!("{namespace}/{name}")).or_default().is_failing = is_failing);
    }

    /// Processes that were started for a Pipeline.
    pub fn started(&self, namespace: &str, name: &str) -> usize {
        self.with(|inner| inner.started.get(&format!("{namespace}/{name}")).copied().unwrap_or_default())
    }

    /// Processes that live, wherever.
    pub fn living(&self) -> usize {
        self.with(|inner| inner.processes.values().filter(|process| process.worker.is_some()).count())
    }

    /// What a worker at this address answers.
    pub fn ask(&self, address: &str) -> Option<WorkerReport> {
        self.with(|inner| {
            let process = inner.processes.values().find(|process| process.address == address)?;
            let is_seen = !inner.lost.contains(&process.node);
            process.worker.as_ref().filter(|worker| is_seen && !worker.is_mute).map(|worker| worker.report.clone())
        })
    }

    /// Whether the worker at this address lets whoever has this token read its report.
    pub fn may_look(&self, address: &str, token: &str) -> bool {
        let now_ms = self.server.clock().now_ms();
        self.with(|inner| {
            let process = inner.processes.values().find(|process| process.address == address);
            process.and_then(|process| process.worker.as_ref()).is_none_or(|worker| worker.may_look(token, now_ms))
        })
    }

    /// A token for the worker at this address; None: there is none, or none that takes requests.
    pub fn request(&self, address: &str, token: &str) -> Option<Result<(), Untrusted>> {
        let now_ms = self.server.clock().now_ms();
        let asked = self.with(|inner| {
            let process = inner.processes.values_mut().find(|process| process.address == address)?;
            process.worker.as_mut()?.asks(token, now_ms)
        });
        self.stir();
        asked
    }

    /// Nobody hears of a node any more; what runs there runs on.
    pub fn lose(&self, node: &str) {
        self.with(|inner| inner.lost.push(node.to_owned()));
        self.server.edit(&Key::new(&NODES, "", node), |object| *object = with_status(object, &node_status("Unknown")));
        self.stir();
    }

    /// It is back.
    pub fn find(&self, node: &str) {
        self.with(|inner| inner.lost.retain(|lost| lost != node));
        self.server.edit(&Key::new(&NODES, "", node), |object| *object = with_status(object, &node_status("True")));
        self.stir();
    }

    /// The node that a pod is on.
    pub fn node_of(&self, pod: &Key) -> Option<String> {
        let found = self.server.get(pod)?;
        Some(text(&found, "/spec/nodeName").to_owned()).filter(|node| !node.is_empty())
    }

    /// A node needs its memory for something else.
    pub fn evict(&self, pod: &Key) {
        if let Some(object) = self.server.get(pod) {
            self.with(|inner| inner.processes.remove(text(&object, "/metadata/uid")));
            self.server.edit(pod, |object| {
                let condition =
                    json!({ "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" });
                object["status"] = json!({ "phase": "Failed", "reason": "Evicted", "conditions": [condition] });
            });
        }
    }

    fn stir(&self) {
        self.with(|inner| inner.stirred.send_modify(|count| *count += 1));
    }

    /// Works until it is dropped.
    pub async fn work(self) {
        let (mut news, mut stirred) = (self.server.news(), self.with(|inner| inner.stirred.subscribe()));
        let mut has_news = true;
        loop {
            news.mark_unchanged();
            stirred.mark_unchanged();
            let wake_ms = self.look(has_news);
            let clock = self.server.clock();
            tokio::select! {
                biased;
                _ = news.changed() => has_news = true,
                _ = stirred.changed() => has_news = true,
                () = clock.until(wake_ms.unwrap_or_default()), if wake_ms.is_some() => has_news = false,
            }
        }
    }

    /// Does what is due; when something is due next.
    fn look(&self, has_news: bool) -> Option<u64> {
        let now_ms = self.server.clock().now_ms();
        let pods = if has_news { self.server.list(&PODS) } else { vec![] };
        self.with(|inner| {
            if has_news {
                inner.obey(&self.server, &pods, now_ms);
            }
            inner.go_on(&self.server, now_ms)
        })
    }
}

fn node_status(ready: &str) -> Value {
    json!({ "metadata": {}, "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
}

fn with_status(object: &Value, status: &Value) -> Value {
    let mut object = object.clone();
    object["status"] = status["status"].clone();
    object
}

impl Inner {
    /// Does what pods say.
    fn obey(&mut self, server: &Server, pods: &[(Key, Arc<Value>)], now_ms: u64) {
        for (key, pod) in pods {
            let uid = text(pod, "/metadata/uid");
            let is_over = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
            let is_leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
            // One whose process has ended out of sight still looks as if it ran.
            let is_new = text(pod, "/spec/nodeName").is_empty() && !self.processes.contains_key(uid);
            if !is_over && !is_leaving && is_new {
                self.admit(key, pod, now_ms);
            }
            if is_leaving {
                self.leave(server, key, pod, now_ms);
            }
        }
        let uids: BTreeSet<&str> = pods.iter().map(|(_, pod)| text(pod, "/metadata/uid")).collect();
        let lost = self.lost.clone();
        // A process goes with its pod, where its node hears of that.
        self.processes.retain(|uid, process| lost.contains(&process.node) || uids.contains(uid.as_str()));
    }

    /// Lets processes go on whose time has come; when the next one's comes.
    fn go_on(&mut self, server: &Server, now_ms: u64) -> Option<u64> {
        let due: Vec<String> = self
            .processes
            .iter()
            .filter(|(_, process)| process.due_ms() <= now_ms)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            self.step(server, &uid, now_ms);
        }
        self.collect(server, now_ms);
        self.processes.values().map(Process::due_ms).chain(self.collect_ms).min().map(|ms| ms.max(now_ms + 1))
    }

    fn collect(&mut self, server: &Server, now_ms: u64) {
        if self.collect_ms.is_some_and(|collect_ms| now_ms >= collect_ms) {
            self.collect_ms = None;
            server.collect();
        }
        let orphanings = server.orphanings();
        if self.collect_ms.is_none() && orphanings > self.orphanings {
            self.orphanings = orphanings;
            self.collect_ms = Some(now_ms + COLLECT_MS);
        }
    }

    /// Chooses a node.
    fn admit(&mut self, key: &Key, pod: &Value, now_ms: u64) {
        let Some(node) = NODES_THERE.into_iter().find(|node| !self.lost.iter().any(|lost| lost == node)) else {
            return;
        };
        let pipeline = text(pod, "/metadata/labels/onceward.dev~1pipeline");
        let number = self.admitted;
        self.admitted += 1;
        let process = Process {
            pod: key.clone(),
            node: node.to_owned(),
            store: format!("{}/{pipeline}", key.namespace),
            worker: None,
            address: address(number),
            wake_ms: now_ms + SCHEDULE_MS,
            begun_ms: now_ms,
            is_told: false,
            kill_ms: None,
        };
        self.processes.insert(text(pod, "/metadata/uid").to_owned(), process);
    }

    /// A pod that is to go.
    fn leave(&mut self, server: &Server, key: &Key, pod: &Value, now_ms: u64) {
        let grace = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or_default();
        match self.processes.get_mut(text(pod, "/metadata/uid")) {
            Some(process) if self.lost.contains(&process.node) => {}
            Some(process) => {
                if !process.is_told {
                    process.is_told = true;
                    process.kill_ms = Some(now_ms + grace * 1_000);
                    if let Some(worker) = &mut process.worker {
                        worker.stop(now_ms);
                    }
                }
                if process.worker.is_none() {
                    self.processes.remove(text(pod, "/metadata/uid"));
                    server.remove(key);
                }
            }
            // Its process has ended, or was never there.
            None if self.lost.iter().any(|lost| lost == text(pod, "/spec/nodeName")) => {}
            None => server.remove(key),
        }
    }

    fn step(&mut self, server: &Server, uid: &str, now_ms: u64) {
        let Some(process) = self.processes.get_mut(uid) else { return };
        let is_lost = self.lost.contains(&process.node);
        let Some(pod) = server.get(&process.pod).filter(|pod| text(pod, "/metadata/uid") == uid) else {
            // Of a pod that is gone, on a node that nobody hears of.
            self.step_worker(server, uid, now_ms);
            return;
        };
        if process.worker.is_some() {
            self.step_worker(server, uid, now_ms);
        } else if is_lost {
            process.wake_ms = u64::MAX;
        } else if text(&pod, "/spec/nodeName").is_empty() {
            process.wake_ms = now_ms + START_MS;
            let node = process.node.clone();
            server.edit(&process.pod, |pod| pod["spec"]["nodeName"] = node.into());
        } else {
            self.start(server, uid, &pod, now_ms);
        }
    }

    fn start(&mut self, server: &Server, uid: &str, pod: &Value, now_ms: u64) {
        let Some(process) = self.processes.get_mut(uid) else { return };
        let number = self.started.entry(process.store.clone()).or_default();
        let death = self.script.deaths.get(*number).cloned().flatten();
        *number += 1;
        let arguments = pod.pointer("/spec/containers/0/args").and_then(Value::as_array).cloned().unwrap_or_default();
        let argument = |name: &str| {
            let place = arguments.iter().position(|argument| argument == name)?;
            arguments.get(place + 1)?.as_str().map(str::to_owned)
        };
        // Of `store/PIPELINE-ID/...`.
        let restored = argument("--restore").and_then(|handle| handle.split('/').nth(1).map(str::to_owned));
        let id = restored.or_else(|| argument("--identity")).and_then(|id| id.replace('-', "").parse().ok());
        let verifier = argument("--controller-key").and_then(|key| Verifier::new(&key).ok());
        let start = Start {
            id: id.unwrap_or(PipelineId(0)),
            purpose: match argument("--purpose").as_deref() {
                Some("commit") => Purpose::Commit,
                Some("delete") => Purpose::Delete,
                _ => Purpose::Run,
            },
            configuration: argument("--configuration").unwrap_or_default(),
            parallelism: 1,
            death,
            control: verifier.map(|verifier| Control { verifier, pipeline: process.store.clone() }),
        };
        process.worker = Some(Worker::start(start, now_ms));
        process.begun_ms = now_ms;
        let address = process.address.clone();
        let status = json!({
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [container(&json!({ "running": { "startedAt": rfc3339(now_ms) } }))],
        });
        server.edit(&process.pod, |pod| pod["status"] = status);
    }

    fn step_worker(&mut self, server: &Server, uid: &str, now_ms: u64) {
        let Some(process) = self.processes.get_mut(uid) else { return };
        let store = self.stores.entry(process.store.clone()).or_default();
        let is_killed = process.kill_ms.is_some_and(|kill_ms| now_ms >= kill_ms);
        let ended = match &mut process.worker {
            Some(_) if is_killed => Some(Ended { code: 137, last_words: None }),
            Some(worker) if worker.next_ms <= now_ms => worker.step(store, &self.script, now_ms),
            Some(_) | None => None,
        };
        let Some(ended) = ended else { return };
        let is_lost = self.lost.contains(&process.node);
        let Some(process) = self.processes.remove(uid) else { return };
        if !is_lost {
            server.edit(&process.pod, |pod| {
                if text(pod, "/metadata/uid") == uid {
                    pod["status"] = end_of(&ended, process.begun_ms, now_ms);
                }
            });
        }
    }
}

impl Process {
    fn due_ms(&self) -> u64 {
        let worker_ms = self.worker.as_ref().map_or(self.wake_ms, |worker| worker.next_ms);
        self.kill_ms.map_or(worker_ms, |kill_ms| kill_ms.min(worker_ms))
    }
}

fn end_of(ended: &Ended, begun_ms: u64, now_ms: u64) -> Value {
    let message = ended.last_words.as_ref().and_then(|words| serde_json::to_string(words).ok()).unwrap_or_default();
    let reason = if ended.code == 0 { "Completed" } else { "Error" };
    let state = json!({ "terminated": { "exitCode": ended.code, "reason": reason, "message": message,
        "startedAt": rfc3339(begun_ms), "finishedAt": rfc3339(now_ms) } });
    let phase = if ended.code == 0 { "Succeeded" } else { "Failed" };
    json!({ "phase": phase, "containerStatuses": [container(&state)] })
}

fn container(state: &Value) -> Value {
    json!({ "name": "worker", "image": "", "imageID": "", "ready": state.get("running").is_some(), "restartCount": 0,
        "state": state })
}
