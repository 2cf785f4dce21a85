//! The way from a client to the server and back.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, future};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};

use super::fate::{Fate, Fates};
use super::refusal::Refusal;
use super::request::{Request, Verb};
use super::write::Written;
use super::{Lost, Server, read, watch, write};

type Answer = Response<UnsyncBoxBody<Bytes, Lost>>;

/// Of one client.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) server: Server,
    pub(super) fates: Arc<dyn Fates>,
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = Answer;
    type Error = Lost;
    type Future = BoxFuture<'static, Result<Answer, Lost>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        async move { service.answer(request).await }.boxed()
    }
}

impl Service {
    pub(super) async fn answer(self, request: http::Request<Body>) -> Result<Answer, Lost> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(|_| Lost)?;
        let kind = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let request = match Request::read(&head.method, &head.uri, kind.unwrap_or_default(), &body) {
            Ok(request) => request,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        match self.fates.of(&request) {
            Fate::Answered => {}
            Fate::Late => self.fates.hold().await,
            Fate::AnsweredLate => {
                let answer = self.carry_out(&request);
                self.fates.hold().await;
                return Ok(answer.unwrap_or_else(|refusal| refused(&refusal)));
            }
            Fate::Refused(code) => return Ok(refused(&Refusal::trouble(code))),
            Fate::Unsent => return Err(Lost),
            // The one who waits is taken away by the test.
            Fate::DeadBefore => return future::pending().await,
            Fate::Denied(code) => {
                drop(self.carry_out(&request));
                return Ok(refused(&Refusal::trouble(code)));
            }
            Fate::Unheard => {
                drop(self.carry_out(&request));
                return Err(Lost);
            }
            Fate::DeadAfter => {
                drop(self.carry_out(&request));
                return future::pending().await;
            }
        }
        Ok(self.carry_out(&request).unwrap_or_else(|refusal| refused(&refusal)))
    }

    fn carry_out(&self, request: &Request) -> Result<Answer, Refusal> {
        let server = &self.server;
        match request.verb {
            Verb::Get => server.with(|store| read::get(store, request)).map(|object| json_answer(200, &object)),
            Verb::List => {
                let age = self.fates.age_of_list(request);
                let listed = server.with(|store| {
                    let at = store.revision().saturating_sub(age).max(store.compacted());
                    read::list(store, request, Some(at))
                });
                listed.map(|list| json_answer(200, &list))
            }
            Verb::Watch => {
                let lines = watch::watch(server, request, self.fates.of_watch(request))?;
                let body = StreamBody::new(lines.map(|line| line.map(Frame::data)));
                Ok(response(200, BodyExt::boxed_unsync(body)))
            }
            Verb::Create | Verb::Update | Verb::MergePatch | Verb::Apply | Verb::Delete => {
                let now_ms = server.clock().now_ms();
                let written = server.change(|store| write::write(store, request, now_ms))?;
                Ok(match written {
                    Written::Made(object) => json_answer(201, &object),
                    Written::Gone(object) if request.verb == Verb::Delete && request.kind.plural != "pods" => {
                        json_answer(200, &gone(request, &object))
                    }
                    Written::There(object) | Written::Gone(object) => json_answer(200, &object),
                })
            }
        }
    }
}

/// What a deletion that is done at once is answered with.
fn gone(request: &Request, object: &Value) -> Value {
    let details = json!({ "name": request.name, "group": request.kind.group, "kind": request.kind.plural,
        "uid": object.pointer("/metadata/uid") });
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

fn refused(refusal: &Refusal) -> Answer {
    json_answer(refusal.code, &refusal.body())
}

fn json_answer(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    response(code, BodyExt::boxed_unsync(body))
}

fn response(code: u16, body: UnsyncBoxBody<Bytes, Lost>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
