//! An API server in this process, behind a `kube::Client`: as much of one as a controller can notice, with every trouble
//! that a test asks for, and no time of its own.
//!
//! What it does is held against a real one by the cases of `tests/apiserver/conformance`.
//!
//! | room | holds |
//! |---|---|
//! | [`Server`] | objects, time and news of both; hands out clients |
//! | `request`, `refusal` | HTTP in, HTTP out |
//! | `store` | objects by key, and every change since |
//! | `write`, `apply` | the rules of creating, changing and deleting |
//! | `read`, `watch` | lists in pages, and streams |
//! | `serve` | the same over a socket |
//! | `fate` | what becomes of requests on their way |
//! | `collect` | what goes when its owner is gone |
//!
//! Left out: validation, defaults, admission but for namespaces, selectors but for equality (of fields: of name and namespace), orphaning and foreground deletion,
//! strategic merges of lists, protobuf and tables.

mod apply;
mod clock;
mod collect;
mod fate;
mod kinds;
mod read;
mod refusal;
mod request;
mod serve;
mod service;
mod store;
mod watch;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use serde_json::{Value, json};

pub use self::clock::{RuntimeClock, rfc3339};
pub use self::fate::{Fair, Fate, Fates, WatchFate};
pub use self::kinds::{CONFIG_MAPS, EVENTS, Key, Kind, LEASES, NAMESPACES, NODES, PIPELINES, PODS, SECRETS};
pub use self::request::{Request, Verb};

pub use self::store::Change;

use self::store::Store;

/// A connection that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke")]
pub struct Lost;

/// One server. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Store>,
    news: tokio::sync::watch::Sender<u64>,
    clock: RuntimeClock,
}

impl Default for Server {
    fn default() -> Self {
        Self::new(RuntimeClock::default())
    }
}

impl Server {
    /// With nothing in it but the namespace `default`.
    pub fn new(clock: RuntimeClock) -> Self {
        let (news, _) = tokio::sync::watch::channel(0);
        let server = Self { shared: Arc::new(Shared { store: Mutex::default(), news, clock }) };
        server.put(&Key::new(&NAMESPACES, "", "default"), json!({ "status": { "phase": "Active" } }));
        server
    }

    /// A client whose requests become what `fates` says.
    pub fn client(&self, fates: Arc<dyn Fates>) -> Client {
        Client::new(service::Service { server: self.clone(), fates }, "default")
    }

    pub fn clock(&self) -> RuntimeClock {
        self.shared.clock
    }

    /// One object, as it is.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.with(|store| store.get(key).cloned())
    }

    /// Objects of a kind in all namespaces.
    pub fn list(&self, kind: &'static Kind) -> Vec<(Key, Arc<Value>)> {
        self.with(|store| store.list(kind, "").into_iter().collect())
    }

    /// Makes an object, past all rules: for what no request can do.
    pub fn put(&self, key: &Key, mut object: Value) {
        let now_ms = self.clock().now_ms();
        self.change(|store| {
            object["apiVersion"] = key.kind.api_version().into();
            object["kind"] = key.kind.kind.into();
            object["metadata"]["name"] = key.name.clone().into();
            object["metadata"]["uid"] = store.next_uid(key).into();
            object["metadata"]["creationTimestamp"] = rfc3339(now_ms).into();
            if key.kind.is_namespaced {
                object["metadata"]["namespace"] = key.namespace.clone().into();
            }
            store.put(key, Some(object), now_ms);
        });
    }

    /// A write by the rules, as a person's client would send it.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn write(&self, verb: Verb, key: &Key, body: Value) -> Result<(), u16> {
        let request = Request {
            verb,
            kind: key.kind,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: String::new(),
            query: std::collections::BTreeMap::new(),
            body,
        };
        let now_ms = self.clock().now_ms();
        self.change(|store| write::write(store, &request, now_ms)).map(drop).map_err(|refusal| refusal.code)
    }

    /// Changes an object past all rules, as kubelets and schedulers may; nothing where it is gone.
    pub fn edit(&self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let now_ms = self.clock().now_ms();
        self.change(|store| {
            if let Some(before) = store.get(key).cloned() {
                let mut object = before.as_ref().clone();
                edit(&mut object);
                if object != *before {
                    store.put(key, Some(object), now_ms);
                }
            }
        });
    }

    /// Removes an object, whoever holds it.
    pub fn remove(&self, key: &Key) {
        let now_ms = self.clock().now_ms();
        self.change(|store| {
            if store.get(key).is_some() {
                store.put(key, None, now_ms);
            }
        });
    }

    /// Deletes what has lost its owners; how many it were. In a cluster another process does that.
    pub fn collect(&self) -> usize {
        let now_ms = self.clock().now_ms();
        self.change(|store| collect::collect(store, now_ms))
    }

    /// How often so far something may have lost its owners: an object went, or one came whose owner had gone before.
    pub fn orphanings(&self) -> u64 {
        self.with(|store| store.orphanings())
    }

    /// Forgets all changes but the last `kept`: watches that are further behind are told so.
    pub fn compact(&self, kept: u64) {
        self.with(|store| store.compact(store.revision().saturating_sub(kept)));
    }

    /// Tells of every change, by its revision.
    pub fn news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// All changes that are remembered, by revision.
    pub fn changes(&self, mut each: impl FnMut(&Change)) {
        self.with(|store| {
            let mut revision = store.compacted();
            while let Some(change) = store.after(revision) {
                each(change);
                revision = change.revision;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.shared.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        let (result, revision) = self.with(|store| (act(store), store.revision()));
        self.shared.news.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }
}
