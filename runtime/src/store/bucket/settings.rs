//! Which bucket it is, and as whom it is spoken to, from what the manifest says.

use api::pipeline::{AzureStorage, GcsStorage, S3Storage};

use super::service::Service;
use crate::secrets::{SecretBytes, SecretError, SecretString, Secrets};

/// A bucket (Azure's container), and as whom it is spoken to. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    pub bucket: String,
    pub prefix: String,
    /// `None`: where the service itself is. Of Google's only tests say otherwise.
    pub endpoint: Option<String>,
    pub access: Access,
}

/// What only one service has.
#[derive(Clone, Debug)]
pub enum Access {
    S3(S3Access),
    Gcs {
        /// JSON; `None`: as the environment says.
        service_account_key: Option<SecretString>,
    },
    Azure {
        account: String,
        /// `None`: as the environment says.
        access_key: Option<SecretString>,
    },
}

/// What only S3 has.
#[derive(Clone, Debug, Default)]
pub struct S3Access {
    pub region: Option<String>,
    /// PEM of authorities that are trusted beside the system's.
    pub ca: Option<SecretBytes>,
    /// `None`: as the environment says.
    pub credentials: Option<Credentials>,
}

/// A key of S3 and its secret half.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: SecretString,
    pub secret_access_key: SecretString,
}

/// Each with its secrets read; the error is the first that cannot be had.
impl Settings {
    pub(in crate::store) fn of_s3(spec: &S3Storage, secrets: &Secrets) -> Result<Self, SecretError> {
        let field = Service::S3.field();
        let credentials = match &spec.credentials {
            Some(credentials) => Some(Credentials {
                access_key_id: secrets.text(&format!("{field}.credentials.accessKeyId"), &credentials.access_key_id)?,
                secret_access_key: secrets
                    .text(&format!("{field}.credentials.secretAccessKey"), &credentials.secret_access_key)?,
            }),
            None => None,
        };
        let ca = spec.ca.as_ref().map(|ca| secrets.bytes(&format!("{field}.ca"), ca)).transpose()?;
        Ok(Self {
            bucket: spec.bucket.clone(),
            prefix: spec.prefix.clone(),
            endpoint: spec.endpoint.clone(),
            access: Access::S3(S3Access { region: spec.region.clone(), ca, credentials }),
        })
    }

    pub(in crate::store) fn of_gcs(spec: &GcsStorage, secrets: &Secrets) -> Result<Self, SecretError> {
        let field = format!("{}.credentials.serviceAccountKey", Service::Gcs.field());
        let key = spec.credentials.as_ref().map(|credentials| secrets.text(&field, &credentials.service_account_key));
        Ok(Self {
            bucket: spec.bucket.clone(),
            prefix: spec.prefix.clone(),
            endpoint: None,
            access: Access::Gcs { service_account_key: key.transpose()? },
        })
    }

    pub(in crate::store) fn of_azure(spec: &AzureStorage, secrets: &Secrets) -> Result<Self, SecretError> {
        let field = format!("{}.credentials.accessKey", Service::Azure.field());
        let key = spec.credentials.as_ref().map(|credentials| secrets.text(&field, &credentials.access_key));
        Ok(Self {
            bucket: spec.container.clone(),
            prefix: spec.prefix.clone(),
            endpoint: spec.endpoint.clone(),
            access: Access::Azure { account: spec.account.clone(), access_key: key.transpose()? },
        })
    }

    pub(super) fn service(&self) -> Service {
        match self.access {
            Access::S3(_) => Service::S3,
            Access::Gcs { .. } => Service::Gcs,
            Access::Azure { .. } => Service::Azure,
        }
    }

    /// `s3://bucket/prefix/`, `gs://bucket/prefix/`, or as Azure has it `https://account.blob.core.windows.net/container/prefix/`.
    pub fn address(&self) -> String {
        let place = match (&self.access, &self.endpoint) {
            (Access::S3(_), _) => "s3:/".to_owned(),
            (Access::Gcs { .. }, _) => "gs:/".to_owned(),
            (Access::Azure { .. }, Some(endpoint)) => endpoint.clone(),
            (Access::Azure { account, .. }, None) => format!("https://{account}.blob.core.windows.net"),
        };
        format!("{place}/{}/{}/", self.bucket, self.prefix)
    }
}
