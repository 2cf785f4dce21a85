//! How a cluster is reached: by a kubeconfig, and whoever logs in for it.

use std::future;
use std::path::Path;

use clap::Parser as _;

use crate::world::{Line, Recorded};

/// A kubeconfig whose credential plugin is this shell's script.
fn kubeconfig(folder: &Path, script: &str) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:9" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "users": [{ "name": "u", "user": { "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "env": [{ "name": "PLUGIN_SECRET", "value": "CANARY" }], "interactiveMode": "Never",
        } } }],
    });
    let path = folder.join("config");
    std::fs::write(&path, config.to_string()).unwrap();
    path.display().to_string()
}

/// The exit code, and what was said on standard error.
async fn typed(line: &str, stop: impl Future<Output = ()> + Send) -> (u8, String) {
    let said = Recorded::default();
    let read = Line::try_parse_from(["onceward"].into_iter().chain(line.split(' '))).unwrap();
    let code = kubectl::execute(&read.reach, &read.verb, &said, stop).await;
    (code, said.err())
}

#[tokio::test]
async fn a_credential_plugin_that_fails_is_named_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    for (script, why) in
        [("echo token=CANARY; echo CANARY >&2; exit 3", "exit status: 3"), ("echo '[CANARY'", "not understood")]
    {
        let line = format!("status --kubeconfig {}", kubeconfig(folder.path(), script));
        let (code, said) = typed(&line, future::pending()).await;
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(why) && said.contains("run it by hand"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_a_credential_plugin_that_takes_long() {
    let folder = tempfile::tempdir().unwrap();
    // The runtime of this test waits for it.
    let line = format!("checkpoints revenue --kubeconfig {}", kubeconfig(folder.path(), "sleep 5; exit 1"));
    let stop = tokio::time::sleep(std::time::Duration::from_millis(100));
    assert_eq!(typed(&line, stop).await, (130, String::new()));
}
