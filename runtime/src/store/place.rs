//! Where a pipeline's log lives, with what it takes to get there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use api::pipeline::{Storage, StoragePlace};

use super::bucket::Settings;
use super::{BucketStore, CheckpointStore, LocalStore, StoreError};
use crate::clock::{Clock, Random};
use crate::secrets::{SecretError, Secrets};

/// A folder, or a bucket's prefix.
#[derive(Clone, Debug)]
pub enum Place {
    Local(PathBuf),
    Bucket(Box<Settings>),
}

impl Place {
    /// What the manifest (paths resolved, validated) says, with its secrets read.
    ///
    /// # Errors
    /// The first secret that cannot be had.
    pub fn of(storage: &Storage, secrets: &Secrets) -> Result<Self, SecretError> {
        Ok(match storage.place() {
            Some(StoragePlace::S3(s3)) => Self::Bucket(Box::new(Settings::of_s3(s3, secrets)?)),
            Some(StoragePlace::Gcs(gcs)) => Self::Bucket(Box::new(Settings::of_gcs(gcs, secrets)?)),
            Some(StoragePlace::Azure(azure)) => Self::Bucket(Box::new(Settings::of_azure(azure, secrets)?)),
            Some(StoragePlace::Local(local)) => Self::Local(PathBuf::from(&local.path)),
            // The schema's rules refuse it before anybody comes here.
            None => Self::Local(PathBuf::new()),
        })
    }

    /// The store there; nothing is read or sent yet.
    ///
    /// # Errors
    /// A bucket of which too little is known.
    pub fn open(&self, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Arc<dyn CheckpointStore>, StoreError> {
        Ok(match self {
            Self::Local(path) => Arc::new(LocalStore::new(path, random)),
            Self::Bucket(settings) => Arc::new(BucketStore::open(settings, clock)?),
        })
    }
}

/// As people name it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Bucket(settings) => f.write_str(settings.address().trim_end_matches('/')),
        }
    }
}
