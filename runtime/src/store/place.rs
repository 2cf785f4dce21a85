//! Where a pipeline's log lives, with what it takes to get there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use api::pipeline::{Storage, StoragePlace};

use super::s3::{S3Store, Settings};
use super::{CheckpointStore, LocalStore, StoreError};
use crate::clock::{Clock, Random};
use crate::secrets::{SecretError, Secrets};

/// A folder, or a bucket's prefix.
#[derive(Clone, Debug)]
pub enum Place {
    Local(PathBuf),
    S3(Box<Settings>),
}

impl Place {
    /// What the manifest (paths resolved, validated) says, with its secrets read.
    ///
    /// # Errors
    /// The first secret that cannot be had.
    pub fn of(storage: &Storage, secrets: &Secrets) -> Result<Self, SecretError> {
        Ok(match storage.place() {
            Some(StoragePlace::S3(s3)) => Self::S3(Box::new(Settings::of(s3, secrets)?)),
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
            Self::S3(settings) => Arc::new(S3Store::open(settings, clock)?),
        })
    }
}

/// As people name it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3(settings) => f.write_str(settings.address().trim_end_matches('/')),
        }
    }
}
