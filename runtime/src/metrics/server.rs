//! Serves `/metrics`, `/healthz` and `/readyz` to everybody; a page for people; `/state` where somebody keeps a report. Where
//! a controller is known, the report and checkpoints are for whoever has its token, and the page for whoever is on this
//! machine: in a pod, for those whom Kubernetes lets forward a port.

use std::net::SocketAddr;
use std::sync::Arc;

use api::token::Untrusted;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
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
        let page = if door.is_some() { page.layer(from_fn(only_from_here)) } else { page };
        let router = router(metrics, observer, door).merge(page);
        let task = tasks::spawn("metrics", async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            if let Err(error) = axum::serve(listener, service).await {
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
    let (keeper, doorkeeper) = (Arc::clone(&observer), door.clone());
    let asked = match door {
        Some(door) => {
            let take = move |headers: HeaderMap| std::future::ready(asked(&door, &headers, observer.as_ref()));
            Router::new().route("/checkpoint", post(take))
        }
        None => Router::new(),
    };
    asked
        .route("/metrics", get(move || std::future::ready(text(&metrics))))
        .route(
            "/state",
            get(move |headers: HeaderMap| {
                std::future::ready(match doorkeeper.as_ref().map(|door| may_look(door, &headers)) {
                    Some(Err(refused)) => *refused,
                    Some(Ok(())) | None => state(keeper.as_ref()),
                })
            }),
        )
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
    match token(headers).map(|token| door.knock(token, observer)) {
        Some(Ok(())) => StatusCode::ACCEPTED.into_response(),
        Some(Err(error)) => untrusted(error),
        None => (StatusCode::UNAUTHORIZED, WITHOUT_TOKEN).into_response(),
    }
}

/// Whether the report may be read; else the answer.
fn may_look(door: &Door, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let without = || (StatusCode::UNAUTHORIZED, WITHOUT_TOKEN).into_response();
    let token = token(headers).ok_or_else(|| Box::new(without()))?;
    door.may_look(token).map_err(|error| Box::new(untrusted(error)))
}

const WITHOUT_TOKEN: &str = "it takes a token of the controller\n";

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn untrusted(error: Untrusted) -> Response {
    (StatusCode::UNAUTHORIZED, format!("{error}\n")).into_response()
}

/// Whoever forwards a port comes from the pod itself.
pub(super) async fn only_from_here(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the page is for those who forward a port: kubectl port-forward\n").into_response()
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
