//! A bucket, as a manifest names it, as a client in this process opens it, and as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use runtime::clock::SystemClock;
use runtime::secrets::{SecretBytes, SecretString};
use runtime::store::BucketStore;
use runtime::store::bucket::{Access, Credentials, S3Access, Settings};

use super::Gateway;
use super::gateway::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

const PREFIX: &str = "prod/orders";

/// A bucket of a [`Gateway`], reached directly or through a proxy.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: String,
    /// Where clients are sent.
    pub endpoint: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// The authority that the manifest names: that of the server, unless a test says otherwise.
    pub ca: Option<PathBuf>,
    /// Where the server keeps its objects.
    pub folder: PathBuf,
}

impl Bucket {
    /// Makes one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(gateway: &Gateway, name: &str) -> Result<Self> {
        let folder = gateway.buckets().join(name);
        fs::create_dir(&folder)?;
        Ok(Self {
            name: name.to_owned(),
            endpoint: gateway.endpoint(),
            access_key_id: ACCESS_KEY_ID.to_owned(),
            secret_access_key: SECRET_ACCESS_KEY.to_owned(),
            ca: gateway.certificates().map(|certificates| certificates.authority.clone()),
            folder,
        })
    }

    /// The same bucket by another way.
    #[must_use]
    pub fn through(&self, address: &str) -> Self {
        Self { endpoint: format!("http://{address}"), ..self.clone() }
    }

    /// Where the server keeps the objects below our prefix, one file each.
    pub fn objects(&self) -> PathBuf {
        self.folder.join(PREFIX)
    }

    /// Where the server keeps all of its buckets.
    pub fn buckets(&self) -> PathBuf {
        self.folder.parent().unwrap_or(&self.folder).to_owned()
    }

    /// What a manifest says.
    pub fn storage(&self) -> String {
        let Self { name, endpoint, ca, .. } = self;
        let ca = if ca.is_some() { "ca: {secret: s3, key: ca.crt}, " } else { "" };
        format!(
            "s3: {{bucket: {name}, prefix: {PREFIX}, endpoint: \"{endpoint}\", {ca}\
             credentials: {{accessKeyId: {{secret: s3, key: id}}, secretAccessKey: {{secret: s3, key: secret}}}}}}"
        )
    }

    /// What such a manifest's secrets are, in the folder beside it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_secrets(&self, beside: &Path) -> Result<()> {
        let folder = beside.join("secrets/s3");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("id"), &self.access_key_id)?;
        if let Some(ca) = &self.ca {
            fs::copy(ca, folder.join("ca.crt"))?;
        }
        Ok(fs::write(folder.join("secret"), &self.secret_access_key)?)
    }

    /// A client of its own, as another process has it.
    ///
    /// # Errors
    /// The settings do not do.
    pub fn open(&self) -> Result<Arc<BucketStore>> {
        let credentials = Credentials {
            access_key_id: SecretString::new(self.access_key_id.as_str()),
            secret_access_key: SecretString::new(self.secret_access_key.as_str()),
        };
        let ca = self.ca.as_ref().map(fs::read).transpose()?.map(SecretBytes::new);
        let settings = Settings {
            bucket: self.name.clone(),
            prefix: PREFIX.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            access: Access::S3(S3Access { region: None, ca, credentials: Some(credentials) }),
        };
        Ok(Arc::new(BucketStore::open(&settings, Arc::new(SystemClock))?))
    }
}
