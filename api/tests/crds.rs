//! `crds/pipelines.yaml` is what the types say. `UPDATE=1 cargo test -p onceward-api` writes it anew.

use std::path::PathBuf;

/// Under the limit of `kubectl apply`'s annotation (262,144 bytes), with room for status.
const MAX_BYTES: usize = 200_000;

#[test]
fn definition_in_the_repository_is_current_and_small() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds/pipelines.yaml");
    let body = serde_yaml_ng::to_string(&api::pipeline::definition()).expect("a definition serialises");
    let current = format!("# Generated from the Rust types in api/src/pipeline; never edited.\n{body}");
    assert!(current.len() < MAX_BYTES, "{} bytes", current.len());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("folder");
        std::fs::write(&path, &current).expect("writable");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == current, "crds/pipelines.yaml is stale; run UPDATE=1 cargo test -p onceward-api");
}
