//! Serves `/metrics`, `/healthz`, `/readyz`, and `/state` where somebody keeps a report.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Metrics;
use crate::run::Observer;
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
    /// Binds before it returns, so that a taken port stops the run before anything is claimed.
    ///
    /// # Errors
    /// [`ServeError`] names the address.
    pub async fn bind(address: SocketAddr, metrics: Metrics, observer: Arc<dyn Observer>) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = router(metrics, observer);
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

fn router(metrics: Metrics, observer: Arc<dyn Observer>) -> Router {
    let ready = metrics.ready.clone();
    Router::new()
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
