//! Where the checkpoint log lives.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::connections::SecretRef;

/// Exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "[has(self.local), has(self.s3), has(self.gcs), has(self.azure)].filter(x, x).size() == 1",
    "set exactly one of local, s3, gcs, azure",
))]
pub struct Storage {
    /// A folder on this machine's disk, or on a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalStorage>,
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
    /// A bucket of Google Cloud Storage. Untested against the real service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsStorage>,
    /// A container of Azure Blob Storage. Untested against the real service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureStorage>,
}

/// The one place that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoragePlace<'a> {
    Local(&'a LocalStorage),
    S3(&'a S3Storage),
    Gcs(&'a GcsStorage),
    Azure(&'a AzureStorage),
}

impl Storage {
    /// A folder.
    pub fn at(path: impl Into<String>) -> Self {
        Self { local: Some(LocalStorage { path: path.into() }), s3: None, gcs: None, azure: None }
    }

    /// The place that is set; `None` for a spec that was not validated and sets none.
    pub fn place(&self) -> Option<StoragePlace<'_>> {
        let s3 = || self.s3.as_ref().map(StoragePlace::S3);
        let gcs = || self.gcs.as_ref().map(StoragePlace::Gcs);
        let azure = || self.azure.as_ref().map(StoragePlace::Azure);
        self.local.as_ref().map(StoragePlace::Local).or_else(s3).or_else(gcs).or_else(azure)
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
#[x_kube(
    validation = Rule::new("!has(self.ca) || (has(self.endpoint) && self.endpoint.startsWith('https://'))")
        .message("a ca is of no use without an endpoint that begins with https://")
        .field_path(".ca")
)]
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
    /// PEM of the authorities that the endpoint's certificate may be signed by, beside the system's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretRef>,
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

/// A bucket, and a prefix in it that is this pipeline's alone. Whether the service creates only what is absent is tried at every start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcsStorage {
    /// Name of the bucket, which must exist.
    #[schemars(length(min = 3, max = 222), regex(pattern = GCS_BUCKET))]
    pub bucket: String,
    /// What the names of all objects begin with (a `/` follows): one prefix per pipeline.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    pub prefix: String,
    /// As whom; absent: as the file says that `GOOGLE_APPLICATION_CREDENTIALS` names, the pod's identity, or the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GcsCredentials>,
}

/// A service account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcsCredentials {
    /// Its key, as the JSON that Google hands out.
    pub service_account_key: SecretRef,
}

/// A container, and a prefix in it that is this pipeline's alone. Whether the service creates only what is absent is tried at every start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureStorage {
    /// Name of the storage account.
    #[schemars(length(min = 3, max = 24), regex(pattern = ACCOUNT))]
    pub account: String,
    /// Name of the container, which must exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = CONTAINER))]
    pub container: String,
    /// What the names of all blobs begin with (a `/` follows): one prefix per pipeline.
    #[schemars(length(min = 1, max = 512), regex(pattern = PREFIX))]
    pub prefix: String,
    /// Where the account's blobs are reached, as `https://shop.blob.core.usgovcloudapi.net`; absent: `https://ACCOUNT.blob.core.windows.net`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 300), regex(pattern = HTTPS))]
    pub endpoint: Option<String>,
    /// As whom; absent: as the pod's workload identity (`AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_FEDERATED_TOKEN_FILE`), or the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureCredentials>,
}

/// A key of the storage account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureCredentials {
    /// The key, in base64 as Azure shows it.
    pub access_key: SecretRef,
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
/// A bucket's name at Google.
pub(crate) const GCS_BUCKET: &str = "^[a-z0-9][a-z0-9._-]*[a-z0-9]$";
/// A storage account's name.
pub(crate) const ACCOUNT: &str = "^[a-z0-9]+$";
/// A container's name.
pub(crate) const CONTAINER: &str = "^[a-z0-9](-?[a-z0-9])*$";
/// As [`ENDPOINT`], and nothing in the clear.
pub(crate) const HTTPS: &str = "^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?$";
