//! Style rules over the whole workspace that no lint states. A failure lists every offence as `file:line: what`.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;
const CRATES: [&str; 8] = ["checkpoint", "api", "controller", "kubectl", "runtime", "onceward", "e2e", "e2e/stage"];
/// Workspace crates that each crate may use; no other edge.
const EDGES: [(&str, &[&str]); 8] = [
    ("checkpoint", &[]),
    ("api", &["checkpoint"]),
    ("runtime", &["checkpoint", "api"]),
    // Its tests alone stand on the stage.
    ("controller", &["checkpoint", "api", "stage"]),
    // Its tests alone have a controller, and stand on the stage.
    ("kubectl", &["api", "controller", "stage"]),
    ("onceward", &["checkpoint", "api", "runtime", "controller", "kubectl"]),
    ("e2e", &["checkpoint", "api", "controller", "runtime", "onceward", "stage"]),
    ("e2e/stage", &["checkpoint", "api"]),
];
/// Pure by construction: these and nothing else.
const CHECKPOINT_MAY_USE: [&str; 4] = ["schemars", "serde", "serde_json", "thiserror"];
/// Beginnings of crate names that a crate must never use, and why.
const BANNED_CRATES: [(&str, &[&str], &str); 4] = [
    (
        "controller",
        &["object_store", "rdkafka", "kafka-protocol", "datafusion"],
        "it never touches the data or the store",
    ),
    (
        "kubectl",
        &["controller", "object_store", "rdkafka", "kafka-protocol", "datafusion", "arrow"],
        "it asks the API server, and nobody else",
    ),
    ("api", &["arrow", "datafusion", "parquet", "tokio", "rdkafka"], "the shared words know no engine"),
    ("runtime", &["kube", "k8s-openapi"], "the runtime knows no Kubernetes"),
];
const VAGUE_FILES: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "misc"];
/// Second names for things that have one; the table is in CONTRIBUTING.md.
const SYNONYMS: [(&str, &str); 6] = [
    ("incarnation", "attempt"),
    ("jobmanager", "coordinator"),
    ("job manager", "coordinator"),
    ("taskmanager", "worker"),
    ("task manager", "worker"),
    ("savepointing", "savepoint"),
];

/// What judges the engine beside the checker.
const JUDGES: [&str; 2] = ["e2e/src/decisions.rs", "e2e/src/generated.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below a folder of the workspace whose name ends so, with their text; hidden folders and build output left out.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                open.push(path);
            } else if name.ends_with(ending) && path.is_file() {
                let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                found.push((shown, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let mut found: Vec<_> = CRATES.iter().flat_map(|name| files(name, ".rs")).collect();
    // One crate lies in another's folder.
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "the workspace is not where this test looks for it");
    found
}

/// Lines of all sources and documents that `offends` finds something to say of.
fn offences(texts: Vec<(String, String)>, offends: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let of_file = |(file, text): (String, String)| {
        let lines = text.lines().enumerate();
        lines.filter_map(|(i, line)| Some(format!("{file}:{}: {}", i + 1, offends(line)?))).collect::<Vec<_>>()
    };
    texts.into_iter().filter(|(file, _)| !file.ends_with("tests/tidy.rs")).flat_map(of_file).collect()
}

fn refuse(offences: &[String]) {
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long = sources().into_iter().map(|(file, text)| (file, text.lines().count()));
    let long: Vec<_> = long.filter(|(_, lines)| *lines > MAX_LINES).collect();
    refuse(&long.iter().map(|(file, lines)| format!("{file}: {lines} lines")).collect::<Vec<_>>());
}

/// Tests beside the code are described by the code.
fn is_test_module(file: &str) -> bool {
    file.ends_with("tests.rs") || (file.contains("/src/") && file.contains("/tests/"))
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |(file, text): &(String, String)| !text.starts_with("//!") && !is_test_module(file);
    let silent: Vec<_> = sources().into_iter().filter(silent).map(|(file, _)| file).collect();
    refuse(&silent);
}

#[test]
fn files_are_nouns_of_the_domain() {
    let vague = |file: &String| {
        VAGUE_FILES.iter().any(|name| file.contains(&format!("/{name}.rs")) || file.contains(&format!("/{name}/")))
    };
    refuse(&sources().into_iter().map(|(file, _)| file).filter(vague).collect::<Vec<_>>());
}

#[test]
fn work_left_open_names_its_issue() {
    let open = |line: &str| {
        let at = ["TODO", "FIXME", "HACK"].into_iter().find(|word| line.contains(word))?;
        let named = line.split(at).nth(1).is_some_and(|rest| rest.starts_with("(#"));
        (!named).then(|| format!("{at} without an issue: write {at}(#123)"))
    };
    refuse(&offences(sources(), open));
}

#[test]
fn ignored_tests_say_what_they_need() {
    let bare = |line: &str| (line.trim() == "#[ignore]").then(|| "write #[ignore = \"needs ...\"]".to_owned());
    refuse(&offences(sources(), bare));
}

#[test]
fn one_word_per_thing() {
    let mut texts = sources();
    texts.extend(files("docs", ".md"));
    texts.extend(files("examples", ".yaml"));
    let synonym = |line: &str| {
        let line = line.to_lowercase();
        let (word, instead) = SYNONYMS.into_iter().find(|(word, _)| line.contains(word))?;
        Some(format!("`{word}` is called {instead} here"))
    };
    refuse(&offences(texts, synonym));
}

/// Names in the dependency tables of a crate, `dev` or not.
fn dependencies(name: &str, dev: bool) -> Vec<(usize, String, String)> {
    let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate has a manifest");
    let (mut inside, mut found) = (false, Vec::new());
    for (i, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && (line.contains("dev-dependencies") == dev);
        } else if let Some(name) =
            line.split(['=', '.', ' ']).next().filter(|name| inside && !name.is_empty() && !name.starts_with('#'))
        {
            found.push((i + 1, name.to_owned(), line.to_owned()));
        }
    }
    found
}

#[test]
fn crates_depend_in_one_direction() {
    let mut wrong = Vec::new();
    for (name, allowed) in EDGES {
        for (line, dependency, _) in dependencies(name, false).into_iter().chain(dependencies(name, true)) {
            let is_ours = CRATES.iter().any(|folder| folder.rsplit('/').next() == Some(&dependency));
            if is_ours && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name}/Cargo.toml:{line}: {name} must not use {dependency}"));
            }
        }
    }
    refuse(&wrong);
}

#[test]
fn crates_keep_out_what_they_must_not_know() {
    let mut wrong = Vec::new();
    for (line, dependency, _) in dependencies("checkpoint", false) {
        if !CHECKPOINT_MAY_USE.contains(&dependency.as_str()) {
            wrong.push(format!("checkpoint/Cargo.toml:{line}: {dependency}: the protocol is pure"));
        }
    }
    for (name, banned, why) in BANNED_CRATES {
        for (line, dependency, _) in dependencies(name, false) {
            if banned.iter().any(|beginning| dependency.starts_with(beginning)) {
                wrong.push(format!("{name}/Cargo.toml:{line}: {dependency}: {why}"));
            }
        }
    }
    refuse(&wrong);
}

#[test]
fn versions_and_lints_stand_in_one_place() {
    let mut wrong = Vec::new();
    for name in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate has a manifest");
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{name}/Cargo.toml: [lints] workspace = true is missing"));
        }
        for (line, _, text) in dependencies(name, false).into_iter().chain(dependencies(name, true)) {
            if !text.contains("workspace = true") {
                wrong.push(format!("{name}/Cargo.toml:{line}: the version belongs in the workspace's Cargo.toml"));
            }
        }
    }
    refuse(&wrong);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (file, text) in files("", ".md") {
        let folder = root().join(&file).parent().expect("in a folder").to_owned();
        for (i, line) in text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                    broken.push(format!("{file}:{}: {target}", i + 1));
                }
            }
        }
    }
    refuse(&broken);
}

/// A newcomer's second command is what CI runs.
#[test]
fn tests_run_as_the_readme_types_them() {
    let text = |name: &str| std::fs::read_to_string(root().join(name)).expect("a text");
    let (readme, run) = (text("README.md"), text(".ci/run"));
    let typed = readme.lines().find_map(|line| line.strip_prefix("$ cargo test")).expect("the README types it");
    assert!(run.lines().any(|line| line == format!("step tests cargo test{typed}")), "cargo test{typed}");
}

/// The published matrix: whoever renames or removes a test says so there.
#[test]
fn tests_that_documents_name_are_there() {
    let tests: String = CRATES.iter().flat_map(|name| files(name, ".rs")).map(|(_, text)| text).collect();
    let looks_like_a_test = |name: &&str| {
        name.matches('_').count() >= 3
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let (mut named, mut missing) = (0, Vec::new());
    for (file, text) in files("docs", "guarantees.md").into_iter().chain(files("docs", "testing.md")) {
        for name in text.split('`').skip(1).step_by(2).filter(looks_like_a_test) {
            named += 1;
            if !tests.contains(&format!("fn {name}(")) {
                missing.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(named > 20, "only {named} tests are named: this test looks in the wrong place");
    refuse(&missing);
}

/// Else a mistake of the engine could repeat itself in what judges it.
#[test]
fn checker_shares_no_code_with_the_engine() {
    let engine = ["runtime::", "api::", "checkpoint::", "arrow::", "datafusion::"];
    let shares = |line: &str| engine.into_iter().find(|name| line.contains(name)).map(|name| format!("uses {name}"));
    let mut checker = files("onceward/src/checker", ".rs");
    let judges =
        files("e2e/src", ".rs").into_iter().filter(|(file, _)| JUDGES.iter().any(|judge| file.ends_with(judge)));
    checker.extend(judges);
    assert!(checker.len() > JUDGES.len(), "the checker is not where this test looks for it");
    refuse(&offences(checker, shares));
}
