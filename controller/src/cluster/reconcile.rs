//! The loop: a turn for each Pipeline whenever something of it changes, and now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::pipeline::Pipeline;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, future};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::{Ask, Error, SharedClock, apply};
use crate::decide::{Decision, decide};
use crate::names::{self, MANAGER};
use crate::observe::{Observed, Settings};
use crate::status;

/// After a turn that failed; doubled with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 6;
/// Turns at a time.
const MOST_AT_ONCE: u16 = 16;

/// What the loop is started with.
#[derive(Clone)]
pub struct Options {
    pub settings: Settings,
    /// Empty: every namespace.
    pub namespace: Option<String>,
    pub clock: SharedClock,
    pub workers: Arc<dyn Ask>,
}

struct Context {
    client: Client,
    options: Options,
    pods: Store<Pod>,
    config_maps: Store<ConfigMap>,
    nodes: Store<Node>,
    /// By uid: when a status was written, and how many turns have failed since one did not.
    memory: Mutex<HashMap<String, Memory>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    written_ms: Option<u64>,
    failures: u32,
}

/// Runs until `stop` is done.
pub fn run(
    client: Client,
    options: Options,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, ()> {
    // Not generic, so that it is compiled once, here.
    look_after(client, options, Box::pin(stop)).boxed()
}

async fn look_after(client: Client, options: Options, stop: Pin<Box<dyn Future<Output = ()> + Send + Sync>>) {
    let ours = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let pods: Api<Pod> = scoped(&client, &options);
    let config_maps: Api<ConfigMap> = scoped(&client, &options);
    let (pod_store, pod_writer) = reflector::store();
    let (config_store, config_writer) = reflector::store();
    let (node_store, node_writer) = reflector::store();
    let pod_events = reflector::reflector(pod_writer, watcher(pods, ours.clone())).default_backoff().touched_objects();
    let config_events =
        reflector::reflector(config_writer, watcher(config_maps, ours)).default_backoff().touched_objects();
    // Without the right to see nodes they are all thought well.
    let nodes = reflector::reflector(node_writer, watcher(Api::all(client.clone()), watcher::Config::default()));
    let nodes = nodes.default_backoff().for_each(|_| future::ready(()));
    let pipelines: Api<Pipeline> = match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let context = Arc::new(Context {
        client,
        options,
        pods: pod_store,
        config_maps: config_store,
        nodes: node_store,
        memory: Mutex::default(),
    });
    let turns = Controller::new(pipelines, watcher::Config::default())
        .with_config(kube::runtime::controller::Config::default().concurrency(MOST_AT_ONCE))
        .owns_stream(pod_events)
        .owns_stream(config_events)
        .graceful_shutdown_on(stop)
        .run(turn, after_failure, context)
        .for_each(|_| future::ready(()));
    futures::pin_mut!(turns, nodes);
    future::select(turns, nodes).await;
}

fn scoped<K>(client: &Client, options: &Options) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn turn(pipeline: Arc<Pipeline>, context: Arc<Context>) -> Result<Action, Error> {
    let settings = &context.options.settings;
    let observed = context.remembered(&pipeline).await;
    let mut decision = decide(&observed, settings);
    let mut pipeline = observed.pipeline;
    if !decision.steps.is_empty() {
        // Nothing is made or deleted on the word of a cache.
        let Some(observed) = context.looked_up(&pipeline).await? else { return Ok(Action::await_change()) };
        decision = decide(&observed, settings);
        pipeline = observed.pipeline;
    }
    let uid = names::uid(&pipeline).to_owned();
    context.carry_out(pipeline, &decision).await?;
    context.remember(&uid, |memory| memory.failures = 0);
    Ok(Action::requeue(jittered(&uid, context.options.clock.now_ms(), decision.look_again_ms)))
}

impl Context {
    /// From the caches.
    async fn remembered(&self, pipeline: &Arc<Pipeline>) -> Observed {
        let uid = names::uid(pipeline);
        let owned = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
            owners.iter().any(|owner| owner.uid == uid)
        };
        let pods = self.pods.state().into_iter().filter(|pod| owned(pod.owner_references()));
        let config_maps = self.config_maps.state().into_iter().filter(|found| owned(found.owner_references()));
        let pods: Vec<Pod> = pods.map(|pod| pod.as_ref().clone()).collect();
        let config_maps = config_maps.map(|found| found.as_ref().clone()).collect();
        self.observed(pipeline.as_ref().clone(), pods, config_maps).await
    }

    /// From the API server itself; None: the Pipeline is gone, or another one of that name.
    async fn looked_up(&self, pipeline: &Pipeline) -> Result<Option<Observed>, Error> {
        let (name, namespace, uid) = (names::name(pipeline), names::namespace(pipeline), names::uid(pipeline));
        let pipelines: Api<Pipeline> = Api::namespaced(self.client.clone(), namespace);
        let found = pipelines.get_opt(name).await.map_err(Error::request(format!("Pipeline {name}")))?;
        let Some(found) = found.filter(|found| names::uid(found) == uid) else { return Ok(None) };
        let listed = ListParams::default().labels(&names::selector(pipeline));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(&listed).await.map_err(Error::request(format!("pods of Pipeline {name}")))?;
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let config_maps = config_maps.list(&listed).await;
        let config_maps = config_maps.map_err(Error::request(format!("configurations of Pipeline {name}")))?;
        let is_ours =
            |meta: &kube::api::ObjectMeta| meta.owner_references.iter().flatten().any(|owner| owner.uid == uid);
        let pods = pods.items.into_iter().filter(|pod| is_ours(pod.meta())).collect();
        let config_maps = config_maps.items.into_iter().filter(|found| is_ours(found.meta())).collect();
        Ok(Some(self.observed(found, pods, config_maps).await))
    }

    async fn observed(&self, pipeline: Pipeline, pods: Vec<Pod>, config_maps: Vec<ConfigMap>) -> Observed {
        let addresses = pods.iter().filter_map(|pod| {
            let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
            Some((pod.name_any(), status.pod_ip.clone()?))
        });
        let asked = addresses.map(|(pod, address)| async move { (pod, self.options.workers.ask(&address).await) });
        let answers = future::join_all(asked.collect::<Vec<_>>()).await;
        let reports: BTreeMap<_, _> =
            answers.into_iter().filter_map(|(pod, report)| report.map(|report| (pod, report))).collect();
        let nodes = self.nodes.state();
        let lost = nodes.iter().filter(|node| is_lost(node)).map(|node| node.name_any());
        let lost_nodes: BTreeSet<String> = lost.collect();
        Observed { pipeline, pods, config_maps, reports, lost_nodes, now_ms: self.options.clock.now_ms() }
    }

    /// The status first, so that what is counted in it is counted once; then the steps.
    async fn carry_out(&self, mut pipeline: Pipeline, decision: &Decision) -> Result<(), Error> {
        let (uid, now_ms) = (names::uid(&pipeline).to_owned(), self.options.clock.now_ms());
        let written_ms = self.memory(&uid).written_ms;
        let has_news = pipeline.status.as_ref() != Some(&decision.status);
        let is_due = status::is_due(pipeline.status.as_ref(), &decision.status, written_ms, now_ms);
        if is_due || (has_news && !decision.steps.is_empty()) {
            pipeline = apply::write_status(&self.client, &pipeline, &decision.status).await?;
            self.remember(&uid, |memory| memory.written_ms = Some(now_ms));
        }
        for step in &decision.steps {
            apply::take(&self.client, &pipeline, step).await?;
        }
        Ok(())
    }

    fn memory(&self, uid: &str) -> Memory {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(uid).copied().unwrap_or_default()
    }

    fn remember(&self, uid: &str, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memory.entry(uid.to_owned()).or_default());
    }
}

/// A node whose kubelet has not been heard of for a while.
fn is_lost(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

#[allow(clippy::needless_pass_by_value, reason = "the loop hands them over so")]
fn after_failure(pipeline: Arc<Pipeline>, error: &Error, context: Arc<Context>) -> Action {
    let uid = names::uid(&pipeline);
    let failures = context.memory(uid).failures;
    context.remember(uid, |memory| memory.failures = failures.saturating_add(1));
    match error {
        Error::Outdated { what } => tracing::debug!(%what, "changed while it was decided"),
        error => tracing::warn!(pipeline = names::name(&pipeline), %error, "a turn failed and is taken again"),
    }
    let delay = FIRST_DELAY * 2_u32.saturating_pow(failures.min(MOST_DOUBLINGS));
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Action::requeue(jittered(uid, context.options.clock.now_ms(), delay_ms))
}

/// Up to a tenth longer, so that what begins together does not stay together.
fn jittered(uid: &str, now_ms: u64, ms: u64) -> Duration {
    let hash = names::short_hash(&[uid.as_bytes(), &now_ms.to_be_bytes()]);
    let share = u64::from_str_radix(hash.get(..4).unwrap_or("0"), 16).unwrap_or_default();
    Duration::from_millis(ms.saturating_add(ms / 10 * share / 0xffff))
}
