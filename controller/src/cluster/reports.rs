//! Asks workers for their state over HTTP.

use std::time::Duration;

use api::report::{Unread, Words};
use futures::future::{self, BoxFuture, FutureExt as _};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
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
    /// What the worker at this address of a pod says to whoever has this token; None if nothing that a worker says.
    fn ask<'a>(&'a self, address: &'a str, token: Option<&'a str>) -> BoxFuture<'a, Option<Words>>;

    /// Has the worker take a checkpoint, by a signed token; an error in words.
    fn request<'a>(&'a self, address: &'a str, token: String) -> BoxFuture<'a, Result<(), String>> {
        let _ = (address, token);
        future::ready(Err("it takes no requests".to_owned())).boxed()
    }
}

/// Asks over HTTP. Cheap to clone; connections are kept.
#[derive(Clone)]
pub struct Reports {
    client: Client<HttpConnector, Empty<Bytes>>,
    port: u16,
}

impl Default for Reports {
    fn default() -> Self {
        Self::at(names::PORT)
    }
}

impl Reports {
    /// Of workers that serve at another port than theirs.
    pub fn at(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector);
        Self { client, port }
    }
}

impl Ask for Reports {
    fn ask<'a>(&'a self, address: &'a str, token: Option<&'a str>) -> BoxFuture<'a, Option<Words>> {
        self.answer_of(address, token).boxed()
    }

    fn request<'a>(&'a self, address: &'a str, token: String) -> BoxFuture<'a, Result<(), String>> {
        async move {
            match tokio::time::timeout(PATIENCE, self.post(address, &token)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err("it does not answer".to_owned()),
            }
        }
        .boxed()
    }
}

impl Reports {
    async fn answer_of(&self, address: &str, token: Option<&str>) -> Option<Words> {
        let uri = self.uri(address, "state").ok()?;
        match tokio::time::timeout(PATIENCE, self.get(uri, token)).await {
            Ok(Ok(words)) => words,
            Ok(Err(error)) => {
                tracing::debug!(address, %error, "a worker does not tell its state");
                None
            }
            Err(_) => None,
        }
    }

    async fn post(&self, address: &str, token: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let request =
            Request::post(self.uri(address, "checkpoint")?).header("authorization", format!("Bearer {token}"));
        let status = self.client.request(request.body(Empty::new())?).await?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}").into()) }
    }

    async fn get(
        &self,
        uri: Uri,
        token: Option<&str>,
    ) -> Result<Option<Words>, Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::get(uri);
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let answer = self.client.request(request.body(Empty::new())?).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // It was given the public half of another key.
            return Ok(Some(Words::Unread(Unread::default())));
        }
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await?.to_bytes();
        Ok(Words::read(&body))
    }

    fn uri(&self, address: &str, path: &str) -> Result<Uri, hyper::http::uri::InvalidUri> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        format!("http://{host}:{}/{path}", self.port).parse()
    }
}
