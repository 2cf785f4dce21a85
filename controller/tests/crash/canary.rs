//! No value of a Secret, and nothing of the private key that requests are signed with, is in anything that the controller
//! writes, says or shows; and it never asks for a Secret.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::pipeline::Phase;
use api::report::Words;
use api::token::{Signer, Untrusted, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use controller::cluster::{self, Ask, Lease};
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use serde_json::{Value, json};
use stage::inprocess::{EVENTS, Fate, Fates, Key, PODS, Request, SECRETS};
use stage::script::{Cluster, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::trouble::{Plan, Trouble};
use crate::world::{NAME, NAMESPACE, World};

/// Values of Secrets: by name and key.
const VALUES: [(&str, &str, &str); 7] = [
    ("bucket", "id", "canary-AKIA-7f3a"),
    ("bucket", "key", "canary-s3-9b1d"),
    ("shop-ca", "ca.crt", "canary-ca-55e0"),
    ("shop-client", "tls.crt", "canary-crt-e2c4"),
    ("shop-client", "tls.key", "canary-tls-0d77"),
    ("shop-user", "password", "canary-sasl-c8a2"),
    ("proxy", "url", "canary-env-41bb"),
];
const LOOK: Duration = Duration::from_millis(100);
const MOST_LOOKS: u32 = 3_000;

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<String>>);

impl Capture {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One line.
    fn add(&self, text: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(all, "{text}");
    }
}

/// Takes every event and span at every level, with all fields.
struct Log {
    lines: Capture,
    spans: AtomicU64,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields(format!("{} {}", span.metadata().level(), span.metadata().name()));
        span.record(&mut fields);
        self.lines.add(&fields.0);
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        self.lines.add(&fields.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut fields);
        self.lines.add(&fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Writes down every request, as it is sent.
#[derive(Clone, Default)]
struct Listening {
    requests: Capture,
    of_secrets: Capture,
}

impl Fates for Listening {
    fn of(&self, request: &Request) -> Fate {
        self.requests.add(&format!("{request:?}"));
        if *request.kind == SECRETS {
            self.of_secrets.add(&format!("{request:?}"));
        }
        Fate::Answered
    }
}

/// Writes down what workers are told: as they are looked at, and as they are asked for something.
struct Workers {
    cluster: Cluster,
    looks: Capture,
    tokens: Capture,
}

impl Ask for Workers {
    fn ask<'a>(&'a self, address: &'a str, token: Option<&'a str>) -> BoxFuture<'a, Option<Words>> {
        token.inspect(|token| self.looks.add(token));
        future::ready(self.cluster.ask(address).map(Words::from)).boxed()
    }

    fn request<'a>(&'a self, _address: &'a str, token: String) -> BoxFuture<'a, Result<(), String>> {
        self.tokens.add(&token);
        future::ready(Ok(())).boxed()
    }
}

fn spec() -> Value {
    let secret = |secret: &str, key: &str| json!({ "secret": secret, "key": key });
    json!({
        "connections": [{ "name": "shop", "kafka": {
            "bootstrapServers": ["shop.example.org:9093"],
            "tls": { "ca": secret("shop-ca", "ca.crt"), "certificate": secret("shop-client", "tls.crt"),
                "privateKey": secret("shop-client", "tls.key") },
            "sasl": { "mechanism": "SCRAM-SHA-512", "username": secret("shop-user", "username"),
                "password": secret("shop-user", "password") },
        } }],
        "sinks": [{ "name": "out", "input": "orders", "kafka": { "connection": "shop", "topic": "out" } }],
        "checkpoint": { "storage": { "s3": { "bucket": "checkpoints", "prefix": "revenue", "credentials": {
            "accessKeyId": secret("bucket", "id"), "secretAccessKey": secret("bucket", "key") } } } },
        "podTemplate": { "spec": { "containers": [{ "name": "worker", "env": [
            { "name": "HTTPS_PROXY", "valueFrom": { "secretKeyRef": { "name": "proxy", "key": "url" } } },
        ], "envFrom": [{ "secretRef": { "name": "proxy" } }] }] } },
    })
}

/// What must be nowhere: each value as it is and as Kubernetes writes it; of the key its text and its 32 bytes in the usual forms.
fn canaries(pem: &str) -> Vec<String> {
    let mut all: Vec<String> =
        VALUES.iter().flat_map(|(_, _, value)| [(*value).to_owned(), STANDARD.encode(value)]).collect();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(&body).expect("base64");
    // PKCS #8 wraps them as an octet string within one.
    let begin = der.windows(4).position(|bytes| bytes == [0x04, 0x22, 0x04, 0x20]).expect("a key") + 4;
    let key = &der[begin..begin + 32];
    let hex = key.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let debug = format!("{:?}", &key[..8]);
    all.extend([body[20..60].to_owned(), STANDARD.encode(key), URL_SAFE_NO_PAD.encode(key), hex]);
    all.push(debug.trim_matches(['[', ']']).to_owned());
    all
}

fn found<'a>(text: &str, canaries: &'a [String]) -> Vec<&'a str> {
    canaries.iter().map(String::as_str).filter(|canary| text.contains(canary)).collect()
}

async fn until(world: &World, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..MOST_LOOKS {
        if is_so() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert!(is_so(), "it never comes: {what}\n{}", world.told());
}

async fn scraped(address: SocketAddr) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("it listens");
    connection.write_all(b"GET /metrics HTTP/1.0\r\nHost: here\r\n\r\n").await.expect("it reads");
    let mut text = String::new();
    connection.read_to_string(&mut text).await.expect("it answers");
    text
}

/// Everything that can happen to a Pipeline in short.
async fn live(world: &World, tokens: &Capture, metrics: SocketAddr) -> String {
    let is_running = |world: &World| world.is(Phase::Running) && world.status().checkpoints.last_completed.is_some();
    until(world, "it runs", || is_running(world)).await;
    let mut seen = scraped(metrics).await;
    world.edit(|pipeline| {
        pipeline["metadata"]["annotations"] = json!({ "onceward.dev/savepoint-requested-at": "2026-01-01T10:00:00Z" });
    });
    until(world, "a savepoint is asked for", || !tokens.text().is_empty()).await;
    world.cluster.evict(&world.pod().expect("a pod"));
    until(world, "it runs again", || is_running(world) && world.status().restarts.total == 1).await;
    world.edit(|pipeline| pipeline["spec"]["image"] = "onceward:next".into());
    until(world, "it is replaced", || world.status().restarts.reasons.contains_key("SpecChanged")).await;
    until(world, "it runs anew", || is_running(world)).await;
    world.cluster.block(NAMESPACE, NAME, true);
    until(world, "commits wait", || !world.status().pending_commits.is_empty()).await;
    seen += &scraped(metrics).await;
    world.cluster.block(NAMESPACE, NAME, false);
    world.edit(|pipeline| pipeline["spec"]["suspend"] = true.into());
    until(world, "it is suspended", || world.is(Phase::Suspended)).await;
    seen += &scraped(metrics).await;
    world.delete_pipeline();
    until(world, "it is gone", || world.pipeline().is_none() && world.pod().is_none()).await;
    seen
}

fn put_secrets(world: &World) {
    for (secret, _, _) in VALUES {
        let of_it = VALUES.iter().filter(|(of, _, _)| *of == secret);
        let data: serde_json::Map<_, _> =
            of_it.map(|(_, key, value)| ((*key).to_owned(), STANDARD.encode(value).into())).collect();
        world.server.put(&Key::new(&SECRETS, NAMESPACE, secret), json!({ "data": data }));
    }
}

/// Every state of every object but Secrets, how many of them are events, and the pods' alone.
fn written(world: &World) -> (String, usize, String) {
    let (mut written, mut events, mut pods) = (String::new(), 0, String::new());
    world.server.changes(|change| {
        let after = change.after.as_ref().map(ToString::to_string).unwrap_or_default();
        match change.key.kind {
            kind if *kind == SECRETS => return,
            kind if *kind == EVENTS => events += 1,
            kind if *kind == PODS => pods += &after,
            _ => {}
        }
        let _ = writeln!(written, "{after}");
    });
    (written, events, pods)
}

#[test]
fn no_secret_is_in_anything_that_the_controller_writes_says_or_shows() {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    let signer = Signer::from_pem(&pem).expect("a key");
    let canaries = canaries(&pem);
    let logs = Capture::default();
    let subscriber = Log { lines: logs.clone(), spans: AtomicU64::new(0) };
    // With a single one alive, what another test's thread comes by first is thought to be of no interest to anybody.
    let another = tracing::Dispatch::new(Log { lines: Capture::default(), spans: AtomicU64::new(0) });
    let port = stage::ports::Port::reserve().expect("a port");
    let metrics = SocketAddr::from(([127, 0, 0, 1], port.number));
    let (listening, looks, tokens) = (Listening::default(), Capture::default(), Capture::default());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("threads");
    let logging = tracing::subscriber::set_default(subscriber);
    let (shown, written, events, pods) = runtime.block_on(async {
        let mut world = World::new(Script { units: u64::MAX, deaths: vec![] }, Trouble::new(Plan::Nothing));
        put_secrets(&world);
        let mut options = world.options();
        options.settings.controller_key = Some(signer.public_key());
        options.signer = Some(Arc::new(signer));
        options.metrics = Some(metrics);
        let (cluster, looks) = (world.cluster.clone(), looks.clone());
        options.workers = Arc::new(Workers { cluster, looks, tokens: tokens.clone() });
        options.lease =
            Some(Lease { namespace: NAMESPACE.to_owned(), name: "onceward".to_owned(), identity: "one".to_owned() });
        let client = world.server.client(Arc::new(listening.clone()));
        world.spawn(cluster::run(client, options, future::pending()).map(drop));
        world.create(&spec());
        let shown = live(&world, &tokens, metrics).await;
        let (written, events, pods) = written(&world);
        (shown, written, events, pods)
    });
    drop((logging, another));
    let (logs, requests, looks, tokens) = (logs.text(), listening.requests.text(), looks.text(), tokens.text());
    let everywhere = [&shown, &written, &logs, &requests, &looks, &tokens];
    for text in everywhere {
        assert_eq!(found(text, &canaries), Vec::<&str>::new());
    }
    assert_eq!(listening.of_secrets.text(), "", "it asks for Secrets");
    // It was all there to be found: names of Secrets are in pods, the public half in their arguments, and each canary is noticed.
    let public = Signer::from_pem(&pem).expect("a key").public_key();
    assert!(VALUES.iter().all(|(secret, _, _)| pods.contains(secret)) && pods.contains(&public), "{pods}");
    let key = Verifier::new(&public).expect("a public key");
    let is_late = |verdict: Option<Untrusted>| verdict == Some(Untrusted::Time);
    let of = format!("{NAMESPACE}/{NAME}");
    assert!(tokens.lines().all(|token| is_late(key.verify(token, &of, 0).err())), "{tokens}");
    assert!(!looks.is_empty() && looks.lines().all(|token| is_late(key.verify_look(token, &of, 0).err())), "{looks}");
    assert_eq!(canaries.len(), 2 * VALUES.len() + 5);
    for canary in &canaries {
        assert!(found(&format!("{written}{canary}{logs}"), &canaries).contains(&canary.as_str()));
    }
    let traces = logs.lines().filter(|line| line.starts_with("TRACE")).count();
    let (changes, requests) = (written.lines().count(), requests.lines().count());
    println!(
        "{traces} lines at TRACE, {requests} requests, {changes} changes, {events} events, {} bytes of metrics",
        shown.len()
    );
    assert!(traces >= 100 && requests >= 60 && changes >= 60 && events >= 5, "too little was seen");
    assert!(shown.matches("onceward_pipeline_status_phase{").count() >= 3 * 9, "{shown}");
    assert!(
        shown.contains("onceward_pipeline_pending_commits{namespace=\"default\",pipeline=\"revenue\"} 1"),
        "{shown}"
    );
}
