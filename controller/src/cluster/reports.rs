//! Asks workers for their state over HTTP.

use std::time::Duration;

use api::report::WorkerReport;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::names;

/// For the whole answer: a worker that takes longer says nothing this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Far more than a report has.
const MOST_BYTES: usize = 64 << 10;

/// The one way in which the controller hears of workers.
pub trait Ask: Send + Sync {
    /// What the worker at this address of a pod says; None if nothing that can be understood.
    fn ask<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<WorkerReport>>;
}

/// Asks over HTTP. Cheap to clone; connections are kept.
#[derive(Clone)]
pub struct Reports {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Reports {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        Self {
            client: Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector),
        }
    }
}

impl Ask for Reports {
    fn ask<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<WorkerReport>> {
        self.answer_of(address).boxed()
    }
}

impl Reports {
    async fn answer_of(&self, address: &str) -> Option<WorkerReport> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let uri: Uri = format!("http://{host}:{}/state", names::PORT).parse().ok()?;
        match tokio::time::timeout(PATIENCE, self.get(uri)).await {
            Ok(Ok(report)) => Some(report),
            Ok(Err(error)) => {
                tracing::debug!(address, %error, "a worker does not tell its state");
                None
            }
            Err(_) => None,
        }
    }

    async fn get(&self, uri: Uri) -> Result<WorkerReport, Box<dyn std::error::Error + Send + Sync>> {
        let answer = self.client.get(uri).await?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }
}
