//! A client for one bucket, from what the manifest says; only credentials and the region may come from the environment.

use std::time::Duration;

use api::pipeline::S3Storage;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::secrets::{SecretError, SecretString, Secrets};

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that were idle for longer are not used again: a server that has closed one answers nothing on it, and
/// an unanswered request has an unknown outcome.
const IDLE: Duration = Duration::from_secs(15);
/// Where an endpoint is given and no region, as most stores other than Amazon's have it.
const USUAL_REGION: &str = "us-east-1";
/// The field that messages name.
const FIELD: &str = "spec.checkpoint.storage.s3";

/// Who the environment says we are: keys, a pod's web identity, a container's or pod's agent. Without any of these the
/// machine's own identity is asked for. Everything else that the environment could say stands in the manifest.
const IDENTITY: [(&str, AmazonS3ConfigKey); 9] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];
/// Of these, the values that no message may hold.
const SECRET: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A bucket, and as whom it is spoken to. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    pub bucket: String,
    pub prefix: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// `None`: as the environment says.
    pub credentials: Option<Credentials>,
}

/// A key and its secret half.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: SecretString,
    pub secret_access_key: SecretString,
}

impl Settings {
    /// With its secrets read.
    ///
    /// # Errors
    /// The first secret that cannot be had.
    pub fn of(spec: &S3Storage, secrets: &Secrets) -> Result<Self, SecretError> {
        let text = |field: &str, reference| secrets.text(&format!("{FIELD}.credentials.{field}"), reference);
        let credentials = match &spec.credentials {
            Some(credentials) => Some(Credentials {
                access_key_id: text("accessKeyId", &credentials.access_key_id)?,
                secret_access_key: text("secretAccessKey", &credentials.secret_access_key)?,
            }),
            None => None,
        };
        Ok(Self {
            bucket: spec.bucket.clone(),
            prefix: spec.prefix.clone(),
            region: spec.region.clone(),
            endpoint: spec.endpoint.clone(),
            credentials,
        })
    }

    /// `s3://bucket/prefix/`.
    pub fn address(&self) -> String {
        format!("s3://{}/{}/", self.bucket, self.prefix)
    }
}

/// A client, and the values that no message may hold.
///
/// # Errors
/// What is missing, in words.
pub(super) fn connect(
    settings: &Settings,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(AmazonS3, Vec<String>), String> {
    let region = settings.region.clone();
    let region = region.or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
    let region = region.or_else(|| settings.endpoint.as_ref().map(|_| USUAL_REGION.to_owned()));
    let region = region
        .ok_or_else(|| format!("{FIELD}.region is absent, and AWS_REGION is not set; write the bucket's region"))?;
    let http = http_client().map_err(|error| crate::metrics::with_cause(&error))?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(region)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(never())
        .with_http_connector(Direct(http));
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let mut secrets = Vec::new();
    match &settings.credentials {
        Some(Credentials { access_key_id, secret_access_key }) => {
            let (id, secret) = (access_key_id.reveal(), secret_access_key.reveal());
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            secrets.extend([id.to_owned(), secret.to_owned()]);
        }
        None => {
            for (name, key) in IDENTITY {
                let Some(value) = environment(name) else { continue };
                if SECRET.contains(&name) {
                    secrets.push(value.clone());
                }
                builder = builder.with_config(key, value);
            }
        }
    }
    let bucket = builder.build().map_err(|error| crate::metrics::with_cause(&error))?;
    Ok((bucket, secrets))
}

/// Unknown outcomes are the protocol's business: a retry that is hidden here could find its own first copy and report
/// that somebody else had won.
fn never() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO }
}

/// Straight to the endpoint: what a redirect or a proxy in between does with conditions and repetitions is not known.
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_PATIENCE)
        .pool_idle_timeout(IDLE)
        .http1_only()
        .user_agent(concat!("onceward/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Hands out the one client that was made for this store.
#[derive(Debug)]
struct Direct(reqwest::Client);

impl HttpConnector for Direct {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}
