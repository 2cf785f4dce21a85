//! A turn of one Pipeline: taken whenever something of it changes, and now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::pipeline::{Pipeline, PipelineStatus};
use api::token;
use futures::future;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use super::publish::Publisher;
use super::run::Options;
use super::station::Station;
use super::{Error, apply, obstacles};
use crate::decide::{Decision, Step, decide};
use crate::events::events;
use crate::flapping::Flapping;
use crate::names;
use crate::observe::Observed;
use crate::status;

/// After a turn that failed; doubled with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 6;
/// A status that another controller has replaced is not replaced again for so long: of two that both believe to lead, one with
/// caches of earlier, each would undo what the other one wrote, as fast as the server answers.
const CONTENDED_MS: u64 = 1_000;
/// After the lease was lost in the middle of a turn: by then it is renewed, or known to be another's.
const DEPOSED_MS: u64 = 5_000;

/// What every turn has at hand.
pub(super) struct Context {
    client: Client,
    options: Options,
    station: Station,
    publisher: Arc<Publisher>,
    pods: Store<Pod>,
    config_maps: Store<ConfigMap>,
    nodes: Store<Node>,
    /// By uid.
    memory: Mutex<HashMap<String, Memory>>,
}

#[derive(Clone, Debug, Default)]
struct Memory {
    /// When a status was written last, and a digest of it.
    written_ms: Option<u64>,
    written: u64,
    /// Turns that have failed since one did not.
    failures: u32,
    /// See [`Observed::denied`].
    denied: Option<String>,
    flapping: Flapping,
}

impl Memory {
    /// Whether somebody else has replaced what was written a moment ago.
    fn is_contended(&self, status: Option<&PipelineStatus>, now_ms: u64) -> bool {
        let is_recent = self.written_ms.is_some_and(|written| now_ms.saturating_sub(written) < CONTENDED_MS);
        is_recent && digest(status) != self.written
    }
}

fn digest(status: Option<&PipelineStatus>) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&status).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

pub(super) async fn turn(pipeline: Arc<Pipeline>, context: Arc<Context>) -> Result<Action, Error> {
    // A standby keeps its caches warm, and does nothing.
    if !context.station.leads() {
        return Ok(Action::await_change());
    }
    context.station.measured(Box::pin(taken(pipeline, &context))).await
}

async fn taken(pipeline: Arc<Pipeline>, context: &Context) -> Result<Action, Error> {
    if is_let_go(&pipeline) {
        context.forget(names::uid(&pipeline));
        return Ok(Action::await_change());
    }
    let settings = &context.options.settings;
    let observed = context.remembered(&pipeline).await;
    let mut decision = decide(&observed, settings);
    let mut pipeline = observed.pipeline;
    if !decision.steps.is_empty() {
        // Nothing is made or deleted on the word of a cache.
        let found = context.looked_up(&pipeline).await?.filter(|found| !is_let_go(&found.pipeline));
        let Some(observed) = found else {
            context.forget(names::uid(&pipeline));
            return Ok(Action::await_change());
        };
        decision = decide(&observed, settings);
        pipeline = observed.pipeline;
    }
    let uid = names::uid(&pipeline).to_owned();
    let is_told = context.carry_out(pipeline, &decision).await?;
    if decision.steps.contains(&Step::RemoveFinalizer) {
        context.forget(&uid);
        return Ok(Action::await_change());
    }
    context.remember(&uid, |memory| memory.failures = 0);
    // Figures that were not worth a write yet are, then.
    let most_ms = if is_told { u64::MAX } else { status::FIGURES_MS };
    Ok(Action::requeue(jittered(&uid, context.options.clock.now_ms(), decision.look_again_ms.min(most_ms))))
}

impl Context {
    pub(super) fn new(
        client: Client,
        options: Options,
        (station, publisher): (Station, Arc<Publisher>),
        (pods, config_maps, nodes): (Store<Pod>, Store<ConfigMap>, Store<Node>),
    ) -> Self {
        Self { client, options, station, publisher, pods, config_maps, nodes, memory: Mutex::default() }
    }

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
        let token = self.look(&pipeline);
        let token = token.as_deref();
        let asked =
            addresses.map(|(pod, address)| async move { (pod, self.options.workers.ask(&address, token).await) });
        let answers = future::join_all(asked.collect::<Vec<_>>()).await;
        let reports: BTreeMap<_, _> =
            answers.into_iter().filter_map(|(pod, report)| report.map(|report| (pod, report))).collect();
        let now_ms = self.options.clock.now_ms();
        let obstacles = obstacles::told(&self.client, &pods, now_ms).await;
        let denied = self.memory(names::uid(&pipeline)).denied;
        let nodes = self.nodes.state();
        let lost = nodes.iter().filter(|node| is_lost(node)).map(|node| node.name_any());
        let lost_nodes: BTreeSet<String> = lost.collect();
        Observed { pipeline, pods, config_maps, reports, lost_nodes, obstacles, denied, now_ms }
    }

    /// The status first, so that what is counted in it is counted once; then the steps. False: not everything was worth a
    /// write.
    async fn carry_out(&self, mut pipeline: Pipeline, decision: &Decision) -> Result<bool, Error> {
        let (uid, now_ms) = (names::uid(&pipeline).to_owned(), self.options.clock.now_ms());
        let written_ms = self.memory(&uid).written_ms;
        let has_news = pipeline.status.as_ref() != Some(&decision.status);
        let is_due = status::is_due(pipeline.status.as_ref(), &decision.status, written_ms, now_ms);
        let is_written = is_due || (has_news && !decision.steps.is_empty());
        if is_written {
            self.must_lead()?;
            if self.memory(&uid).is_contended(pipeline.status.as_ref(), now_ms) {
                return Err(Error::Outdated { what: "the status, which another controller writes, too".to_owned() });
            }
            let before = pipeline.status.take().unwrap_or_default();
            pipeline = apply::write_status(&self.client, &pipeline, &decision.status).await?;
            let written = digest(pipeline.status.as_ref());
            self.remember(&uid, |memory| (memory.written_ms, memory.written) = (Some(now_ms), written));
            self.tell(&pipeline, before, &decision.status, now_ms).await;
        } else if !has_news && self.memory(&uid).flapping.is_owing() {
            self.tell(&pipeline, decision.status.clone(), &decision.status, now_ms).await;
        }
        for step in &decision.steps {
            self.must_lead()?;
            match step {
                Step::Ask { address, id, savepoint } => self.ask(&pipeline, address, id, *savepoint).await?,
                step => {
                    let taken = apply::take(&self.client, &pipeline, step).await;
                    if matches!(step, Step::CreatePod(_) | Step::ApplyConfigMap(_)) {
                        let denied = taken.as_ref().err().and_then(obstacles::denied);
                        self.remember(&uid, |memory| memory.denied = denied);
                    }
                    taken?;
                }
            }
        }
        Ok(is_written || !has_news)
    }

    /// Publishes what has happened between two statuses.
    async fn tell(&self, pipeline: &Pipeline, before: PipelineStatus, after: &PipelineStatus, now_ms: u64) {
        let mut told = vec![];
        self.remember(names::uid(pipeline), |memory| {
            told = events(&memory.flapping.as_told(before, after, now_ms), after);
        });
        self.publisher.publish(pipeline, told, now_ms).await;
    }

    /// Whoever has lost the lease meanwhile leaves the rest to the next one.
    fn must_lead(&self) -> Result<(), Error> {
        if self.station.still_leads() { Ok(()) } else { Err(Error::Deposed) }
    }

    /// What workers of the Pipeline tell their state for.
    fn look(&self, pipeline: &Pipeline) -> Option<String> {
        let signer = self.options.signer.as_ref()?;
        let pipeline = format!("{}/{}", names::namespace(pipeline), names::name(pipeline));
        let expires_ms = self.options.clock.now_ms().saturating_add(token::LASTS_MS);
        Some(signer.sign_look(&token::Look { pipeline, expires_ms }))
    }

    /// A checkpoint of the worker, now.
    async fn ask(&self, pipeline: &Pipeline, address: &str, id: &str, savepoint: bool) -> Result<(), Error> {
        let Some(signer) = &self.options.signer else { return Ok(()) };
        let pipeline = format!("{}/{}", names::namespace(pipeline), names::name(pipeline));
        let expires_ms = self.options.clock.now_ms().saturating_add(token::LASTS_MS);
        let token = signer.sign(&token::Ask { pipeline, id: id.to_owned(), savepoint, expires_ms });
        self.options.workers.request(address, token).await.map_err(|what| Error::Worker { what })
    }

    fn forget(&self, uid: &str) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.publisher.forget(uid);
    }

    fn memory(&self, uid: &str) -> Memory {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, uid: &str, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(memory.entry(uid.to_owned()).or_default());
    }
}

/// Deleted, and nothing is left to be done for it: somebody else holds it, as a deletion in the foreground does.
fn is_let_go(pipeline: &Pipeline) -> bool {
    let held = pipeline.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER);
    pipeline.metadata.deletion_timestamp.is_some() && !held
}

/// A node whose kubelet has not been heard of for a while.
fn is_lost(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

#[allow(clippy::needless_pass_by_value, reason = "the loop hands them over so")]
pub(super) fn after_failure(pipeline: Arc<Pipeline>, error: &Error, context: Arc<Context>) -> Action {
    let uid = names::uid(&pipeline);
    let failures = context.memory(uid).failures;
    context.remember(uid, |memory| memory.failures = failures.saturating_add(1));
    match error {
        // Whoever leads after all, as the clock has jumped, goes on; a standby's turn ends at once.
        Error::Deposed => return Action::requeue(jittered(uid, context.options.clock.now_ms(), DEPOSED_MS)),
        Error::Outdated { what } => tracing::debug!(%what, "changed while it was decided"),
        error => tracing::warn!(pipeline = names::name(&pipeline), %error, "a turn failed and is taken again"),
    }
    let delay = FIRST_DELAY * 2_u32.saturating_pow(failures.min(MOST_DOUBLINGS));
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Action::requeue(jittered(uid, context.options.clock.now_ms(), delay_ms))
}

/// Up to a tenth longer, so that what begins together does not stay together.
pub(super) fn jittered(uid: &str, now_ms: u64, ms: u64) -> Duration {
    let hash = names::short_hash(&[uid.as_bytes(), &now_ms.to_be_bytes()]);
    let share = u64::from_str_radix(hash.get(..4).unwrap_or("0"), 16).unwrap_or_default();
    Duration::from_millis(ms.saturating_add(ms / 10 * share / 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_one_has_replaced_is_left_alone_for_a_while() {
        let ours = PipelineStatus { parallelism: 1, ..PipelineStatus::default() };
        let theirs = PipelineStatus { parallelism: 2, ..PipelineStatus::default() };
        assert!(!Memory::default().is_contended(Some(&theirs), 7_000), "nothing was written yet");
        let memory = Memory { written_ms: Some(7_000), written: digest(Some(&ours)), ..Memory::default() };
        assert!(!memory.is_contended(Some(&ours), 7_001), "nobody has replaced it");
        assert!(memory.is_contended(Some(&theirs), 7_000 + CONTENDED_MS - 1));
        assert!(memory.is_contended(None, 7_001));
        assert!(!memory.is_contended(Some(&theirs), 7_000 + CONTENDED_MS));
    }
}
