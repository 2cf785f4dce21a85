//! What is made of answers that a real server gives seldom, or that no real server was asked for: a scripted one gives them.

use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::secrets::{SecretBytes, SecretString};
use crate::tasks::{self, Task};

mod azure;
mod gcs;
mod s3;

const NAME: &str = "0/attempts/1/claim";

/// Status, headers, body.
#[derive(Clone)]
struct Answer(u16, Vec<(&'static str, String)>, String);

/// Method, path with query, and those headers that set a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    what: String,
    conditions: Vec<String>,
}

/// Gives its answers one after the other, the last to everything else, and keeps what it was asked.
struct Scripted {
    /// Without any it never answers.
    answers: Mutex<Vec<Answer>>,
    asked: Mutex<Vec<Asked>>,
}

struct Server {
    state: Arc<Scripted>,
    address: String,
    _serving: Task<()>,
}

async fn reply(State(state): State<Arc<Scripted>>, request: Request) -> Response {
    let conditions = ["if-none-match", "if-match", "x-goog-if-generation-match"].into_iter().filter_map(|name| {
        let value = request.headers().get(name)?.to_str().unwrap();
        Some(format!("{name}: {value}"))
    });
    let what = format!("{} {}", request.method(), request.uri());
    state.asked.lock().unwrap().push(Asked { what, conditions: conditions.collect() });
    let answer = {
        let mut answers = state.answers.lock().unwrap();
        if answers.len() > 1 { Some(answers.remove(0)) } else { answers.first().cloned() }
    };
    let Some(Answer(status, headers, body)) = answer else { return std::future::pending().await };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Server {
    /// `None`: it never answers.
    async fn start(answer: Option<(u16, &str)>) -> Self {
        Self::start_with(answer.map(|(status, body)| Answer(status, Vec::new(), body.to_owned())).into_iter().collect())
            .await
    }

    async fn start_with(answers: Vec<Answer>) -> Self {
        let state = Arc::new(Scripted { answers: Mutex::new(answers), asked: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(reply).with_state(Arc::clone(&state));
        let serving = tasks::spawn("server", async move { axum::serve(listener, app).await.unwrap() });
        Self { state, address, _serving: serving }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }
}

fn open(settings: &Settings) -> BucketStore {
    BucketStore::open(settings, Arc::new(SystemClock)).unwrap()
}

async fn create(store: &BucketStore) -> Result<Created, StoreError> {
    store.create(NAME, Bytes::from_static(b"one")).await
}

/// An answer as all three services write it.
fn said(code: &str, message: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

/// An environment that says only this.
fn environment(names: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let names: Vec<(String, String)> = names.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    move |name| names.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}
