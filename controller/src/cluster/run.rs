//! The controller as a whole: caches, turns, the lease, and what is served, until it is told to stop.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::pipeline::Pipeline;
use api::token::Signer;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, future, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::leader::{Candidate, Lease};
use super::patience::{Apart, Patience};
use super::publish::Publisher;
use super::reconcile::{Context, after_failure, turn};
use super::station::{self, Station};
use super::{Ask, Error, SharedClock, SystemClock};
use crate::names::MANAGER;
use crate::observe::{Settings, slim_config_map, slim_node, slim_pod};

/// Turns at a time, in each watched namespace.
const MOST_AT_ONCE: u16 = 16;

/// What the controller is started with.
#[derive(Clone)]
pub struct Options {
    pub settings: Settings,
    /// Empty: every namespace.
    pub namespaces: Vec<String>,
    pub clock: SharedClock,
    pub workers: Arc<dyn Ask>,
    /// None: it is the only controller.
    pub lease: Option<Lease>,
    /// Where metrics and health are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Signs what is asked of workers.
    pub signer: Option<Arc<Signer>>,
}

impl Options {
    /// Alone, everywhere, on the machine's clock.
    pub fn new(settings: Settings, workers: Arc<dyn Ask>) -> Self {
        let clock = Arc::new(SystemClock);
        Self { settings, namespaces: vec![], clock, workers, lease: None, metrics: None, signer: None }
    }
}

/// Runs until `stop` is done: then turns that are under way come to their end, and the lease is given back.
///
/// # Errors
/// The address of the metrics is not to be had.
pub fn run(
    client: Client,
    options: Options,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, Result<(), Error>> {
    // Not generic from here on, so that it is compiled once.
    work(client, options, Box::pin(stop)).boxed()
}

/// A signal to stop, whatever it is made of.
type Stop = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

async fn work(client: Client, options: Options, stop: Stop) -> Result<(), Error> {
    let (leads, is_leader) = watch::channel(options.lease.is_none().then_some(u64::MAX));
    let scopes: Vec<Option<String>> = match options.namespaces.as_slice() {
        [] => vec![None],
        all => all.iter().cloned().map(Some).collect(),
    };
    // Pipelines, pods and configurations of each.
    let station = Station::new(3 * scopes.len(), is_leader, Arc::clone(&options.clock)).map_err(Error::Metrics)?;
    let listener = match options.metrics {
        Some(address) => Some(station::bind(address).await?),
        None => None,
    };
    let publisher =
        Arc::new(Publisher::new(client.clone(), options.lease.as_ref().map(|lease| lease.identity.clone())));
    let mut candidate = options
        .lease
        .clone()
        .map(|lease| Candidate::new(client.clone(), lease, Arc::clone(&options.clock), leads.clone()));
    let stop = stop.shared();
    let looked_after = scopes.into_iter().map(|scope| {
        let (options, publisher) = (options.clone(), Arc::clone(&publisher));
        look_after(client.clone(), scope, options, (station.clone(), publisher), stop.clone())
    });
    let turns = future::join_all(looked_after);
    let serve = async {
        match listener {
            Some(listener) => station.clone().serve(listener).await,
            None => future::pending().await,
        }
    };
    let lead = async {
        match &mut candidate {
            Some(candidate) => candidate.run().await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        _ = turns => {}
        // Nobody could see how it is any more: whoever started it starts it again.
        () = serve => {}
        () = lead => {}
    }
    if let Some(candidate) = candidate.filter(|_| station.leads()) {
        candidate.release().await;
    }
    Ok(())
}

/// One namespace, or all.
async fn look_after(
    client: Client,
    scope: Option<String>,
    options: Options,
    (station, publisher): (Station, Arc<Publisher>),
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let ours = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let scope = scope.as_deref();
    let (pods, pod_writer) = reflector::store();
    let (config_maps, config_writer) = reflector::store();
    let (nodes, node_writer) = reflector::store();
    let pod_events = watcher(scoped::<Pod>(&client, scope), ours.clone()).modify(slim_pod);
    let pod_events = reflector::reflector(pod_writer, pod_events).backoff(Patience::default()).touched_objects();
    let config_events = watcher(scoped::<ConfigMap>(&client, scope), ours).modify(slim_config_map);
    let config_events =
        reflector::reflector(config_writer, config_events).backoff(Patience::default()).touched_objects();
    // With rights in some namespaces only, nodes are all thought well.
    let node_events = match scope {
        Some(_) => stream::pending().boxed(),
        None => watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).modify(slim_node).boxed(),
    };
    let node_events = reflector::reflector(node_writer, node_events).backoff(Patience::default());
    let node_events = node_events.for_each(|_| future::ready(()));
    let (pipelines, pipeline_writer) = reflector::store();
    let pipeline_events = watcher(scoped::<Pipeline>(&client, scope), watcher::Config::default());
    let pipeline_events = reflector::reflector(pipeline_writer, pipeline_events).backoff(Patience::default());
    let controller = Controller::for_stream(pipeline_events.applied_objects(), pipelines.clone());
    station.shows(pipelines.clone());
    let filled = future::join3(
        filled(&station, pipelines),
        filled(&station, pods.clone()),
        filled(&station, config_maps.clone()),
    );
    // Who becomes the leader begins with a look at everything.
    let elected = stream::unfold(station.leadership(), |mut leads| async move {
        leads.wait_for(Option::is_none).await.ok()?;
        leads.wait_for(Option::is_some).await.ok()?;
        Some(((), leads))
    });
    let context = Context::new(client, options, (station.clone(), publisher), (pods, config_maps, nodes));
    let turns = controller
        .with_config(kube::runtime::controller::Config::default().concurrency(MOST_AT_ONCE))
        .owns_stream(pod_events)
        .owns_stream(config_events)
        .reconcile_all_on(elected)
        .trigger_backoff(Apart)
        .graceful_shutdown_on(stop)
        .run(turn, after_failure, Arc::new(context))
        .for_each(|_| future::ready(()));
    tokio::select! {
        () = turns => {}
        _ = future::join(filled, node_events) => {}
    }
}

async fn filled<K>(station: &Station, store: Store<K>)
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    if store.wait_until_ready().await.is_ok() {
        station.is_filled();
    }
    // The caches live as long as the controller.
    future::pending::<()>().await;
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
