//! The script's workers, as pods of a cluster.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use api::report::WorkerState;
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::lives::{Fate, Life};
use super::{IDENTITY, NAME, NAMESPACE, Place, Process};
use crate::inprocess::{Key, PODS, RuntimeClock, Server, Verb};
use crate::ports::Port;
use crate::script::{Cluster, Death, Moment, Script, address};

/// More pods than any series of lives has.
const MOST_PODS: u32 = 16;
const TRIES: u64 = 3;

pub(super) struct Scripted {
    server: Server,
    cluster: Cluster,
    key: String,
    started: u32,
    port: Port,
    /// The target was away, and is not any more.
    is_back: bool,
    _tasks: JoinSet<()>,
}

struct Running {
    server: Server,
    pod: Key,
    address: SocketAddr,
}

impl Scripted {
    /// The deaths of all lives, in their order: only the last one may start another worker.
    pub(super) async fn new(units: u64, lives: &[Life], key: String) -> Result<Self> {
        let refused = || Some((WorkerState::Refused, "Refused".to_owned()));
        let death = |life: &Life| match life.fate {
            Fate::Nothing | Fate::Away => None,
            Fate::Killed => Some(Death::killed(Moment::Decided(3))),
            Fate::Refused => Some(Death { at: Moment::Unclaimed, code: 2, words: refused() }),
        };
        let server = Server::new(RuntimeClock::of_the_machine());
        let cluster = Cluster::new(server.clone(), Script { units, deaths: lives.iter().map(death).collect() });
        let port = Port::reserve()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster.clone().work());
        for number in 0..MOST_PODS {
            let listener = TcpListener::bind((address(number), port.number)).await?;
            tasks.spawn(cluster.clone().serve(listener).map(drop));
        }
        Ok(Self { server, cluster, key, started: 0, port, is_back: false, _tasks: tasks })
    }
}

impl Place for Scripted {
    async fn start(&mut self, life: &Life) -> Result<Box<dyn Process>> {
        let name = format!("worker-{}", self.started);
        let address = SocketAddr::new(address(self.started).parse()?, self.port.number);
        self.started += 1;
        let arguments = ["--purpose", life.purpose, "--identity", IDENTITY, "--configuration", "c0ffee"];
        let arguments = [&arguments[..], &["--controller-key", &self.key]].concat();
        let pod = Key::new(&PODS, NAMESPACE, &name);
        let object = json!({ "metadata": { "name": name, "labels": { "onceward.dev/pipeline": NAME } },
            "spec": { "containers": [{ "name": "worker", "args": arguments }] } });
        let made = self.server.write(Verb::Create, &pod, object);
        made.ok().context("the pod is refused")?;
        Ok(Box::new(Running { server: self.server.clone(), pod, address }))
    }

    fn meanwhile(&mut self, life: &Life, report: &Value) {
        if life.fate != Fate::Away {
            return;
        }
        let tries = report["pendingCommits"][0]["tries"].as_u64().unwrap_or_default();
        let store = self.cluster.store(NAMESPACE, NAME);
        let units = store.logs.last().map_or(0, crate::script::Log::units);
        if tries >= TRIES {
            self.is_back = true;
            self.cluster.block(NAMESPACE, NAME, false);
        } else if units == 2 && !self.is_back {
            self.cluster.block(NAMESPACE, NAME, true);
        }
    }

    fn now_ms(&self) -> u64 {
        self.server.clock().now_ms()
    }
}

impl Process for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn stop(&self) -> Result<()> {
        self.server.write(Verb::Delete, &self.pod, Value::Null).ok().context("the pod cannot be deleted")
    }

    /// Looked for in all that was: a pod that was told to go goes with its last words.
    fn ended(&mut self) -> Result<Option<(i32, String)>> {
        let mut ended = None;
        self.server.changes(|change| {
            let status = change.after.as_ref().filter(|_| change.key == self.pod);
            let told = status.and_then(|pod| pod.pointer("/status/containerStatuses/0/state/terminated").cloned());
            ended = told.or(ended.take());
        });
        let Some(ended) = ended else { return Ok(None) };
        let code = ended["exitCode"].as_i64().context("an exit code")?;
        Ok(Some((i32::try_from(code)?, ended["message"].as_str().unwrap_or_default().to_owned())))
    }
}
