//! Reports and logs: everything that helps is in them, and no secret; nobody asks for a Secret.

use std::io::Read as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use stage::inprocess::{CONFIG_MAPS, EVENTS, Fates, Key, PODS, SECRETS};

use crate::world::{NAMESPACE, World, manifest, paused};

/// Whatever has this in it is a secret.
const CANARY: &str = "canary-7f3a";

/// The server in process, and kubelets behind it that have logs.
struct Kubelets {
    inner: Client,
}

impl tower::Service<http::Request<Body>> for Kubelets {
    type Response = http::Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        async move {
            let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
            let Some(pod) = path.strip_suffix("/log").and_then(|path| path.rsplit('/').next()) else {
                return inner.send(request).await;
            };
            let text = format!("log of {pod} ({query})\nenv says {CANARY}-env \x1b[31m\npassword={CANARY}-log\n");
            Ok(http::Response::new(Body::from(text.into_bytes())))
        }
        .boxed()
    }
}

pub(crate) fn pod(serial: u64, phase: &str) -> Value {
    json!({
        "metadata": {
            "labels": { "onceward.dev/pipeline": "revenue", "onceward.dev/serial": serial.to_string() },
            "annotations": { "team/login": format!("{CANARY}-annotation") },
        },
        "spec": { "nodeName": "node-a", "containers": [
            { "name": "worker", "image": "onceward:test", "args": ["worker", "--purpose", "run"],
                "env": [{ "name": "LOGIN", "value": format!("{CANARY}-env") }] },
            { "name": "proxy", "image": "proxy:1", "args": [format!("--key={CANARY}-argument")] },
        ] },
        "status": { "phase": phase },
    })
}

/// A Pipeline with secrets in every place where people put them.
fn furnished() -> World {
    let mut world = World::at(1_767_261_600_000);
    let template = json!({ "metadata": { "annotations": { "team/login": format!("{CANARY}-template-annotation") } },
        "spec": { "containers": [{ "name": "worker", "env": [{ "name": "A", "value": format!("{CANARY}-template") }] }] } });
    let mut pipeline = manifest("revenue", &json!({ "podTemplate": template }));
    let applied = format!("{{\"spec\":\"{CANARY}-applied\"}}");
    pipeline["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": applied,
        "onceward.dev/restart-requested-at": "2026-01-01T09:00:00Z" });
    pipeline["status"] = json!({ "phase": "Running", "restarts": { "total": 1,
        "lastReason": format!("cannot reach https://user:{CANARY}-url@store/x") } });
    world.put(pipeline);
    let put = |kind, name: &str, object: Value| world.server.put(&Key::new(kind, NAMESPACE, name), object);
    put(&PODS, "revenue-0-aaaa", pod(1, "Succeeded"));
    put(&PODS, "revenue-0-bbbb", pod(2, "Running"));
    let labels = json!({ "onceward.dev/pipeline": "revenue", "onceward.dev/configuration": "c0ffee" });
    let held = json!({ "spec": { "sources": [], "note": format!("token={CANARY}-configuration") } });
    put(
        &CONFIG_MAPS,
        "revenue-c0ffee",
        json!({ "metadata": { "labels": labels },
        "data": { "pipeline.yaml": held.to_string() } }),
    );
    put(&SECRETS, "login", json!({ "data": { "password": format!("{CANARY}-secret") } }));
    let event = |kind: &str, name: &str| {
        json!({ "regarding": { "kind": kind, "name": name }, "reason": "Told",
        "note": format!("it said {CANARY}-env") })
    };
    put(&EVENTS, "of-the-pipeline", event("Pipeline", "revenue"));
    put(&EVENTS, "of-a-pod-that-is-gone", event("Pod", "revenue-0-zzzz"));
    put(&EVENTS, "of-another", event("Pipeline", "revenue-2"));
    let inner = world.server.client(Arc::clone(&world.asked) as Arc<dyn Fates>);
    world.client = Client::new(Kubelets { inner }, NAMESPACE);
    world
}

/// Names and contents, by the archive's own directory.
fn unzipped(bytes: &[u8]) -> Vec<(String, String)> {
    let short = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let long = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = bytes.len() - 22;
    assert_eq!(long(end), 0x0605_4b50, "an archive ends with its directory's place");
    let (mut at, mut files) = (long(end + 16), vec![]);
    for _ in 0..short(end + 10) {
        assert_eq!(long(at), 0x0201_4b50);
        let name = String::from_utf8(bytes[at + 46..at + 46 + short(at + 28)].to_vec()).unwrap();
        let (packed, local) = (long(at + 20), long(at + 42));
        let begin = local + 30 + short(local + 26) + short(local + 28);
        let mut content = String::new();
        let data = &bytes[begin..begin + packed];
        flate2::read::DeflateDecoder::new(data).read_to_string(&mut content).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content.as_bytes());
        assert_eq!((crc.sum() as usize, content.len()), (long(at + 16), long(at + 24)), "{name}");
        at += 46 + short(at + 28) + short(at + 30) + short(at + 32);
        files.push((name, content));
    }
    files
}

#[test]
fn a_report_holds_what_helps_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revenue.zip");
    paused(async {
        let world = furnished();
        let line = format!("report revenue --file {}", path.display());
        assert_eq!(world.types(&line).await, 0, "{}", world.said.err());
        assert_eq!(world.said.out(), path.display().to_string());
        assert!(!world.asked.kinds().contains("secrets"), "{:?}", world.asked.kinds());
        assert_eq!(world.types(&line).await, 1, "nothing is overwritten");
        assert!(world.said.err().contains("--file"));
    });
    let bytes = std::fs::read(&path).unwrap();
    let files = unzipped(&bytes);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "README.txt",
        "pipeline.json",
        "status.txt",
        "pods.json",
        "events.json",
        "configuration/revenue-c0ffee.json",
        "logs/revenue-0-aaaa.log",
        "logs/revenue-0-bbbb.log",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    for (name, content) in &files {
        assert!(!content.contains(CANARY), "{name} has a secret in it:\n{content}");
    }
    let file = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, content)| content.as_str()).unwrap();
    assert!(file("README.txt").contains("worker/graph.json: "), "that nobody forwards ports here is said");
    assert!(file("pods.json").contains("--purpose") && file("pods.json").contains("LOGIN"));
    assert!(file("pipeline.json").contains("2026-01-01T09:00:00Z"), "our annotations are kept");
    assert!(file("status.txt").contains("Name:          default/revenue"));
    assert!(file("logs/revenue-0-bbbb.log").contains("tailLines=5000"), "logs are bounded");
    let events = file("events.json");
    assert!(events.contains("revenue-0-zzzz") && !events.contains("revenue-2"), "{events}");
    // Whoever reads it has it in the format that everybody has: an independent reader agrees.
    match std::process::Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&path).output() {
        Ok(tested) => assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr)),
        Err(_) => println!("SKIPPED: there is no python3 to read it with"),
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "it is for its owner");
    }
}

#[test]
fn logs_are_those_of_all_pods_with_their_names() {
    paused(async {
        let world = furnished();
        assert_eq!(world.types("logs revenue --tail=7").await, 0, "{}", world.said.err());
        let out = world.said.out();
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].starts_with("revenue-0-aaaa log of revenue-0-aaaa (&container=worker&tailLines=7"), "{out}");
        assert!(lines[3].starts_with("revenue-0-bbbb log of revenue-0-bbbb"), "{out}");
        assert!(!out.contains('\x1b'), "what a terminal would obey is not passed on");
    });
}

#[test]
fn logs_follow_the_pod_that_comes_next() {
    paused(async {
        let world = furnished();
        let server = world.server.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.put(&Key::new(&PODS, NAMESPACE, "revenue-0-cccc"), pod(3, "Running"));
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        assert_eq!(world.types_until("logs revenue -f", stop).await, 0);
        let (out, err) = (world.said.out(), world.said.err());
        for pod in ["aaaa", "bbbb", "cccc"] {
            assert_eq!(out.matches(&format!("log of revenue-0-{pod}")).count(), 1, "{out}");
        }
        assert!(out.contains("follow=true") && err.contains("following pod revenue-0-cccc"), "{err}");
    });
}
