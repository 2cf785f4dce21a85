//! Which node to ask: leaders, coordinators, and connections that are kept for the next request.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::MetadataRequest;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Connection, Features, Opening};
use super::error::{Class, Code, Error};
use super::partitions::Metadata;
use super::settings::Settings;
use super::tls::Secured;
use super::wire::Ask;
use crate::clock::{Clock, Random};

/// Requests under way at once, over all nodes.
const MOST_CALLS: usize = 32;
/// Connections kept for each address.
const MOST_IDLE: usize = 4;
/// Leaders and coordinators remembered; beyond that all are forgotten and asked for anew.
const MOST_REMEMBERED: usize = 10_000;

/// Time and randomness.
#[derive(Clone)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// How often to try, and how long to wait in between: `first`, then twice as long each time, up to `most`; a tenth of
/// it up or down by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
    /// Tries in all; at least one is made.
    pub tries: u32,
}

impl Backoff {
    /// Some seconds: for an answer that a person or a checkpoint waits for.
    pub const SHORT: Self = Self { first: Duration::from_millis(20), most: Duration::from_secs(1), tries: 10 };

    fn wait(&self, tried: u32, random: &dyn Random) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(tried.min(31)).unwrap_or(u32::MAX)).min(self.most);
        doubled.mul_f64(0.9 + 0.2 * (random.u64() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// A cluster as this process sees it. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    opening: Opening,
    bootstrap: Vec<String>,
    calls: Semaphore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    cluster_id: Option<String>,
    /// `host:port` by node id.
    nodes: BTreeMap<i32, String>,
    leaders: HashMap<(String, i32), i32>,
    coordinators: HashMap<String, i32>,
    idle: HashMap<String, Vec<Connection>>,
    features: Features,
    /// Rises with every failure, so that another bootstrap server gets its turn.
    turn: usize,
}

/// A connection in use.
struct Lease<'c> {
    connection: Connection,
    /// It was open before.
    was_kept: bool,
    _permit: SemaphorePermit<'c>,
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(settings: &Settings, ports: Ports) -> Result<Self, Error> {
        if settings.bootstrap_servers.is_empty() {
            return Err(Error::Settings { message: "bootstrapServers is empty".to_owned() });
        }
        let secured = settings.tls.as_ref().map(Secured::new).transpose()?;
        let opening = Opening { secured, sasl: settings.sasl.clone(), clock: ports.clock, random: ports.random };
        let (bootstrap, calls) = (settings.bootstrap_servers.clone(), Semaphore::new(MOST_CALLS));
        Ok(Self { shared: Arc::new(Shared { opening, bootstrap, calls, known: Mutex::default() }) })
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.opening.clock
    }

    /// Repeats `attempt` while its error heals by waiting, as often as `backoff` says; answers with the last error.
    pub async fn retried<T, F>(&self, backoff: &Backoff, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut tried = 0;
        loop {
            match attempt().await {
                Err(error) if error.class() == Class::Retry && tried + 1 < backoff.tries => {
                    self.pause(backoff, tried).await;
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    /// Waits as long as `backoff` says after so many failures.
    pub(crate) async fn pause(&self, backoff: &Backoff, tried: u32) {
        let wait = backoff.wait(tried, &*self.shared.opening.random);
        self.clock().sleep(wait).await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the cluster has decided on.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn features(&self) -> Result<Features, Error> {
        // Told when a connection is opened; asking for anything makes sure that there is one.
        self.any(&MetadataRequest::default().with_topics(Some(vec![]))).await?;
        Ok(self.known().features.clone())
    }

    /// Of the first node that answered; a client stays with its cluster.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn cluster_id(&self) -> Result<String, Error> {
        let known = self.known().cluster_id.clone();
        match known {
            Some(known) => Ok(known),
            None => Ok(self.metadata(&[]).await?.cluster_id),
        }
    }

    /// Asks whichever node answers: each bootstrap server and known node at most once.
    pub(super) async fn any<R: Ask>(&self, request: &R) -> Result<R::Response, Error> {
        let mut failed = None;
        for address in self.addresses() {
            match self.at(&address, request).await {
                Err(error @ (Error::Connect { .. } | Error::Ended { .. } | Error::Silent { .. })) => {
                    self.known().turn += 1;
                    failed = Some(error);
                }
                done => return done,
            }
        }
        Err(failed.unwrap_or_else(|| Error::Settings { message: "bootstrapServers is empty".to_owned() }))
    }

    fn addresses(&self) -> Vec<String> {
        let known = self.known();
        let mut addresses = self.shared.bootstrap.clone();
        let turn = known.turn % addresses.len().max(1);
        addresses.rotate_left(turn);
        let others: Vec<_> = known.nodes.values().filter(|address| !addresses.contains(*address)).cloned().collect();
        addresses.extend(others);
        addresses
    }

    async fn at<R: Ask>(&self, address: &str, request: &R) -> Result<R::Response, Error> {
        let mut lease = self.lease(address).await?;
        let done = lease.connection.call(request).await;
        self.give_back(address, lease, &done);
        done
    }

    /// A connection to `address`, an open one if there is any.
    async fn lease(&self, address: &str) -> Result<Lease<'_>, Error> {
        let closed = |_| Error::Settings { message: "the client is closed".to_owned() };
        let permit = self.shared.calls.acquire().await.map_err(closed)?;
        let kept = self.known().idle.get_mut(address).and_then(Vec::pop);
        let was_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::open(address, &self.shared.opening).await?,
        };
        Ok(Lease { connection, was_kept, _permit: permit })
    }

    /// It goes back only after success: a request that was given up may still be answered.
    fn give_back<T>(&self, address: &str, lease: Lease<'_>, done: &Result<T, Error>) {
        let mut known = self.known();
        match done {
            Ok(_) => {
                known.features.clone_from(lease.connection.features());
                let idle = known.idle.entry(address.to_owned()).or_default();
                if idle.len() < MOST_IDLE {
                    idle.push(lease.connection);
                }
            }
            // What was open for a while may have been closed by the broker; its fellows are no better.
            Err(Error::Ended { .. }) if lease.was_kept => drop(known.idle.remove(address)),
            Err(_) => (),
        }
    }

    /// Asks one node.
    pub(super) async fn node<R: Ask>(&self, node: i32, request: &R) -> Result<R::Response, Error> {
        let address = self.address(node).await?;
        let done = self.at(&address, request).await;
        self.forget_moved(node, done)
    }

    /// As [`Self::node`], not decoded.
    pub(super) async fn node_raw<R: Ask>(&self, node: i32, request: &R) -> Result<Bytes, Error> {
        let address = self.address(node).await?;
        let mut lease = self.lease(&address).await?;
        let done = lease.connection.call_raw(request).await;
        self.give_back(&address, lease, &done);
        self.forget_moved(node, done)
    }

    /// A connection to a node that nobody else uses.
    pub(super) async fn dedicated(&self, node: i32) -> Result<Connection, Error> {
        let address = self.address(node).await?;
        let opened = Connection::open(&address, &self.shared.opening).await;
        self.forget_moved(node, opened)
    }

    /// A node that cannot be reached may have another address by now.
    fn forget_moved<T>(&self, node: i32, done: Result<T, Error>) -> Result<T, Error> {
        if matches!(done, Err(Error::Connect { .. })) {
            self.known().nodes.remove(&node);
        }
        done
    }

    async fn address(&self, node: i32) -> Result<String, Error> {
        let known = self.known().nodes.get(&node).cloned();
        if let Some(address) = known {
            return Ok(address);
        }
        self.metadata(&[]).await?;
        let known = self.known().nodes.get(&node).cloned();
        known.ok_or_else(|| Error::Leaderless { about: format!("node {node}") })
    }

    /// Where everybody is, from an answer that has just come.
    pub(super) fn remember(&self, metadata: &Metadata) {
        let mut known = self.known();
        known.cluster_id.get_or_insert_with(|| metadata.cluster_id.clone());
        known.nodes = metadata.brokers.iter().map(|broker| (broker.id, broker.address.clone())).collect();
        let Known { nodes, idle, leaders, .. } = &mut *known;
        idle.retain(|address, _| nodes.values().any(|node| node == address) || self.shared.bootstrap.contains(address));
        if leaders.len() > MOST_REMEMBERED {
            leaders.clear();
        }
        for topic in &metadata.topics {
            for partition in &topic.partitions {
                let place = (topic.name.clone(), partition.index);
                match partition.leader {
                    Some(leader) => leaders.insert(place, leader),
                    None => leaders.remove(&place),
                };
            }
        }
    }

    /// The node that leads a partition.
    pub(super) async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        let place = (topic.to_owned(), partition);
        let known = self.known().leaders.get(&place).copied();
        if let Some(leader) = known {
            return Ok(leader);
        }
        let metadata = self.metadata(&[topic]).await?;
        let about = format!("{topic}-{partition}");
        let found = metadata.topics.iter().find(|found| found.name == topic);
        if let Some(code) = found.map(|found| found.code).filter(|code| !code.is_none()) {
            return Err(Error::Refused { request: "Metadata", about, code });
        }
        let known = self.known().leaders.get(&place).copied();
        known.ok_or(Error::Leaderless { about })
    }

    /// To be called when a node says that it does not lead (any more), or does not answer.
    pub(super) fn forget_leader(&self, topic: &str, partition: i32) {
        self.known().leaders.remove(&(topic.to_owned(), partition));
    }

    pub(super) fn coordinator_known(&self, transactional_id: &str) -> Option<i32> {
        self.known().coordinators.get(transactional_id).copied()
    }

    pub(super) fn remember_coordinator(&self, transactional_id: &str, node: i32) {
        let mut known = self.known();
        if known.coordinators.len() > MOST_REMEMBERED {
            known.coordinators.clear();
        }
        known.coordinators.insert(transactional_id.to_owned(), node);
    }

    /// As [`Self::forget_leader`], for a coordinator.
    pub(super) fn forget_coordinator(&self, transactional_id: &str) {
        self.known().coordinators.remove(transactional_id);
    }
}

/// Whether an answer says that somebody else is to be asked: what was remembered is to be forgotten.
pub(super) fn is_misdirected(code: Code) -> bool {
    matches!(code.0, 3 | 5 | 6 | 9 | 14 | 15 | 16 | 72 | 74 | 75 | 100)
}
