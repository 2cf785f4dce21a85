//! Where the checkpoint log lives.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::connections::SecretRef;

/// Exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("[has(self.local), has(self.s3)].filter(x, x).size() == 1", "set exactly one of local, s3"))]
pub struct Storage {
    /// A folder on this machine's disk, or on a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalStorage>,
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
}

/// The one place that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoragePlace<'a> {
    Local(&'a LocalStorage),
    S3(&'a S3Storage),
}

impl Storage {
    /// A folder.
    pub fn at(path: impl Into<String>) -> Self {
        Self { local: Some(LocalStorage { path: path.into() }), s3: None }
    }

    /// The place that is set; `None` for a spec that was not validated and sets none.
    pub fn place(&self) -> Option<StoragePlace<'_>> {
        let s3 = || self.s3.as_ref().map(StoragePlace::S3);
        self.local.as_ref().map(StoragePlace::Local).or_else(s3)
    }
}

/// A folder on this machine's disk.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalStorage {
    /// One folder per pipeline, created when missing; a relative one resolves against the manifest's folder.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// A bucket, and a prefix in it that is this pipeline's alone. The store must refuse to create what exists
/// (`If-None-Match: *`); whether it does is tried at every start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Storage {
    /// Name of the bucket, which must exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = BUCKET))]
    pub bucket: String,
    /// What the names of all objects begin with (a `/` follows): one prefix per pipeline.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    pub prefix: String,
    /// Region of the bucket; absent: `AWS_REGION` of the environment, or `us-east-1` where an endpoint is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = REGION))]
    pub region: Option<String>,
    /// Where the store is reached, as `https://s3.example.com` or `http://minio:9000`; absent: Amazon. With `http://` everything but the secret
    /// key travels in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 300), regex(pattern = ENDPOINT))]
    pub endpoint: Option<String>,
    /// As whom; absent: as the environment says (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), the pod's identity, or the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<S3Credentials>,
}

/// A key and its secret half.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Credentials {
    /// The key's name, as `AKIA...`.
    pub access_key_id: SecretRef,
    /// Its secret half.
    pub secret_access_key: SecretRef,
}

/// A bucket's name.
pub(crate) const BUCKET: &str = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$";
/// Parts joined by `/`, none of which begins with a dot.
pub(crate) const PREFIX: &str = "^[A-Za-z0-9_=-][A-Za-z0-9._=-]*(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*$";
/// A region's name.
pub(crate) const REGION: &str = "^[a-z0-9]+(-[a-z0-9]+)*$";
/// Scheme, host, and perhaps a port.
pub(crate) const ENDPOINT: &str =
    "^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?$";
