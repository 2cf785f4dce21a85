//! Scripted workers over HTTP, as the real ones are asked.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use super::kubelet::Cluster;

/// The address that a connection was made to: that of a pod.
#[derive(Clone, Debug)]
struct Asked(String);

impl Connected<IncomingStream<'_, TcpListener>> for Asked {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().map(|address: SocketAddr| address.ip().to_string()).unwrap_or_default())
    }
}

impl Cluster {
    /// Serves what workers tell at the addresses of their pods, of which `listener` has one. Returns only if it cannot go on.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let cluster = self.clone();
        let state = move |ConnectInfo(asked): ConnectInfo<Asked>, headers: HeaderMap| {
            std::future::ready(state(&cluster, &asked, &headers))
        };
        let checkpoint = move |ConnectInfo(asked): ConnectInfo<Asked>, headers: HeaderMap| {
            std::future::ready(checkpoint(&self, &asked, &headers))
        };
        let router = Router::new().route("/state", get(state)).route("/checkpoint", post(checkpoint));
        axum::serve(listener, router.into_make_service_with_connect_info::<Asked>()).await
    }
}

fn state(cluster: &Cluster, asked: &Asked, headers: &HeaderMap) -> Response {
    if !cluster.may_look(&asked.0, token(headers)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let report = cluster.ask(&asked.0).and_then(|report| serde_json::to_string(&report).ok());
    match report {
        Some(report) => ([(header::CONTENT_TYPE, "application/json")], report).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn checkpoint(cluster: &Cluster, asked: &Asked, headers: &HeaderMap) -> Response {
    match cluster.request(&asked.0, token(headers)) {
        Some(Ok(())) => StatusCode::ACCEPTED.into_response(),
        Some(Err(untrusted)) => (StatusCode::UNAUTHORIZED, untrusted.to_string()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn token(headers: &HeaderMap) -> &str {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token.unwrap_or_default()
}
