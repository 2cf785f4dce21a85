//! The script's worker, as a pod of a cluster whose time is paused.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use stage::inprocess::{Key, PODS, Server, Verb};
use stage::script::{Cluster, Death, Script};
use tokio::task::JoinSet;

use crate::seen::Seen;

const LOOK: Duration = Duration::from_millis(5);
const MOST_LOOKS: u32 = 60_000;

pub(crate) struct Scripted {
    pub(crate) server: Server,
    pub(crate) cluster: Cluster,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(crate) fn new(units: u64, deaths: Vec<Option<Death>>) -> Self {
        let server = Server::default();
        let cluster = Cluster::new(server.clone(), Script { units, deaths });
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster.clone().work());
        Self { server, cluster, _tasks: tasks }
    }

    pub(crate) fn start(&self, name: &str, purpose: &str) -> Key {
        let arguments =
            ["--purpose", purpose, "--identity", "1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e", "--configuration", "c0ffee"];
        let key = Key::new(&PODS, "default", name);
        let pod = json!({ "metadata": { "name": name, "labels": { "onceward.dev/pipeline": "revenue" } },
            "spec": { "containers": [{ "name": "worker", "args": arguments }] } });
        self.server.write(Verb::Create, &key, pod).expect("it is made");
        key
    }

    pub(crate) async fn watch(&self, pod: &Key, mut meanwhile: impl FnMut(&Value)) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut left = None;
        for _ in 0..MOST_LOOKS {
            let object = self.server.get(pod);
            let status = object.as_ref().map(|object| object["status"].clone()).unwrap_or_default();
            if let Some(report) = status["podIP"].as_str().and_then(|address| self.cluster.ask(address)) {
                let report = serde_json::to_value(report)?;
                seen.hears(&report);
                meanwhile(&report);
            }
            let ended = &status["containerStatuses"][0]["state"]["terminated"];
            if let Some(code) = ended["exitCode"].as_i64() {
                left = Some((i32::try_from(code)?, ended["message"].as_str().unwrap_or_default().to_owned()));
            }
            if let Some((code, words)) = &left {
                seen.ends(*code, words);
                return Ok(seen);
            }
            tokio::time::sleep(LOOK).await;
        }
        let (code, words) = left.with_context(|| format!("it does not end: {seen:?}"))?;
        seen.ends(code, &words);
        Ok(seen)
    }
}
