//! The checkpoint store in a bucket: of Amazon S3 or what speaks its protocol, of Google Cloud Storage, or of Azure.
//!
//! Create-if-absent is one conditional put (`If-None-Match: *`, Google's `x-goog-if-generation-match: 0`). Nothing is retried, redirected or sent through a proxy
//! here: each call is at most one request of its kind, and an answer that is not plainly "done" or "exists" is unknown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use futures::stream::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use self::failure::Failure;
use self::service::Service;
use super::{CheckpointStore, Created, StoreError};
use crate::clock::Clock;
use crate::connectors::Retry;

pub use self::settings::{Access, Credentials, S3Access, Settings};

mod connect;
mod failure;
mod http;
mod service;
mod settings;
#[cfg(test)]
mod tests;

/// The largest object. The services themselves take some five times as much in one put; whoever reads it back holds it in memory as a whole.
pub const MOST_BYTES: u64 = 1 << 30;
/// How long an answer is waited for (of a listing: for each of its pages), before its outcome counts as unknown.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes for which one more second is waited.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Names in one listing. A log has a pair for each attempt, and what retention has left.
const MOST_NAMES: usize = 1_000_000;

/// Objects below a prefix of a bucket.
pub struct BucketStore {
    bucket: Box<dyn ObjectStore>,
    service: Service,
    /// The prefix's address.
    base: String,
    prefix: String,
    /// Values that no message may hold.
    secrets: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl BucketStore {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// What is missing, by the manifest's field.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let opened = connect::connect(settings, |name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let (bucket, secrets) = opened.map_err(|message| StoreError {
            operation: "open",
            address: settings.address(),
            message,
            retry: Retry::Never,
        })?;
        let (service, base, prefix) = (settings.service(), settings.address(), settings.prefix.clone());
        Ok(Self { bucket, service, base, prefix, secrets, clock })
    }

    async fn put(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let path = self.path("create", name)?;
        let bytes = body.len() as u64;
        if bytes > MOST_BYTES {
            let message =
                format!("{bytes} bytes are more than one object may have ({MOST_BYTES}); raise `parallelism`");
            return Err(self.error("create", name, message, Retry::Never));
        }
        let put = self.bucket.put_opts(&path, PutPayload::from(body), PutOptions::from(PutMode::Create));
        match self.within(patience(bytes), put).await {
            Some(Ok(_)) => Ok(Created::New),
            Some(Err(error)) if failure::is_taken(self.service, &error) => Ok(Created::Exists),
            Some(Err(error)) => Err(self.failed("create", name, &error)),
            None => Err(self.late("create", name, patience(bytes))),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let path = self.path("read", name)?;
        let found = match self.within(PATIENCE, self.bucket.get_opts(&path, GetOptions::default())).await {
            Some(Ok(found)) => found,
            Some(Err(error)) if failure::is_absent(self.service, &error) => return Ok(None),
            Some(Err(error)) => return Err(self.failed("read", name, &error)),
            None => return Err(self.late("read", name, PATIENCE)),
        };
        let bytes = found.meta.size;
        if bytes > MOST_BYTES {
            let message =
                format!("{bytes} bytes are more than one object may have ({MOST_BYTES}); this is none of ours");
            return Err(self.error("read", name, message, Retry::Never));
        }
        match self.within(patience(bytes), found.bytes()).await {
            Some(Ok(body)) => Ok(Some(body)),
            Some(Err(error)) => Err(self.failed("read", name, &error)),
            None => Err(self.late("read", name, patience(bytes))),
        }
    }

    async fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let below = self.path("list", folder.trim_end_matches('/'))?;
        let mut names = Vec::new();
        let mut listing = self.bucket.list(Some(&below));
        // Bounded by MOST_NAMES.
        loop {
            let found = match self.within(PATIENCE, listing.try_next()).await {
                Some(Ok(Some(found))) => found,
                Some(Ok(None)) => return Ok(names),
                Some(Err(error)) => return Err(self.failed("list", folder, &error)),
                None => return Err(self.late("list", folder, PATIENCE)),
            };
            let path = found.location.as_ref();
            let name = path.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/'));
            if names.len() == MOST_NAMES {
                let message = format!("more than {MOST_NAMES} objects; the prefix is not this pipeline's alone");
                return Err(self.error("list", folder, message, Retry::Never));
            }
            names.extend(name.map(str::to_owned));
        }
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path("delete", name)?;
        match self.within(PATIENCE, self.bucket.delete(&path)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if failure::is_gone(self.service, &error) => Ok(()),
            Some(Err(error)) => Err(self.failed("delete", name, &error)),
            None => Err(self.late("delete", name, PATIENCE)),
        }
    }

    /// Where an object lies; the prefix itself for an empty name of a listing. Names that could leave it are refused.
    fn path(&self, operation: &'static str, name: &str) -> Result<Path, StoreError> {
        let whole = match (operation, name) {
            ("list", "") => Some(self.prefix.clone()),
            (_, "") => None,
            (_, name) => Some(format!("{}/{name}", self.prefix)),
        };
        let inside = whole.filter(|_| !name.ends_with('/')).and_then(|whole| Path::parse(whole).ok());
        inside.ok_or_else(|| self.error(operation, name, "not a name of an object".to_owned(), Retry::Never))
    }

    /// `None`: there was no answer in time. Dropping a request does not take it back.
    async fn within<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
        match select(pin!(call), self.clock.sleep(limit)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(((), _)) => None,
        }
    }

    fn failed(&self, operation: &'static str, name: &str, error: &object_store::Error) -> StoreError {
        let Failure { mut message, retry } = Failure::of(self.service, error);
        for secret in &self.secrets {
            message = message.replace(secret, "***");
        }
        self.error(operation, name, message, retry)
    }

    fn late(&self, operation: &'static str, name: &str, limit: Duration) -> StoreError {
        let message = format!("no answer within {} s; {}", limit.as_secs(), self.service.words().silence);
        self.error(operation, name, message, Retry::Backoff)
    }

    fn error(&self, operation: &'static str, name: &str, message: String, retry: Retry) -> StoreError {
        StoreError { operation, address: self.address(name), message, retry }
    }
}

/// How long a request with so many bytes is waited for.
fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / BYTES_PER_SECOND)
}

impl CheckpointStore for BucketStore {
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>> {
        Box::pin(self.put(name, body))
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(self.get(name))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.names(prefix))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.remove(name))
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn address(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }
}
