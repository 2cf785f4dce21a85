//! A client for one bucket, from its settings; only credentials and the region may come from the environment.

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;

use super::http::{direct, never};
use super::service::Service;
use super::settings::{Access, Credentials, S3Access, Settings};
use crate::secrets::SecretString;

/// Where an endpoint of S3 is given and no region, as most stores other than Amazon's have it.
const USUAL_REGION: &str = "us-east-1";
/// Named to the library, so that no key's file can name another.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Who the environment says we are at Amazon: keys, a pod's web identity, a container's or pod's agent. Without any of
/// these the machine's own identity is asked for. Everything else that the environment could say stands in the manifest.
const AMAZON: [(&str, AmazonS3ConfigKey); 9] = [
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
/// The same for Azure: a pod's workload identity, or an application's secret.
const MICROSOFT: [(&str, AzureConfigKey); 5] = [
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
];
/// The same for Google: a file with a key. The library looks for the machine's identity where `GCE_METADATA_HOST` and its like say, by itself.
const GOOGLE_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Of all these, the values that no message may hold.
const SECRET: [&str; 4] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"];

/// A client, and the values that no message may hold.
pub(super) type Connected = (Box<dyn ObjectStore>, Vec<String>);

/// Makes a client; nothing is sent yet.
///
/// # Errors
/// What is missing, in words.
pub(super) fn connect(settings: &Settings, environment: impl Fn(&str) -> Option<String>) -> Result<Connected, String> {
    match &settings.access {
        Access::S3(access) => s3(settings, access, environment),
        Access::Gcs { service_account_key } => gcs(settings, service_account_key.as_ref(), environment),
        Access::Azure { account, access_key } => azure(settings, account, access_key.as_ref(), environment),
    }
}

fn s3(
    settings: &Settings,
    access: &S3Access,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Connected, String> {
    let field = Service::S3.field();
    let region = access.region.clone();
    let region = region.or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
    let region = region.or_else(|| settings.endpoint.as_ref().map(|_| USUAL_REGION.to_owned()));
    let region = region
        .ok_or_else(|| format!("{field}.region is absent, and AWS_REGION is not set; write the bucket's region"))?;
    let ca_field = format!("{field}.ca");
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(region)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(never())
        .with_http_connector(direct(access.ca.as_ref().map(|ca| (ca_field.as_str(), ca)))?);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    let mut secrets = Vec::new();
    match &access.credentials {
        Some(Credentials { access_key_id, secret_access_key }) => {
            let (id, secret) = (access_key_id.reveal(), secret_access_key.reveal());
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            secrets.extend([id.to_owned(), secret.to_owned()]);
        }
        None => {
            for (name, key) in AMAZON {
                let Some(value) = environment(name) else { continue };
                keep(name, &value, &mut secrets);
                builder = builder.with_config(key, value);
            }
        }
    }
    Ok((Box::new(builder.build().map_err(|error| crate::metrics::with_cause(&error))?), secrets))
}

fn gcs(
    settings: &Settings,
    key: Option<&SecretString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Connected, String> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&settings.bucket)
        .with_base_url(settings.endpoint.as_deref().unwrap_or(GOOGLE))
        .with_retry(never())
        .with_http_connector(direct(None)?);
    // What the library says of a key that it cannot read may repeat parts of it. The key itself is never sent.
    let unfit = match (key, environment(GOOGLE_FILE)) {
        (Some(key), _) => {
            builder = builder.with_service_account_key(key.reveal());
            let field = Service::Gcs.field();
            format!("{field}.credentials.serviceAccountKey is no service account's key; put the JSON there that Google hands out")
        }
        (None, Some(file)) => {
            builder = builder.with_application_credentials(&file);
            format!("{GOOGLE_FILE}: {file} is no service account's key and no user's; name a file that is")
        }
        (None, None) => "the credentials that `gcloud` keeps in the home folder cannot be read; name a file in GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
    };
    Ok((Box::new(builder.build().map_err(|_| unfit)?), Vec::new()))
}

fn azure(
    settings: &Settings,
    account: &str,
    key: Option<&SecretString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Connected, String> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(&settings.bucket)
        .with_retry(never())
        .with_http_connector(direct(None)?);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let mut secrets = Vec::new();
    if let Some(key) = key {
        secrets.push(key.reveal().to_owned());
        let field = Service::Azure.field();
        let unfit =
            format!("{field}.credentials.accessKey is no storage account's key; put the base64 there that Azure shows");
        let built = builder.with_access_key(key.reveal()).build();
        return Ok((Box::new(built.map_err(|_| unfit)?), secrets));
    }
    for (name, key) in MICROSOFT {
        let Some(value) = environment(name) else { continue };
        keep(name, &value, &mut secrets);
        builder = builder.with_config(key, value);
    }
    Ok((Box::new(builder.build().map_err(|error| crate::metrics::with_cause(&error))?), secrets))
}

fn keep(name: &str, value: &str, secrets: &mut Vec<String>) {
    if SECRET.contains(&name) {
        secrets.push(value.to_owned());
    }
}
