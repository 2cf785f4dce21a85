//! What is shown, of every state that the controller can report: its own scenes are the input.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use kubectl::WIDTH;
use serde_json::{Value, json};

use crate::world::{World, manifest, paused};

/// Kept word for word; everything else is held to the rules for all.
const KEPT: [&str; 14] = [
    "attempts-fail",
    "checkpoint-taken",
    "checkpoints-fail",
    "commit-lost",
    "commits-wait",
    "deleted-and-blocked",
    "finished",
    "first-look",
    "image-missing",
    "killed-too-often",
    "refused",
    "running",
    "suspended",
    "version-unread",
];

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

pub(crate) fn ms(time: &str) -> u64 {
    let time: k8s_openapi::jiff::Timestamp = time.parse().unwrap();
    time.as_millisecond() as u64
}

fn read(path: &Path) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(field, value)| merge(into.entry(field).or_insert(Value::Null), value));
        }
        (_, Value::Null) => {}
        (into, from) => *into = from.clone(),
    }
}

/// The controller's scenes: when, and the Pipeline with the status that it writes then.
pub(crate) fn scenes() -> BTreeMap<String, (u64, Value)> {
    let mut scenes = BTreeMap::new();
    for entry in std::fs::read_dir(folder("../controller/tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".in.yaml") else { continue };
        let (scene, outcome) = (read(&path), read(&path.with_file_name(format!("{name}.out.yaml"))));
        let mut pipeline = manifest("revenue", &json!({}));
        pipeline["metadata"]["namespace"] = "shop".into();
        pipeline["metadata"]["generation"] = 1.into();
        merge(&mut pipeline, &scene["pipeline"]);
        pipeline["status"] = outcome["status"].clone();
        scenes.insert(name.to_owned(), (ms(scene["now"].as_str().unwrap()), pipeline));
    }
    assert!(scenes.len() > 50, "the controller's scenes are not where this test looks for them");
    scenes
}

/// What a line shows of it, and the exit code.
fn shown(now_ms: u64, pipeline: &Value, line: &str) -> (String, u8) {
    paused(async {
        let world = World::at(now_ms);
        world.put(pipeline.clone());
        let code = world.types(line).await;
        let said = world.said.err();
        assert_eq!(said, "", "{line}");
        (world.said.out(), code)
    })
}

pub(crate) fn narrow(what: &str, text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{what}: {} columns: {line}", line.chars().count());
        assert!(!line.contains('\x1b') && line == line.trim_end(), "{what}: {line:?}");
    }
}

#[test]
fn every_state_is_shown_as_it_was_and_in_a_hundred_columns() {
    let update = std::env::var_os("UPDATE").is_some();
    let (scenes, mut wrong) = (scenes(), vec![]);
    for (name, (now_ms, pipeline)) in &scenes {
        let mut all = String::new();
        for line in [
            "status revenue -n shop",
            "status -n shop",
            "status -A",
            "checkpoints revenue -n shop",
            "transactions revenue -n shop",
        ] {
            let (text, code) = shown(*now_ms, pipeline, line);
            narrow(&format!("{name}: {line}"), &text);
            let _ = write!(all, "$ kubectl onceward {line}\n{text}\n[{code}]\n\n");
        }
        let all = format!("{}\n", all.trim_end());
        let path = folder("tests/golden").join(format!("{name}.txt"));
        if !KEPT.contains(&name.as_str()) {
            continue;
        }
        if update {
            std::fs::write(&path, &all).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != all {
            wrong.push(format!("{}:\n{all}", path.display()));
        }
    }
    assert!(KEPT.iter().all(|kept| scenes.contains_key(*kept)), "a scene has another name by now");
    assert!(wrong.is_empty(), "UPDATE=1 writes them:\n{}", wrong.join("\n"));
}

#[test]
fn the_exit_code_the_word_and_the_phase_agree_in_every_state() {
    let mut seen = [0; 3];
    for (name, (now_ms, pipeline)) in scenes() {
        let (text, code) = shown(now_ms, &pipeline, "status revenue -n shop -o json");
        let told: Value = serde_json::from_str(&text).unwrap();
        let words = ["healthy", "degraded", "failed"];
        assert_eq!(told["health"], words[usize::from(code)], "{name}");
        assert_eq!(told["reasons"].as_array().unwrap().is_empty(), code == 0, "{name}: {told}");
        assert_eq!(told["status"], pipeline["status"], "{name}: the status is told as it is");
        match pipeline["status"]["phase"].as_str().unwrap() {
            "Failed" => assert_eq!(code, 2, "{name}"),
            "Starting" | "Restarting" | "Suspending" | "Deleting" => assert_ne!(code, 0, "{name}"),
            _ => {}
        }
        seen[usize::from(code)] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 3), "{seen:?}");
}

/// Everything as long as the schema allows.
#[test]
fn nothing_is_too_long_for_a_hundred_columns() {
    let long = |count: usize| "x".repeat(count);
    let mut pipeline = manifest(
        &long(52),
        &json!({ "sinks": [
        { "name": long(63), "input": "orders", "files": { "path": format!("s3://{}", long(900)) } },
        { "name": "b", "input": "orders", "kafka": { "connection": "main", "topic": long(249), "transactionTimeout": "10m" } },
    ], "connections": [{ "name": "main", "kafka": { "bootstrapServers": ["a:1"] } }] }),
    );
    pipeline["metadata"]["namespace"] = long(63).into();
    let place = json!({ "attempt": u64::MAX, "epoch": u64::MAX, "handle": long(2_048) });
    let answer = json!({ "requestedAt": "2026-01-01T09:00:00Z", "taken": place });
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "Unknown", "reason": long(64), "message": long(2_048),
        "lastTransitionTime": "2020-01-01T00:00:00Z", "observedGeneration": 1 })
    };
    let pending = |sink: &str| {
        json!({ "sink": sink, "attempt": u64::MAX, "epoch": u64::MAX, "committables": u64::MAX,
        "sinceTime": "2020-01-01T00:00:00Z", "attempts": u32::MAX, "lastError": "wörter ".repeat(200) })
    };
    let conditions = ["Accepted", "Ready", "CheckpointHealthy", "CommitsSettled", "Progressing"].map(condition);
    pipeline["status"] = json!({
        "phase": "Restarting", "guarantee": long(32), "parallelism": 1024, "pendingCommittables": u64::MAX,
        "conditions": conditions,
        "pendingCommits": [pending(&long(63)), pending("b"), pending(""), pending("gone")],
        "checkpoints": { "lastCompleted": { "attempt": u64::MAX, "epoch": u64::MAX, "handle": long(2_048),
            "completedTime": "2020-01-01T00:00:00Z", "durationMilliseconds": u64::MAX, "sizeBytes": u64::MAX },
            "lastFailed": { "attempt": 1, "epoch": 1, "failedTime": "2020-01-01T00:00:00Z", "message": long(2_048) },
            "consecutiveFailures": u32::MAX, "restoredFrom": place },
        "restarts": { "total": u64::MAX, "lastReason": long(2_048), "lastTime": "2020-01-01T00:00:00Z",
            "nextTime": "2026-01-01T10:00:00Z", "reasons": { "Error": u64::MAX, "OOMKilled": u64::MAX } },
        "actions": { "checkpoint": answer, "savepoint": answer },
    });
    let (name, namespace) = (long(52), long(63));
    let lines = [
        "status {name} -n {namespace}",
        "status -n {namespace}",
        "status -A",
        "checkpoints {name} -n {namespace}",
        "transactions {name} -n {namespace}",
    ];
    for line in lines {
        let line = line.replace("{name}", &name).replace("{namespace}", &namespace);
        let (text, _) = shown(ms("2026-01-01T10:00:00Z"), &pipeline, &line);
        narrow(&line, &text);
        assert!(text.lines().count() > 1, "{text}");
    }
    let (text, _) =
        shown(ms("2026-01-01T10:00:00Z"), &pipeline, &format!("transactions {name} -n {namespace} -o json"));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["sinks"].as_array().unwrap().len(), 4, "two of the spec, one of before, all together");
    assert_eq!(told["sinks"][1]["deadline"], "2020-01-01T00:10:00Z");
}

#[test]
fn status_says_who_cannot_be_asked_and_who_is_not_there() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        assert_eq!(world.types("status nobody").await, 2);
        assert!(world.said.err().contains("there is no Pipeline `nobody` in namespace `default`"));
        assert_eq!(world.types("status").await, 0);
        assert_eq!(world.said.out(), "no Pipelines in namespace `default`; -A looks into all");
        assert_eq!(world.types(&format!("status -n {}", "x".repeat(63))).await, 0);
        narrow("a long namespace", &world.said.out());
        for code in [403, 500, 503, 504] {
            *world.asked.refuses.lock().unwrap() = Some(code);
            for line in ["status", "status nobody", "status -A"] {
                assert_eq!(world.types(line).await, 3, "{line}: {code}");
                assert!(world.said.err().starts_with("error: cannot "), "{line}: {code}");
            }
            assert_eq!(world.types("transactions nobody").await, 1, "{code}");
            assert_eq!(world.types("savepoint nobody").await, 1, "{code}");
            world.said.err();
        }
    });
}

#[test]
fn what_is_of_another_version_is_named_and_takes_nobodys_place() {
    paused(async {
        let (now_ms, pipeline) = scenes().remove("running").unwrap();
        let world = World::at(now_ms);
        let mut odd = pipeline.clone();
        odd["metadata"]["name"] = "odd".into();
        odd["status"]["phase"] = "Dreaming".into();
        world.put(pipeline);
        world.put(odd);
        let named =
            |said: &str| said.contains("odd") && said.contains("another version") && !said.contains("does not answer");
        assert_eq!(world.types("status -n shop").await, 1);
        let (out, err) = (world.said.out(), world.said.err());
        assert!(out.contains("revenue") && out.contains("healthy") && named(&err), "{out}\n{err}");
        for (line, code) in [
            ("status odd -n shop", 1),
            ("transactions odd -n shop", 1),
            ("wait odd --for=ready -n shop", 1),
            ("wait odd --for=deleted -n shop", 1),
        ] {
            let begun_ms = world.server.clock().now_ms();
            assert_eq!(world.types(line).await, code, "{line}");
            assert!(world.server.clock().now_ms() - begun_ms < 1_000, "{line}");
            let err = world.said.err();
            assert!(err.contains("written by another version"), "{line}: {err}");
        }
        let stop = tokio::time::sleep(Duration::from_secs(25));
        assert_eq!(world.types_until("status -n shop -w", stop).await, 1);
        let (out, err) = (world.said.out(), world.said.err());
        assert!(out.contains("revenue") && named(&err) && err.lines().count() == 1, "{out}\n{err}");
    });
}

#[test]
fn ctrl_c_ends_what_only_shows() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        world.create("revenue", &json!({}));
        world.asked.is_silent.store(true, Ordering::Relaxed);
        for line in [
            "status",
            "status revenue",
            "checkpoints revenue",
            "transactions revenue",
            "version revenue",
            "report revenue",
            "logs revenue",
            "dashboard revenue",
        ] {
            let begun_ms = world.server.clock().now_ms();
            let code = world.types_until(line, tokio::time::sleep(Duration::from_secs(1))).await;
            let goes_on = line.starts_with("logs") || line.starts_with("dashboard");
            assert_eq!(code, if goes_on { 0 } else { 130 }, "{line}");
            assert!(world.server.clock().now_ms() - begun_ms < 2_000, "{line}");
        }
    });
}

#[test]
fn a_pipeline_that_no_controller_looks_at_is_degraded_and_says_so() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        world.create("revenue", &json!({}));
        assert_eq!(world.types("status revenue").await, 1);
        assert!(!world.said.out().contains("is one installed"), "it may be on its way");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.types("status revenue").await, 1);
        let out = world.said.out().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.contains("is one installed, and does it watch this namespace?"), "{out}");
    });
}

#[test]
fn silence_for_longer_than_checkpoints_take_is_degraded() {
    let (now_ms, mut pipeline) = scenes().remove("running").unwrap();
    pipeline["status"]["conditions"][1]["lastTransitionTime"] = "2026-01-01T09:00:00Z".into();
    pipeline["status"]["checkpoints"]["lastCompleted"] = json!({ "attempt": 1, "epoch": 9, "handle": "file:///x/0/1/9",
        "completedTime": "2026-01-01T10:00:00Z", "durationMilliseconds": 12, "sizeBytes": 99 });
    let at = ms("2026-01-01T10:00:00Z");
    assert!(at >= now_ms);
    assert_eq!(shown(at + 60_000, &pipeline, "status revenue -n shop").1, 0);
    let (text, code) = shown(at + 3_600_000, &pipeline, "status revenue -n shop");
    assert_eq!(code, 1);
    assert!(text.contains("no checkpoint was told of for 1h0m"), "{text}");
}

#[test]
fn versions_are_shown_as_far_as_they_can_be_learnt() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        let labels = json!({ "app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "onceward" });
        world.server.put(&stage::inprocess::Key::new(&stage::inprocess::PODS, "onceward-system", "controller-1"), json!({
            "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "controller", "image": "onceward:1.2.3" }] },
        }));
        world.create("revenue", &json!({}));
        assert_eq!(world.types("version revenue").await, 0);
        let text = world.said.out();
        narrow("version", &text);
        assert!(text.contains("onceward:1.2.3 in namespace onceward-system"), "{text}");
        assert!(text.contains("Worker:        not known: no worker runs"), "{text}");
        assert!(text.contains(&format!("Client:        {}", env!("CARGO_PKG_VERSION"))), "{text}");
    });
}
