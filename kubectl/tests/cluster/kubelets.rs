//! Kubelets behind the server in process: they have logs.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Response;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use stage::inprocess::Fates;

use crate::world::{NAMESPACE, World};

/// What is answered to who asks for a pod's log, with this query.
pub(crate) type Answer = dyn Fn(&str, &str) -> Log + Send + Sync;

pub(crate) enum Log {
    /// Lines, and the connection ends.
    Said(String),
    Refused(u16),
    /// Nothing comes, and the connection stays.
    Silent,
}

struct Kubelets {
    inner: Client,
    answer: Arc<Answer>,
}

impl tower::Service<http::Request<Body>> for Kubelets {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (inner, answer) = (self.inner.clone(), Arc::clone(&self.answer));
        async move {
            let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
            let Some(pod) = path.strip_suffix("/log").and_then(|path| path.rsplit('/').next()) else {
                return inner.send(request).await;
            };
            match answer(pod, &query) {
                Log::Said(text) => Ok(Response::new(Body::from(text.into_bytes()))),
                Log::Refused(code) => {
                    let status = json!({ "kind": "Status", "code": code, "reason": "", "message": "no such log" });
                    let answer = Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
                    Ok(answer.unwrap())
                }
                Log::Silent => {
                    let nothing = "/api/v1/namespaces/nobody/pods?watch=true&resourceVersion=1000000";
                    inner.send(http::Request::get(nothing).body(Body::from(vec![])).unwrap()).await
                }
            }
        }
        .boxed()
    }
}

/// Puts them behind the world's server.
pub(crate) fn serve(world: &mut World, answer: impl Fn(&str, &str) -> Log + Send + Sync + 'static) {
    let inner = world.server.client(Arc::clone(&world.asked) as Arc<dyn Fates>);
    world.client = Client::new(Kubelets { inner, answer: Arc::new(answer) }, NAMESPACE);
}

/// Each line with a time, a second later than the one before, as whoever asks for times has them.
pub(crate) fn timed(text: &str) -> String {
    let lines = text.lines().enumerate();
    let lines: Vec<_> = lines.map(|(second, line)| format!("2026-01-01T10:00:{second:02}.5Z {line}\n")).collect();
    lines.concat()
}
