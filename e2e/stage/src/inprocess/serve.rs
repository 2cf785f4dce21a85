//! The same server over HTTP, for clients in other processes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;

use super::fate::Fates;
use super::service::Service;
use super::{Lost, Server};

/// Far more than an object has.
const MOST_BYTES: usize = 4 << 20;

impl Server {
    /// Serves without TLS; whoever can reach the listener may do everything. Returns only if it cannot go on.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(&self, listener: TcpListener, fates: Arc<dyn Fates>) -> std::io::Result<()> {
        let service = Service { server: self.clone(), fates };
        let router = Router::new().fallback(move |request| answer(service.clone(), request));
        axum::serve(listener, router).await
    }
}

/// A connection cannot be broken from here: what is lost is answered as by a gateway that has lost its server.
async fn answer(service: Service, request: Request) -> Response {
    let answered = async {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, MOST_BYTES).await.map_err(|_| Lost)?;
        service.answer(http::Request::from_parts(head, body.into())).await
    };
    match answered.await {
        Ok(answer) => answer.map(Body::new),
        Err(lost) => (StatusCode::BAD_GATEWAY, lost.to_string()).into_response(),
    }
}
