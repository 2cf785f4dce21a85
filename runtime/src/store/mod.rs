//! Where checkpoints live: small immutable objects, created only if absent.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::connectors::Retry;

pub use bucket::BucketStore;
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use place::Place;

pub mod bucket;
pub mod conformance;
mod local;
pub mod memory;
mod place;
pub mod probe;
#[cfg(test)]
mod tests;

/// The answer to a create that was answered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Durable now (synced), and ours.
    New,
    /// Something is there already; read it to learn what.
    Exists,
}

/// An object store with create-if-absent and read-after-write listing. Implementations retry nothing by themselves.
pub trait CheckpointStore: Send + Sync {
    /// # Errors
    /// Any error means *unknown*: the object may exist now, or appear later.
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>>;
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;
    /// All names below `prefix` (a folder name ending in `/`, or empty), in any order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
    /// Deleting what is not there is success.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Removes what half-done creates left below `prefix`, for folders whose writers are sealed; returns how many.
    fn remove_litter<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        let _ = prefix;
        Box::pin(std::future::ready(Ok(0)))
    }
    /// Whether it is reached over a network, and so may be away for a while without anything being wrong.
    fn is_remote(&self) -> bool {
        false
    }
    /// The address of an object as people see it: `file:///...`.
    fn address(&self, name: &str) -> String;
}

/// A store that did not answer, or said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint store: {operation} {address}: {message}")]
pub struct StoreError {
    pub operation: &'static str,
    pub address: String,
    pub message: String,
    /// Whether the store may answer otherwise later.
    pub retry: Retry,
}
