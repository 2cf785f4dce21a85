//! One API server for all tests that run at a time, with the definition of `crds/` in it; and the two judges of a
//! manifest: the server and the reader.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use api::manifest::{self, Severity};
use kube::Client;
use serde_json::Value;
use stage::kubernetes::{Answer, Apiserver, Body, call};
use tokio::sync::Mutex;

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const PIPELINES: &str = "/apis/onceward.dev/v1alpha1/namespaces/default/pipelines";
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 600;

/// The server, and what it said to the definition.
pub(crate) struct Site {
    pub(crate) server: Apiserver,
    pub(crate) defined: Answer,
}

/// The site, and a client of this test's own: clients do not outlive the runtime that made them.
pub(crate) async fn site() -> Result<(Arc<Site>, Client)> {
    // Weak: the last test that uses it ends it, since nothing ends what is static.
    static SITE: Mutex<Weak<Site>> = Mutex::const_new(Weak::new());
    let mut shared = SITE.lock().await;
    let site = if let Some(site) = shared.upgrade() {
        site
    } else {
        let server = Apiserver::start().await?;
        let defined = define(&server.client().await?).await?;
        let site = Arc::new(Site { server, defined });
        *shared = Arc::downgrade(&site);
        site
    };
    let client = site.server.client().await?;
    Ok((site, client))
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the server says to `crds/pipelines.yaml`; returns when it serves the resource.
pub(crate) async fn define(client: &Client) -> Result<Answer> {
    let definition = std::fs::read(root().join("crds/pipelines.yaml"))?;
    let path = format!("{DEFINITIONS}?fieldValidation=Strict");
    let answer = call(client, "POST", &path, Body::Raw("application/yaml", &definition)).await?;
    ensure!(answer.is_success(), "the definition is refused: {}", answer.message());
    until("the resource is served", async || Ok(call(client, "GET", PIPELINES, Body::None).await?.is_success()))
        .await?;
    Ok(answer)
}

/// Waits for a condition, for 30 seconds at most.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    for _ in 0..LOOKS {
        if condition().await? {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    anyhow::bail!("not within {:?}: {what}", LOOK * LOOKS)
}

/// What the server says to a manifest that `kubectl apply --validate=strict --dry-run=server` would send.
pub(crate) async fn judged(client: &Client, manifest: &Value) -> Result<Answer> {
    call(client, "POST", &format!("{PIPELINES}?dryRun=All&fieldValidation=Strict"), Body::Json(manifest)).await
}

/// What the reader finds fault with, as path and words; `None` where it accepts.
pub(crate) fn faults(manifest: &Value) -> Option<Vec<(String, String)>> {
    let report = manifest::read("manifest", manifest.to_string().as_bytes(), &[]);
    let faults = report.findings.into_iter().filter(|finding| finding.severity == Severity::Fault);
    report.manifest.is_none().then(|| faults.map(|fault| (fault.path.clone(), fault.to_string())).collect())
}

/// `spec.sinks[0].input` as `spec.sinks.0.input`: one writes brackets where another writes dots.
pub(crate) fn plain(path: &str) -> String {
    path.replace(['[', ']', '\'', '"'], ".").split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// Whether one of these paths is the field, or what is in it, or (with its last name in the words) what it is in.
pub(crate) fn names(field: &str, said: &[(String, String)]) -> bool {
    let field = plain(field);
    let (parent, last) = field.rsplit_once('.').unwrap_or(("", &field));
    said.iter().any(|(path, words)| {
        let path = plain(path);
        // The server writes so of the whole object.
        let is_whole = path.is_empty() || path == "<nil>";
        let inside = path.starts_with(&format!("{field}."));
        path == field || inside || (path == parent && words.contains(last)) || (is_whole && words.contains(&field))
    })
}

/// As [`names`], of the server's refusal.
pub(crate) fn server_names(field: &str, answer: &Answer) -> bool {
    // Unknown fields are told in the message alone, in quotes.
    let quoted = || answer.message().split('"').skip(1).step_by(2).any(|text| plain(text) == plain(field));
    names(field, &answer.causes()) || quoted()
}
