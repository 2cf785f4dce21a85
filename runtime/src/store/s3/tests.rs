//! What is made of answers that a real server gives seldom: a scripted one gives them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::secrets::SecretString;
use crate::tasks::{self, Task};

const ID: &str = "AKIA-hunter2-canary";
const SECRET: &str = "secret-hunter2-canary";

/// Status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, String);

/// Gives the same answer to everything, and keeps what it was asked.
struct Scripted {
    answer: Mutex<Option<Answer>>,
    asked: AtomicUsize,
    conditions: Mutex<Vec<Option<String>>>,
}

struct Server {
    state: Arc<Scripted>,
    address: String,
    _serving: Task<()>,
}

async fn reply(State(state): State<Arc<Scripted>>, request: Request) -> Response {
    state.asked.fetch_add(1, Ordering::SeqCst);
    let condition = request.headers().get("if-none-match").map(|value| value.to_str().unwrap().to_owned());
    state.conditions.lock().unwrap().push(condition);
    let answer = state.answer.lock().unwrap().clone();
    let Some((status, headers, body)) = answer else { return std::future::pending().await };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Server {
    /// `None`: it never answers.
    async fn start(answer: Option<(u16, &str)>) -> Self {
        let answer = answer.map(|(status, body)| (status, Vec::new(), body.to_owned()));
        let state =
            Arc::new(Scripted { answer: Mutex::new(answer), asked: AtomicUsize::new(0), conditions: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().fallback(reply).with_state(Arc::clone(&state));
        let serving = tasks::spawn("server", async move { axum::serve(listener, app).await.unwrap() });
        Self { state, address, _serving: serving }
    }

    fn store(&self, clock: Arc<dyn Clock>) -> S3Store {
        S3Store::open(&settings(Some(format!("http://{}", self.address))), clock).unwrap()
    }

    fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }
}

fn settings(endpoint: Option<String>) -> Settings {
    let credentials =
        Credentials { access_key_id: SecretString::new(ID), secret_access_key: SecretString::new(SECRET) };
    Settings {
        bucket: "shop".to_owned(),
        prefix: "prod/revenue".to_owned(),
        region: None,
        endpoint,
        credentials: Some(credentials),
    }
}

fn said(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>About {ID}.\u{1b}[31m</Message><AWSAccessKeyId>{ID}</AWSAccessKeyId></Error>"
    )
}

const NAME: &str = "0/attempts/1/claim";

async fn create(server: &Server) -> Result<Created, StoreError> {
    server.store(Arc::new(SystemClock)).create(NAME, Bytes::from_static(b"one")).await
}

#[tokio::test]
async fn only_a_plain_412_says_that_a_name_is_taken() {
    let server = Server::start(Some((412, &said("PreconditionFailed")))).await;
    assert_eq!(create(&server).await, Ok(Created::Exists));
    assert_eq!(*server.state.conditions.lock().unwrap(), [Some("*".to_owned())]);
    for (status, code) in [(409, "ConditionalRequestConflict"), (304, ""), (500, "InternalError"), (503, "SlowDown")] {
        let server = Server::start(Some((status, &said(code)))).await;
        let unknown = create(&server).await.unwrap_err();
        assert_eq!(unknown.retry, Retry::Backoff, "{status}: {unknown}");
        assert_eq!(server.asked(), 1, "{status}: nothing is tried again here");
    }
}

#[tokio::test]
async fn an_answer_without_proof_of_the_put_is_unknown() {
    // What a put answers has the object's tag; anybody could say 200.
    let server = Server::start(Some((200, "<html>welcome</html>"))).await;
    assert!(create(&server).await.is_err());
}

#[tokio::test]
async fn only_the_stores_own_word_says_that_an_object_is_missing() {
    let read = async |status, body: &str| {
        let server = Server::start(Some((status, body))).await;
        server.store(Arc::new(SystemClock)).read(NAME).await
    };
    assert_eq!(read(404, &said("NoSuchKey")).await, Ok(None));
    let missing = read(404, &said("NoSuchBucket")).await.unwrap_err();
    assert_eq!(missing.retry, Retry::Never);
    assert!(missing.message.contains("create the bucket"), "{missing}");
    let nobody = read(404, "<html>default backend</html>").await.unwrap_err();
    assert_eq!(nobody.retry, Retry::Backoff);
    assert!(nobody.message.contains("check `endpoint`"), "{nobody}");
}

#[tokio::test]
async fn refusals_say_whether_waiting_heals_and_what_to_do_and_no_secret() {
    for (status, code, retry, fix) in [
        (403, "InvalidAccessKeyId", Retry::Never, "check `accessKeyId` and `secretAccessKey`"),
        (403, "SignatureDoesNotMatch", Retry::Never, "check `accessKeyId` and `secretAccessKey`"),
        (403, "AccessDenied", Retry::Never, "need s3:ListBucket"),
        (403, "RequestTimeTooSkewed", Retry::Backoff, "set this machine's clock"),
        (400, "ExpiredToken", Retry::Backoff, "credentials"),
        (404, "NoSuchBucket", Retry::Never, "create the bucket"),
        (400, "AuthorizationHeaderMalformed", Retry::Never, "correct `region`"),
        (301, "PermanentRedirect", Retry::Never, "correct `region`"),
        (501, "NotImplemented", Retry::Never, "create only if absent"),
        (503, "SlowDown", Retry::Backoff, "503 SlowDown"),
    ] {
        let server = Server::start(Some((status, &said(code)))).await;
        let error = create(&server).await.unwrap_err();
        assert_eq!(error.retry, retry, "{code}: {error}");
        assert!(error.message.contains(fix), "{code}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("create s3://shop/prod/revenue/0/attempts/1/claim"), "{text}");
        assert!(!text.contains("canary") && !text.contains('\u{1b}'), "{text}");
    }
    let debugged = format!("{:?}", settings(None));
    assert!(!debugged.contains("canary"), "{debugged}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start(Some((404, &said("NoSuchKey")))).await;
    let server = Server::start(None).await;
    let location = format!("http://{}/shop/{NAME}", elsewhere.address);
    for status in [302, 307] {
        *server.state.answer.lock().unwrap() = Some((status, vec![("location", location.clone())], String::new()));
        let error = server.store(Arc::new(SystemClock)).read(NAME).await.unwrap_err();
        assert!(error.message.contains("check `endpoint`"), "{error}");
    }
    assert_eq!((server.asked(), elsewhere.asked()), (2, 0));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_as_long_as_is_written() {
    let server = Server::start(None).await;
    let clock = ManualClock::default();
    let store = Arc::new(server.store(Arc::new(clock.clone())));
    let asking = tasks::spawn("ask", async move { store.create(NAME, Bytes::from_static(b"one")).await });
    while server.asked() == 0 || clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(PATIENCE);
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.retry, Retry::Backoff);
    assert!(error.message.contains("no answer within 15 s"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_told_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = S3Store::open(&settings(Some(format!("http://{address}"))), Arc::new(SystemClock)).unwrap();
    let error = store.list("").await.unwrap_err();
    assert_eq!(error.retry, Retry::Backoff);
    assert!(error.message.starts_with("no answer: ") && error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_before_it_is_sent() {
    let server = Server::start(Some((404, ""))).await;
    let store = server.store(Arc::new(SystemClock));
    // Zeroed pages that nobody touches.
    let body = Bytes::from(vec![0; MOST_BYTES as usize + 1]);
    let error = store.create(NAME, body).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert!(error.message.contains("raise `parallelism`"), "{error}");
    assert_eq!(server.asked(), 0);
    assert_eq!((patience(0), patience(MOST_BYTES)), (PATIENCE, PATIENCE + Duration::from_secs(256)));
}

#[tokio::test]
async fn region_and_identity_come_from_the_environment_where_the_manifest_is_silent_and_nothing_else_does() {
    let region = |settings: &Settings, names: &[(&str, &str)]| {
        let names: Vec<(String, String)> = names.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        connect::connect(settings, move |name| names.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
            .map(|(bucket, secrets)| (format!("{bucket:?}"), secrets))
    };
    let (mut amazon, other) = (settings(None), settings(Some("http://minio:9000".to_owned())));
    let error = region(&amazon, &[]).unwrap_err();
    assert!(error.contains("spec.checkpoint.storage.s3.region is absent, and AWS_REGION is not set"), "{error}");
    assert!(
        region(&amazon, &[("AWS_REGION", "eu-north-1")])
            .unwrap()
            .0
            .contains("https://s3.eu-north-1.amazonaws.com/shop")
    );
    let (found, secrets) =
        region(&other, &[("AWS_ENDPOINT_URL", "http://evil"), ("AWS_CONDITIONAL_PUT", "disabled")]).unwrap();
    assert!(found.contains("http://minio:9000/shop") && !found.contains("evil"), "{found}");
    assert!(found.contains("region: \"us-east-1\"") && found.contains("conditional_put: ETagMatch"), "{found}");
    assert_eq!(secrets, [ID, SECRET]);
    amazon.credentials = None;
    amazon.region = Some("eu-central-1".to_owned());
    let given =
        [("AWS_ACCESS_KEY_ID", "id-1"), ("AWS_SECRET_ACCESS_KEY", "secret-1"), ("AWS_SESSION_TOKEN", "token-1")];
    assert_eq!(region(&amazon, &given).unwrap().1, ["id-1", "secret-1", "token-1"]);
}
