//! The binary as people call it. (Its being here also makes `cargo test` build the binary that `e2e` drives.)
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn onceward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onceward")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_are_on_standard_output_and_good() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["demo", "--help"]] {
        let output = onceward(arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(text(&output.stdout).contains("onceward"), "{arguments:?}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [&[][..], &["fly"], &["run"], &["run", "f", "--grace", "soon"], &["demo", "--records", "-1"]] {
        assert_eq!(onceward(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn every_crash_point_is_listed_with_its_meaning() {
    let output = onceward(&["crashpoints", "--output", "json"]);
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), runtime::crashpoint::STEPS.len());
    for line in lines.lines() {
        let step: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(step["name"].is_string() && step["meaning"].is_string(), "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onceward"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before it can have written everything, or anything.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn completion_knows_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = onceward(&["completion", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("checkpoints"), "{shell}");
    }
}

#[test]
fn a_refused_manifest_names_place_field_and_fix_and_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let manifest = "apiVersion: onceward.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  sorces: []\n";
    std::fs::write(&file, manifest).unwrap();
    let path = file.to_str().unwrap();
    let output = onceward(&["run", path]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(errors.contains(&format!("error: {path}:5:3: spec.sorces: ")), "{errors}");
    assert!(errors.contains("sources"), "the nearest name is missing: {errors}");
    assert_eq!(onceward(&["lint", path]).status.code(), Some(1), "lint tells faults by exit code 1");
}

#[test]
fn what_the_planner_refuses_is_told_with_the_line_of_the_query() {
    let folder = tempfile::tempdir().unwrap();
    let written = onceward::workload::Workload { records: 10, ..Default::default() }.write(folder.path()).unwrap();
    let manifest = std::fs::read_to_string(&written.manifest).unwrap().replace("SUM(cents)", "SUM(cent)");
    std::fs::write(&written.manifest, manifest).unwrap();
    let path = written.manifest.to_str().unwrap();
    let output = onceward(&["lint", path]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("spec.transforms[0].sql") && errors.contains("cents"), "{errors}");
}

#[test]
fn explain_shows_the_exchange_and_its_key_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let written = onceward::workload::Workload { records: 10, ..Default::default() }.write(folder.path()).unwrap();
    let output = onceward(&["run", written.manifest.to_str().unwrap(), "--explain", "--set", "parallelism=3"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let graph = text(&output.stdout);
    assert!(graph.contains("customer") && graph.contains("parallelism 3"), "{graph}");
    assert!(!written.state.exists() && !written.windows.exists());
}

#[test]
fn every_example_is_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let output = onceward(&["lint", path.to_str().unwrap()]);
            assert!(output.status.success(), "{}: {}", path.display(), text(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 3, "examples were not found");
}

#[test]
fn an_unreadable_manifest_is_refused_and_a_missing_store_is_empty() {
    assert_eq!(onceward(&["run", "/nowhere/p.yaml"]).status.code(), Some(2));
    assert_eq!(onceward(&["lint", "/nowhere/p.yaml"]).status.code(), Some(1));
    let folder = tempfile::tempdir().unwrap();
    let output = onceward(&["checkpoints", folder.path().to_str().unwrap()]);
    assert!(output.status.success() && text(&output.stdout).contains("no checkpoints"));
}

#[test]
fn an_armed_step_that_does_not_exist_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_onceward"))
        .args(["run", "p.yaml"])
        .env("ONCEWARD_CRASHPOINT", "no.such_step=kill")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no.such_step"));
}
