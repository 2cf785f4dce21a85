//! Reports: everything that helps is in them, and no secret; nobody asks for a Secret.

use std::io::Read as _;

use serde_json::{Value, json};
use stage::inprocess::{CONFIG_MAPS, EVENTS, Key, PODS, SECRETS};

use crate::kubelets::{Log, serve, timed};
use crate::world::{NAMESPACE, World, manifest, paused};

/// Whatever has this in it is a secret.
const CANARY: &str = "canary-7f3a";

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
        "spec": { "containers": [{ "name": "worker", "env": [{ "name": "A", "value": long() }] }] } });
    let mut pipeline = manifest("revenue", &json!({ "podTemplate": template }));
    let applied =
        json!({ "spec": { "transforms": [{ "sql": "SELECT customer FROM orders" }], "podTemplate": { "spec": {
        "containers": [{ "name": "worker", "env": [{ "name": "A", "value": format!("{CANARY}-applied") }] }] } } } })
        .to_string();
    pipeline["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": applied,
        "onceward.dev/restart-requested-at": "2026-01-01T09:00:00Z" });
    // Longer than a line, and than a column.
    let quoted = format!("it said `{}`", long());
    let condition = json!({ "type": "Ready", "status": "False", "reason": "Told", "message": quoted,
        "lastTransitionTime": "2026-01-01T09:00:00Z", "observedGeneration": 1 });
    pipeline["status"] = json!({ "phase": "Starting", "conditions": [condition], "restarts": { "total": 1,
        "lastReason": format!("cannot reach https://user:{CANARY}-url@store/x: {quoted}") } });
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
    serve(&mut world, |pod, query| {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\nA{CANARY}\n-----END PRIVATE KEY-----");
        Log::Said(timed(&format!("log of {pod} ({query})\nenv says {CANARY}-env\npassword={CANARY}-log\n{key}\nlast")))
    });
    world
}

/// A value that does not fit into a line.
fn long() -> String {
    format!("{CANARY}-{}", "long".repeat(40))
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
    assert!(file("pipeline.json").contains("SELECT customer FROM orders"), "what was applied is cleaned as any other");
    let status = file("status.txt");
    assert!(status.contains("Name:          default/revenue") && status.contains("it said `<redacted>`"), "{status}");
    let log = file("logs/revenue-0-bbbb.log");
    assert!(log.contains("tailLines=5000"), "logs are bounded");
    assert!(log.trim_end().ends_with(" last"), "{log}");
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
fn what_more_secrets_than_are_looked_for_may_stand_in_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revenue.zip");
    paused(async {
        let world = furnished();
        let mut last = pod(2, "Running");
        let environment = (0..2_000).map(|index| json!({ "name": "A", "value": format!("{CANARY}-{index}") }));
        last["spec"]["containers"][0]["env"] = environment.collect();
        last["spec"]["containers"][0]["args"] = json!(["worker", long()]);
        last["status"]["message"] = format!("it said {CANARY}-1999").into();
        world.server.put(&Key::new(&PODS, NAMESPACE, "revenue-0-bbbb"), last);
        let line = format!("report revenue --file {}", path.display());
        assert_eq!(world.types(&line).await, 0, "{}", world.said.err());
    });
    let files = unzipped(&std::fs::read(&path).unwrap());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["README.txt", "pipeline.json", "pods.json", "configuration/revenue-c0ffee.json"]);
    for (name, content) in &files {
        assert!(!content.contains(CANARY), "{name} has a secret in it:\n{content}");
    }
    assert!(
        files[0].1.contains("- status.txt, logs/, events.json, worker/") && files[0].1.contains("1000 values"),
        "{}",
        files[0].1
    );
}
