//! Serves `/metrics`, `/healthz`, `/readyz`, the page for people, and `/state` where somebody keeps a report. Reading is for everybody; to ask for
//! a checkpoint takes a token of the controller.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use super::Metrics;
use crate::run::{Door, Observer};
use crate::tasks::{self, Task};

/// The address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}")]
pub struct ServeError {
    pub address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Serves until dropped.
pub struct MetricsServer {
    address: SocketAddr,
    _task: Task<()>,
}

impl MetricsServer {
    /// Binds before it returns, so that a taken port stops the run before anything is claimed. Without a door nobody can
    /// ask for anything.
    ///
    /// # Errors
    /// [`ServeError`] names the address.
    pub async fn bind(
        address: SocketAddr,
        metrics: Metrics,
        observer: Arc<dyn Observer>,
        (door, page): (Option<Door>, Router),
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = router(metrics, observer, door).merge(page);
        let task = tasks::spawn("metrics", async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        });
        Ok(Self { address, _task: task })
    }

    /// The port is known here when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn router(metrics: Metrics, observer: Arc<dyn Observer>, door: Option<Door>) -> Router {
    let ready = metrics.ready.clone();
    let asked = match door {
        Some(door) => {
            let observer = Arc::clone(&observer);
            let take = move |headers: HeaderMap| std::future::ready(asked(&door, &headers, observer.as_ref()));
            Router::new().route("/checkpoint", post(take))
        }
        None => Router::new(),
    };
    asked
        .route("/metrics", get(move || std::future::ready(text(&metrics))))
        .route("/state", get(move || std::future::ready(state(observer.as_ref()))))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route(
            "/readyz",
            get(move || {
                std::future::ready(match ready.get() {
                    0 => (StatusCode::SERVICE_UNAVAILABLE, "no attempt processes records\n"),
                    _ => (StatusCode::OK, "ok\n"),
                })
            }),
        )
}

fn asked(door: &Door, headers: &HeaderMap, observer: &dyn Observer) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.map(|token| door.knock(token, observer)) {
        Some(Ok(())) => StatusCode::ACCEPTED.into_response(),
        Some(Err(error)) => (StatusCode::UNAUTHORIZED, format!("{error}\n")).into_response(),
        None => (StatusCode::UNAUTHORIZED, "it takes a token of the controller\n").into_response(),
    }
}

fn text(metrics: &Metrics) -> axum::response::Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn state(observer: &dyn Observer) -> axum::response::Response {
    match observer.report().map(|report| serde_json::to_string(&report)) {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
