//! A server, its cluster and controllers; what a user does, and when.

use std::sync::Arc;
use std::time::Duration;

use api::pipeline::{PendingCommitStatus, Phase, PipelineStatus};
use api::report::Words;
use controller::cluster::{self, Ask, Clock, Options};
use controller::observe::Settings;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use serde_json::{Value, json};
use stage::inprocess::{CONFIG_MAPS, Key, PIPELINES, PODS, RuntimeClock, Server, Verb};
use stage::script::{Cluster, Script, Store, pipeline};
use tokio::task::{AbortHandle, JoinSet};

use crate::end::difference;
use crate::trouble::{Line, Trouble};

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const NAME: &str = "revenue";
/// How often a user looks.
const LOOK: Duration = Duration::from_millis(100);
/// Longer than any policy and timeout of the scenarios.
const MOST_LOOKS: u32 = 36_000;
/// Until everything that is still to be said is said; then nothing may be written for so long.
const SETTLING: Duration = Duration::from_mins(1);
const REST: Duration = Duration::from_mins(6);

/// What so many failed turns in a row put the next one off by, as the controller does it: each fault fails one at most.
fn delays(faults: u64) -> Duration {
    (0..faults).map(|nth| Duration::from_millis(1_100) * 2_u32.pow(nth.min(6) as u32)).sum()
}

/// In a failure's message.
const MOST_CHANGES_TOLD: usize = 6;

struct Now(RuntimeClock);

impl Clock for Now {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
}

/// Asks the script.
struct Asked {
    cluster: Cluster,
    trouble: Arc<Trouble>,
}

impl Ask for Asked {
    fn ask<'a>(&'a self, address: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Option<Words>> {
        let answer = self.cluster.ask(address).filter(|_| !self.trouble.swallows_report());
        future::ready(answer.map(Words::from)).boxed()
    }
}

/// One thing that a user, or fate, does when the time has come.
pub(crate) struct Act {
    pub(crate) when: fn(&World) -> bool,
    pub(crate) what: fn(&World),
}

/// A life of a Pipeline.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) spec: Value,
    pub(crate) script: Script,
    pub(crate) acts: Vec<Act>,
    /// Whether it has come to its end.
    pub(crate) ends: fn(&World) -> bool,
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) cluster: Cluster,
    pub(crate) trouble: Arc<Trouble>,
    tasks: JoinSet<()>,
    controllers: Vec<(u64, AbortHandle)>,
    begun: u64,
    /// Looks at which a controller starts.
    starts: Vec<u32>,
}

/// Image and account of the tests.
pub(crate) fn settings() -> Settings {
    Settings { image: "onceward:test".to_owned(), service_account: "onceward-worker".to_owned(), controller_key: None }
}

pub(crate) fn manifest(name: &str, spec: &Value) -> Value {
    pipeline(NAMESPACE, name, spec)
}

/// Objects of others, with our labels on them: nobody's business.
pub(crate) fn bystanders() -> [(Key, Value); 2] {
    let labels = json!({ "onceward.dev/pipeline": NAME, "app.kubernetes.io/managed-by": "onceward-controller",
        "onceward.dev/configuration": "c0ffee" });
    let pod = json!({ "metadata": { "labels": labels }, "spec": { "nodeName": "elsewhere", "containers": [] },
        "status": { "phase": "Succeeded" } });
    let config_map = json!({ "metadata": { "labels": labels }, "data": { "a": "b" } });
    [(Key::new(&PODS, NAMESPACE, "bystander"), pod), (Key::new(&CONFIG_MAPS, NAMESPACE, "bystander"), config_map)]
}

impl World {
    /// With the cluster at work and no controller.
    pub(crate) fn new(script: Script, trouble: Arc<Trouble>) -> Self {
        let server = Server::default();
        let cluster = Cluster::new(server.clone(), script);
        for (key, object) in bystanders() {
            server.put(&key, object);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster.clone().work());
        Self { server, cluster, trouble, tasks, controllers: vec![], begun: 0, starts: vec![] }
    }

    /// Of a controller on this world's clock, which asks the script.
    pub(crate) fn options(&self) -> Options {
        let workers = Asked { cluster: self.cluster.clone(), trouble: Arc::clone(&self.trouble) };
        let clock = Arc::new(Now(self.server.clock()));
        Options { clock, ..Options::new(settings(), Arc::new(workers)) }
    }

    /// Something that ends with the world.
    pub(crate) fn spawn(&mut self, process: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(process)
    }

    /// A controller that ends with the world, or when it dies.
    pub(crate) fn start_controller(&mut self) {
        let number = self.begun;
        self.begun += 1;
        let client = self.server.client(Arc::new(Line::new(Arc::clone(&self.trouble), number, self.server.clock())));
        let options = self.options();
        let handle = self.spawn(cluster::run(client, options, future::pending()).map(drop));
        self.controllers.push((number, handle));
    }

    /// Buries controllers that have died, and starts others in their place when the time has come.
    fn tend(&mut self, look: u32) {
        while let Some((number, delay)) = self.trouble.next_death() {
            for (_, handle) in self.controllers.extract_if(.., |(other, _)| *other == number) {
                handle.abort();
            }
            self.starts.push(look.saturating_add(delay));
        }
        for _ in self.starts.extract_if(.., |start| *start <= look).collect::<Vec<_>>() {
            self.start_controller();
        }
    }

    /// For a failure's message.
    pub(crate) fn told(&self) -> String {
        let pods = self.server.list(&PODS).into_iter().map(|(key, pod)| format!("{} {}", key.name, pod["status"]));
        let pods: Vec<_> = pods.collect();
        let pipeline = self.pipeline().map(|found| format!("{:#}", found["status"])).unwrap_or_default();
        let last = self.last_writes();
        format!("{}\n{pipeline}\n{}\n{:?}\n{last}", self.trouble.told(), pods.join("\n"), self.store())
    }

    /// What the last changes of the Pipeline changed.
    fn last_writes(&self) -> String {
        let mut changes = vec![];
        self.server.changes(|change| {
            let is_pipeline = change.key.kind == &PIPELINES;
            if let (true, Some(before), Some(after)) = (is_pipeline, &change.before, &change.after) {
                changes.push((change.at_ms, Arc::clone(before), Arc::clone(after)));
            }
        });
        let last = changes.iter().rev().take(MOST_CHANGES_TOLD).rev();
        let told = last.map(|(at_ms, before, after)| format!("{at_ms}:\n{}", difference(after, before)));
        told.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn pipeline(&self) -> Option<Arc<Value>> {
        self.server.get(&Key::new(&PIPELINES, NAMESPACE, NAME))
    }

    pub(crate) fn status(&self) -> PipelineStatus {
        self.status_of(NAME)
    }

    fn status_of(&self, name: &str) -> PipelineStatus {
        let found = self.server.get(&Key::new(&PIPELINES, NAMESPACE, name));
        let status = found.and_then(|found| found.get("status").cloned());
        status.map(|status| serde_json::from_value(status).expect("a status")).unwrap_or_default()
    }

    /// What was written of a Pipeline from then on.
    pub(crate) fn statuses_since(&self, name: &str, since_ms: u64) -> Vec<PipelineStatus> {
        let (key, mut all) = (Key::new(&PIPELINES, NAMESPACE, name), vec![]);
        self.server.changes(|change| {
            let after = change.after.as_ref().filter(|_| change.key == key && change.at_ms >= since_ms);
            all.extend(after.map(|object| serde_json::from_value(object["status"].clone()).expect("a status")));
        });
        all
    }

    /// What the first sink owes, as the status has it.
    pub(crate) fn pending_of(&self, name: &str) -> Option<PendingCommitStatus> {
        self.status_of(name).pending_commits.into_iter().next()
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.status().phase
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.phase() == Some(phase)
    }

    pub(crate) fn store(&self) -> Store {
        self.cluster.store(NAMESPACE, NAME)
    }

    /// Units that are decided in the newest log.
    pub(crate) fn units(&self) -> u64 {
        self.store().logs.last().map_or(0, stage::script::Log::units)
    }

    /// Whether something is decided and not visible.
    pub(crate) fn owes(&self) -> bool {
        self.store().logs.iter().any(|log| log.owed().is_some())
    }

    /// The newest pod.
    pub(crate) fn pod(&self) -> Option<Key> {
        let serial = |pod: &Value| -> Option<u64> {
            pod.pointer("/metadata/labels/onceward.dev~1serial")?.as_str()?.parse().ok()
        };
        let pods = self.server.list(&PODS).into_iter();
        let pods = pods.filter_map(|(key, pod)| Some((serial(&pod)?, key)));
        pods.max_by_key(|(serial, _)| *serial).map(|(_, key)| key)
    }

    /// A merge patch, as a user would send it.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) {
        self.server.edit(&Key::new(&PIPELINES, NAMESPACE, NAME), |object| {
            change(object);
            let generation = object["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        });
    }

    /// As `kubectl create`.
    pub(crate) fn create(&self, spec: &Value) {
        self.create_named(NAME, spec);
    }

    pub(crate) fn create_named(&self, name: &str, spec: &Value) {
        let key = Key::new(&PIPELINES, NAMESPACE, name);
        self.server.write(Verb::Create, &key, manifest(name, spec)).expect("it is made");
    }

    /// Of a name.
    pub(crate) fn phase_of(&self, name: &str) -> Option<String> {
        let found = self.server.get(&Key::new(&PIPELINES, NAMESPACE, name))?;
        Some(found.pointer("/status/phase")?.as_str()?.to_owned())
    }

    /// As `kubectl delete`.
    pub(crate) fn delete(&self, key: &Key) {
        self.server.write(Verb::Delete, key, Value::Null).expect("it is deleted");
    }

    pub(crate) fn delete_pipeline(&self) {
        self.delete(&Key::new(&PIPELINES, NAMESPACE, NAME));
    }
}

/// Lives a scenario; the world at its end, at rest.
///
/// # Errors
/// It does not come to its end, or is not at rest there.
pub(crate) async fn live(scenario: &Scenario, trouble: Arc<Trouble>) -> Result<World, String> {
    let mut world = World::new(scenario.script.clone(), Arc::clone(&trouble));
    world.create(&scenario.spec);
    for _ in 0..trouble.controllers() {
        world.start_controller();
    }
    let mut acts = scenario.acts.iter().peekable();
    let mut is_over = false;
    for look in 0..MOST_LOOKS {
        world.tend(look);
        while let Some(act) = acts.next_if(|act| (act.when)(&world)) {
            (act.what)(&world);
        }
        if acts.peek().is_none() && (scenario.ends)(&world) {
            is_over = true;
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if !is_over {
        return Err(format!(
            "it does not come to its end:
{}",
            world.told()
        ));
    }
    // A controller that died at the very end is started again, too.
    tokio::time::sleep(SETTLING).await;
    world.tend(u32::MAX);
    tokio::time::sleep(SETTLING + delays(world.trouble.struck().values().sum())).await;
    let before = world.trouble.writes();
    tokio::time::sleep(REST).await;
    let after = world.trouble.writes();
    if before != after {
        return Err(format!("at rest it writes, {} times:\n{}", after - before, world.told()));
    }
    if !(scenario.ends)(&world) {
        return Err(format!("it does not stay at its end:\n{}", world.told()));
    }
    Ok(world)
}
