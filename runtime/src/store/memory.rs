//! A checkpoint store in memory, with the faults of a real one on demand: for tests and simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{CheckpointStore, Created, StoreError};
use crate::clock::Clock;
use crate::connectors::Retry;
use crate::tasks::{self, Task};

/// What a store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Create,
    Read,
    List,
    Delete,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreFault {
    /// An error, and nothing happened.
    ErrorBefore,
    /// It happened, and the answer is an error.
    LostReply,
    /// An error that no waiting heals (a store that became read-only), and nothing happened.
    Refused,
    /// The answer is an error; it happens after this time, if it still can.
    LateWrite(Duration),
    /// It happens and is answered, after this time.
    Slow(Duration),
}

/// Decides what goes wrong with a call. It is asked once per call, in order; it counts what it injects.
pub trait Faults: Send + Sync {
    fn next(&self, operation: Operation, name: &str) -> Option<StoreFault>;
}

/// Nothing ever goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn next(&self, _: Operation, _: &str) -> Option<StoreFault> {
        None
    }
}

/// Objects in memory. Clones share them: give each process of a simulation its own clone.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    faults: Arc<dyn Faults>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Writes that are on their way although their sender was told of an error; they outlive the sender.
    late: Mutex<Vec<Task<()>>>,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::default(), faults: Arc::new(NoFaults), clock }
    }

    /// The same objects, seen through a connection with faults of its own.
    #[must_use]
    pub fn with_faults(&self, faults: Arc<dyn Faults>) -> Self {
        Self { faults, ..self.clone() }
    }

    /// All objects, for oracles: no fault applies.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.shared.lock().clone()
    }

    /// Puts bytes in place of an object's own, or removes it: what a bad disk does.
    pub fn corrupt(&self, name: &str, body: Option<Bytes>) {
        match body {
            Some(body) => self.shared.lock().insert(name.to_owned(), body),
            None => self.shared.lock().remove(name),
        };
    }

    async fn call<T>(
        &self,
        operation: Operation,
        name: &str,
        apply: impl Fn(&Shared) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |message: &str, retry| StoreError {
            operation: match operation {
                Operation::Create => "create",
                Operation::Read => "read",
                Operation::List => "list",
                Operation::Delete => "delete",
            },
            address: self.address(name),
            message: message.to_owned(),
            retry,
        };
        match self.faults.next(operation, name) {
            None => Ok(apply(&self.shared)),
            Some(StoreFault::Slow(time)) => {
                self.clock.sleep(time).await;
                Ok(apply(&self.shared))
            }
            Some(StoreFault::ErrorBefore) => Err(failed("injected: not done", Retry::Backoff)),
            Some(StoreFault::Refused) => Err(failed("injected: refused", Retry::Never)),
            Some(StoreFault::LostReply) => {
                apply(&self.shared);
                Err(failed("injected: the reply was lost", Retry::Backoff))
            }
            Some(StoreFault::LateWrite(time)) => {
                let (shared, sleep) = (Arc::downgrade(&self.shared), self.clock.sleep(time));
                let task = tasks::spawn("late write", async move {
                    sleep.await;
                    if let Some(shared) = shared.upgrade() {
                        apply(&shared);
                    }
                });
                self.shared.late.lock().unwrap_or_else(PoisonError::into_inner).push(task);
                Err(failed("injected: the write is late", Retry::Backoff))
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckpointStore for MemoryStore {
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>> {
        let object = name.to_owned();
        Box::pin(self.call(Operation::Create, name, move |shared| {
            let mut objects = shared.lock();
            if objects.contains_key(&object) {
                return Created::Exists;
            }
            objects.insert(object.clone(), body.clone());
            Created::New
        }))
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let object = name.to_owned();
        Box::pin(self.call(Operation::Read, name, move |shared| shared.lock().get(&object).cloned()))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let folder = prefix.to_owned();
        Box::pin(self.call(Operation::List, prefix, move |shared| {
            shared.lock().keys().filter(|name| name.starts_with(&folder)).cloned().collect()
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let object = name.to_owned();
        Box::pin(self.call(Operation::Delete, name, move |shared| {
            shared.lock().remove(&object);
        }))
    }

    fn address(&self, name: &str) -> String {
        format!("memory:///{name}")
    }
}
