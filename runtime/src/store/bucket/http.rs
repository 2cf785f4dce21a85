//! The HTTP client of all services: one request for each call, straight to the endpoint.

use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::secrets::SecretBytes;

/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that were idle for longer are not used again: a server that has closed one answers nothing on it, and
/// an unanswered request has an unknown outcome.
const IDLE: Duration = Duration::from_secs(15);

/// Unknown outcomes are the protocol's business: a retry that is hidden here could find its own first copy and report
/// that somebody else had won.
pub(super) fn never() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO }
}

/// Straight to the endpoint: what a redirect or a proxy in between does with conditions and repetitions is not known.
/// `ca`: a field's name, and the PEM of authorities that are trusted beside the system's.
///
/// # Errors
/// No certificate, in words.
pub(super) fn direct(ca: Option<(&str, &SecretBytes)>) -> Result<Direct, String> {
    let mut client = reqwest::Client::builder();
    if let Some((field, ca)) = ca {
        let authorities = reqwest::Certificate::from_pem_bundle(ca.reveal()).unwrap_or_default();
        if authorities.is_empty() {
            return Err(format!("{field} holds no certificate that can be read; put the authority's PEM there"));
        }
        client = authorities.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
    }
    let client = client
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_PATIENCE)
        .pool_idle_timeout(IDLE)
        .http1_only()
        .user_agent(concat!("onceward/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map(Direct).map_err(|error| crate::metrics::with_cause(&error))
}

/// Hands out the one client that was made for this store.
#[derive(Debug)]
pub(super) struct Direct(reqwest::Client);

impl HttpConnector for Direct {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}
