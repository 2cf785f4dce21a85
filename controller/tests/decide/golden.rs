//! `golden/NAME.in.yaml` and what is decided of it, `golden/NAME.out.yaml`. `UPDATE=1 cargo test` writes those anew.

use std::fmt::Write as _;
use std::path::PathBuf;

use controller::decide::{Decision, Step, decide};
use controller::events::events;
use controller::observe::{Observed, slim_config_map, slim_pod};
use serde_json::{Value, json};

use crate::scene::{Scene, settings};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_scene_is_decided_as_written() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".in.yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 20, "scenes are missing: {names:?}");
    let mut wrong = String::new();
    for name in names {
        let scene = std::fs::read_to_string(folder().join(format!("{name}.in.yaml"))).expect("readable");
        let scene: Scene = serde_yaml_ng::from_str(&scene).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut settings = settings();
        settings.controller_key.take_if(|_| scene.no_key);
        let observed = scene.observed();
        let decision = decide(&observed, &settings);
        assert_eq!(decide(&observed, &settings), decision, "{name}: it is a plain function");
        let mut cached = observed.clone();
        cached.pods.iter_mut().for_each(slim_pod);
        cached.config_maps.iter_mut().for_each(slim_config_map);
        assert_eq!(decide(&cached, &settings), decision, "{name}: caches hold what it takes");
        let text: String = serde_yaml_ng::to_string(&in_words(
            &observed,
            &decision,
            ["first-look", "storage-secrets"].contains(&name.as_str()),
        ))
        .expect("YAML");
        let text = text.replace(env!("CARGO_PKG_VERSION"), "OWN-VERSION");
        let path = folder().join(format!("{name}.out.yaml"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).expect("writable");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        if stored != text {
            let _ = writeln!(wrong, "== {name}: stored\n{stored}== {name}: decided\n{text}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nif that is right: UPDATE=1 cargo test -p onceward-controller");
}

/// Steps by name, with whole objects where asked for.
fn in_words(observed: &Observed, decision: &Decision, in_full: bool) -> Value {
    let steps: Vec<Value> = decision
        .steps
        .iter()
        .map(|step| match step {
            Step::AddFinalizer => json!("AddFinalizer"),
            Step::RemoveFinalizer => json!("RemoveFinalizer"),
            Step::ApplyConfigMap(object) if in_full => json!({ "ApplyConfigMap": object }),
            Step::CreatePod(object) if in_full => json!({ "CreatePod": object }),
            Step::ApplyConfigMap(_) => json!("ApplyConfigMap"),
            Step::CreatePod(pod) => {
                let labels = pod.metadata.labels.as_ref().expect("labels");
                let of = |label| labels.get(label).cloned();
                let serial = of(controller::names::SERIAL);
                json!({ "CreatePod": { "serial": serial, "purpose": of(controller::names::PURPOSE) } })
            }
            Step::DeletePod { uid, at_once, .. } => json!({ "DeletePod": { "uid": uid, "atOnce": at_once } }),
            Step::DeleteConfigMap { name, .. } => json!({ "DeleteConfigMap": name }),
            Step::Ask { address, id, savepoint } => {
                json!({ "Ask": { "address": address, "id": id, "savepoint": savepoint } })
            }
        })
        .collect();
    let before = observed.pipeline.status.clone().unwrap_or_default();
    let told: Vec<String> = events(&before, &decision.status)
        .into_iter()
        .map(|told| {
            let kind = if told.is_warning { "Warning" } else { "Normal" };
            format!("{kind} {} {}: {}", told.reason, told.action, told.note)
        })
        .collect();
    json!({ "steps": steps, "lookAgainMs": decision.look_again_ms, "events": told, "status": decision.status })
}
