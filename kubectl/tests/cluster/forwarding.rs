//! A worker's page through a forwarded port: the other end is an API server over HTTP that upgrades to a web socket, and a
//! pod behind it that answers.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use kube::{Client, Config};
use serde_json::json;
use stage::inprocess::{Fair, Key, PODS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::reporting::pod;
use crate::world::{NAMESPACE, World};

const PORT: u16 = 9464;
const MOST_HEAD: usize = 16 << 10;

/// A request's head, and what came behind it.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(bytes.len() < MOST_HEAD, "a head without an end");
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            break;
        }
    }
    bytes
}

/// Everything but forwarded ports goes to the server in process, one request a connection.
async fn serve(listener: TcpListener, rest: std::net::SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let head = head(&mut stream).await;
            let text = String::from_utf8(head).unwrap();
            if text.contains("/portforward?") {
                return forwarded(stream, &text).await;
            }
            let mut server = TcpStream::connect(rest).await.unwrap();
            let text = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            server.write_all(text.as_bytes()).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        });
    }
}

/// As the API server does it: two channels for the port, data and errors; each message begins with its channel.
async fn forwarded(mut stream: TcpStream, head: &str) {
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).unwrap()
    };
    assert!(head.contains(&format!("ports={PORT}")) && header("sec-websocket-protocol").contains("v4.channel.k8s.io"));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n",
        derive_accept_key(header("sec-websocket-key").as_bytes())
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let [low, high] = PORT.to_le_bytes();
    for channel in [0, 1] {
        socket.send(Message::binary(vec![channel, low, high])).await.unwrap();
    }
    let mut asked = vec![];
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        asked.extend(&bytes[1..]);
        if asked.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let asked = String::from_utf8(asked).unwrap();
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let body = match path {
        "/graph" => json!({ "version": "9.8.7", "spec": {} }).to_string(),
        "/metrics" => "onceward_build_info{version=\"9.8.7\"} 1\n".to_owned(),
        path => json!({ "path": path }).to_string(),
    };
    let answer = format!("\0HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.send(Message::binary(answer.into_bytes())).await.unwrap();
    let _ = socket.close(None).await;
}

/// A Pipeline with a worker whose port can be forwarded.
async fn world(tasks: &mut JoinSet<()>) -> World {
    let mut world = World::at(1_767_261_600_000);
    world.create("revenue", &json!({}));
    world.server.put(&Key::new(&PODS, NAMESPACE, "revenue-0-aaaa"), pod(1, "Running"));
    let bound = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (rest, front) = (bound().await, bound().await);
    let (behind, address) = (rest.local_addr().unwrap(), front.local_addr().unwrap());
    let server = world.server.clone();
    tasks.spawn(async move { server.serve(rest, Arc::new(Fair)).await.unwrap() });
    tasks.spawn(serve(front, behind));
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    world.client = Client::try_from(config).unwrap();
    world
}

#[tokio::test]
async fn the_dashboard_is_the_workers_page_under_a_loopback_address() {
    let mut tasks = JoinSet::new();
    let world = world(&mut tasks).await;
    let said = world.said.clone();
    let look = async {
        let mut line = said.last();
        for _ in 0..1_000 {
            if line.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            line = said.last();
        }
        let address = line.unwrap().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        for path in ["/history", "/page.css"] {
            let mut page = TcpStream::connect(&address).await.unwrap();
            page.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            page.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("{{\"path\":\"{path}\"}}")),
                "{answer}"
            );
        }
    };
    assert_eq!(world.types_until("dashboard revenue --port 0", look).await, 0);
    assert!(world.said.err().contains("read-only; Ctrl-C ends it"));
    // A port that is taken is named, with what to do.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(world.types(&format!("dashboard revenue --port {port}")).await, 1);
    let err = world.said.err();
    assert!(err.contains(&format!("127.0.0.1:{port}")) && err.contains("--port"), "{err}");
}

#[tokio::test]
async fn version_and_report_have_what_the_worker_shows() {
    let mut tasks = JoinSet::new();
    let world = world(&mut tasks).await;
    assert_eq!(world.types("version revenue -o json").await, 0);
    let told: serde_json::Value = serde_json::from_str(&world.said.out()).unwrap();
    assert_eq!((&told["worker"], &told["workerImage"]), (&json!("9.8.7"), &json!("onceward:test")));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.zip");
    assert_eq!(world.types(&format!("report revenue --file {}", path.display())).await, 0, "{}", world.said.err());
    let bytes = std::fs::read(&path).unwrap();
    for name in ["worker/graph.json", "worker/history.json", "worker/metrics.txt"] {
        assert!(bytes.windows(name.len()).any(|part| part == name.as_bytes()), "{name} is missing");
    }
}

#[tokio::test]
async fn without_a_worker_there_is_no_page_and_that_is_said() {
    let mut tasks = JoinSet::new();
    let world = world(&mut tasks).await;
    world.server.remove(&Key::new(&PODS, NAMESPACE, "revenue-0-aaaa"));
    assert_eq!(world.types("dashboard revenue --port 0").await, 1);
    let err = world.said.err();
    assert!(err.contains("no worker of `revenue` runs") && err.contains("status revenue"), "{err}");
}

/// Nobody listens there.
#[tokio::test]
async fn a_cluster_that_is_down_is_not_reachable() {
    let mut world = World::at(1_767_261_600_000);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.client = Client::try_from(Config::new(format!("http://{gone}").parse().unwrap())).unwrap();
    assert_eq!(world.types("status").await, 3);
    let err = world.said.err();
    assert!(err.contains("the API server does not answer") && err.contains("--context"), "{err}");
    assert_eq!(world.types("savepoint revenue").await, 1);
}
