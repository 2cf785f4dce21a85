use std::sync::Arc;

use api::report::WorkerReport;
use api::token::{Ask, Look, Signer, Verifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::from_fn;

use super::server::only_from_here;
use super::*;
use crate::run::{Control, Door, Observer, Requests, RunEvent};

fn metrics() -> Metrics {
    Metrics::new(&Names {
        pipeline: "revenue".into(),
        sources: vec!["orders".into()],
        operators: vec!["per_customer/window".into()],
        stages: vec![("per_customer/window".into(), 2)],
        sinks: vec!["out".into()],
        guarantee: "ExactlyOnce".into(),
    })
    .unwrap()
}

#[test]
fn every_series_is_there_at_zero_from_the_start() {
    let text = metrics().text().unwrap();
    for series in [
        "onceward_checkpoints_total{pipeline=\"revenue\",result=\"timed_out\"} 0",
        "onceward_checkpoint_consecutive_failures{pipeline=\"revenue\"} 0",
        "onceward_checkpoint_stage_duration_seconds_count{pipeline=\"revenue\",stage=\"pre_commit\"} 0",
        "onceward_commits_total{pipeline=\"revenue\",result=\"lost\",sink=\"out\"} 0",
        "onceward_commit_retries_total{pipeline=\"revenue\",sink=\"out\"} 0",
        "onceward_commits_pending{pipeline=\"revenue\",sink=\"out\"} 0",
        "onceward_source_records_total{pipeline=\"revenue\",source=\"orders\"} 0",
        "onceward_operator_late_records_dropped_total{operator=\"per_customer/window\",pipeline=\"revenue\"} 0",
        "onceward_operator_busy_seconds_total{operator=\"per_customer/window\",pipeline=\"revenue\",subtask=\"1\"} 0",
        "onceward_sink_records_total{pipeline=\"revenue\",sink=\"out\"} 0",
        "onceward_record_visible_latency_seconds_count{pipeline=\"revenue\",sink=\"out\"} 0",
        "onceward_pipeline_info{guarantee=\"ExactlyOnce\",pipeline=\"revenue\"} 1",
        "onceward_pipeline_restarts_total{pipeline=\"revenue\",reason=\"failure\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is missing in\n{text}");
    }
    let named = |line: &str| line.starts_with('#') || line.starts_with("onceward_");
    assert!(text.lines().all(named), "{text}");
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    send(address, &format!("GET {path} HTTP/1.1\r\n")).await
}

async fn send(address: std::net::SocketAddr, begin: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{begin}host: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Keeps no report.
struct Silent;

impl Observer for Silent {
    fn event(&self, _: RunEvent) {}
}

#[tokio::test]
async fn the_server_is_ready_only_while_an_attempt_processes_records() {
    let metrics = metrics();
    let server =
        MetricsServer::bind("127.0.0.1:0".parse().unwrap(), metrics.clone(), Arc::new(Silent), (None, Router::new()))
            .await
            .unwrap();
    assert!(get(server.address(), "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(server.address(), "/readyz").await.starts_with("HTTP/1.1 503"));
    metrics.ready.set(1);
    assert!(get(server.address(), "/readyz").await.starts_with("HTTP/1.1 200"));
    metrics.checkpoints.total.with_label_values(&["completed"]).inc();
    assert!(get(server.address(), "/state").await.starts_with("HTTP/1.1 404"), "nobody keeps a report");
    let text = get(server.address(), "/metrics").await;
    assert!(text.contains("onceward_checkpoints_total{pipeline=\"revenue\",result=\"completed\"} 1"), "{text}");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let server =
        MetricsServer::bind("127.0.0.1:0".parse().unwrap(), metrics(), Arc::new(Silent), (None, Router::new()))
            .await
            .unwrap();
    let taken =
        MetricsServer::bind(server.address(), metrics(), Arc::new(Silent), (None, Router::new())).await.err().unwrap();
    assert!(taken.to_string().contains(&server.address().to_string()));
}

/// Counts requests that it is told of.
#[derive(Default)]
struct Counting(std::sync::Mutex<Vec<(String, bool)>>);

impl Observer for Counting {
    fn event(&self, event: RunEvent) {
        if let RunEvent::CheckpointRequested { id, savepoint } = event {
            self.0.lock().unwrap().push((id, savepoint));
        }
    }
}

/// Keeps one that says nothing.
struct Keeping;

impl Observer for Keeping {
    fn event(&self, _: RunEvent) {}

    fn report(&self) -> Option<WorkerReport> {
        Some(WorkerReport::default())
    }
}

/// Of the worker of `shop/revenue`, with the key that opens it.
fn door() -> (Door, Signer, Arc<crate::clock::ManualClock>) {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----";
    let signer = Signer::from_pem(pem).unwrap();
    let clock = Arc::new(crate::clock::ManualClock::default());
    let control = Control { verifier: Verifier::new(&signer.public_key()).unwrap(), pipeline: "shop/revenue".into() };
    let door = Door { control, requests: Requests::default(), clock: Arc::<crate::clock::ManualClock>::clone(&clock) };
    (door, signer, clock)
}

#[tokio::test]
async fn the_report_of_a_worker_with_a_controller_is_read_with_its_token_only() {
    let (door, signer, clock) = door();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = MetricsServer::bind(any, metrics(), Arc::new(Keeping), (Some(door), Router::new())).await.unwrap();
    let open = MetricsServer::bind(any, metrics(), Arc::new(Keeping), (None, Router::new())).await.unwrap();
    let look = |pipeline: &str| {
        let expires_ms = crate::clock::Clock::wall_ms(clock.as_ref()) + 1_000;
        let token = signer.sign_look(&Look { pipeline: pipeline.into(), expires_ms });
        format!("GET /state HTTP/1.1\r\nauthorization: Bearer {token}\r\n")
    };
    assert!(send(server.address(), &look("shop/revenue")).await.starts_with("HTTP/1.1 200"));
    for refused in [look("shop/other"), "GET /state HTTP/1.1\r\n".to_owned()] {
        assert!(send(server.address(), &refused).await.starts_with("HTTP/1.1 401"));
    }
    for free in ["/metrics", "/healthz"] {
        assert!(get(server.address(), free).await.starts_with("HTTP/1.1 200"), "{free} is everybody's");
    }
    assert!(get(open.address(), "/state").await.starts_with("HTTP/1.1 200"), "without a controller it is, too");
}

/// What somebody at this address is answered.
async fn answered(mut router: Router, peer: &str) -> StatusCode {
    use tower::Service as _;
    let mut request = Request::new(axum::body::Body::empty());
    request.extensions_mut().insert(ConnectInfo(peer.parse::<std::net::SocketAddr>().unwrap()));
    router.call(request).await.unwrap().status()
}

#[tokio::test]
async fn the_page_of_a_worker_with_a_controller_is_for_those_on_its_own_machine() {
    let page =
        Router::new().route("/", axum::routing::get(|| std::future::ready("page"))).layer(from_fn(only_from_here));
    for (peer, status) in [
        ("127.0.0.1:5000", StatusCode::OK),
        ("[::1]:5000", StatusCode::OK),
        ("[::ffff:127.0.0.1]:5000", StatusCode::OK),
        ("10.0.0.7:5000", StatusCode::FORBIDDEN),
        ("[fd00::7]:5000", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(answered(page.clone(), peer).await, status, "{peer}");
    }
}

#[tokio::test]
async fn a_checkpoint_is_asked_for_with_a_token_of_the_controller_only() {
    let (door, signer, clock) = door();
    let observer = Arc::new(Counting::default());
    let (any, told) = ("127.0.0.1:0".parse().unwrap(), Arc::<Counting>::clone(&observer));
    let server = MetricsServer::bind(any, metrics(), told, (Some(door), Router::new())).await.unwrap();
    let closed = MetricsServer::bind(any, metrics(), Arc::new(Silent), (None, Router::new())).await.unwrap();
    let ask = |pipeline: &str, id: &str| {
        let expires_ms = crate::clock::Clock::wall_ms(clock.as_ref()) + 1_000;
        signer.sign(&Ask { pipeline: pipeline.into(), id: id.into(), savepoint: true, expires_ms })
    };
    let post = |token: String| format!("POST /checkpoint HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
    for token in [ask("shop/other", "a"), "x.y".to_owned(), String::new()] {
        assert!(send(server.address(), &post(token)).await.starts_with("HTTP/1.1 401"));
    }
    assert!(send(server.address(), "POST /checkpoint HTTP/1.1\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(get(server.address(), "/checkpoint").await.starts_with("HTTP/1.1 405"));
    assert!(observer.0.lock().unwrap().is_empty());
    for id in ["a", "a", "b"] {
        assert!(send(server.address(), &post(ask("shop/revenue", id))).await.starts_with("HTTP/1.1 202"));
    }
    assert_eq!(*observer.0.lock().unwrap(), [("a".to_owned(), true), ("b".to_owned(), true)]);
    let answer = send(closed.address(), &post(ask("shop/revenue", "a"))).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "nobody may ask: {answer}");
}
