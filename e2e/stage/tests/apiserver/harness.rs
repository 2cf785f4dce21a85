//! The stage itself: what other tests take for granted of the server, etcd, tokens and the audit log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stage::kubernetes::{Apiserver, Body, call};

use crate::site::{site, until};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// So long nobody answers, and nobody will.
const SILENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_was_stored_outlives_both_processes() -> Result<()> {
    let mut server = Apiserver::start().await?;
    let client = server.client().await?;
    let put = async |name: &str| {
        let object = json!({ "metadata": { "name": name } });
        Ok::<_, anyhow::Error>(call(&client, "POST", CONFIG_MAPS, Body::Json(&object)).await?.is_success())
    };
    let is_there = async |name: &str| {
        let answer = call(&client, "GET", &format!("{CONFIG_MAPS}/{name}"), Body::None).await;
        Ok(answer.is_ok_and(|answer| answer.is_success()))
    };
    ensure!(put("one").await?);
    server.kill()?;
    ensure!(server.kill().is_err(), "a process cannot be killed twice");
    ensure!(call(&client, "GET", CONFIG_MAPS, Body::None).await.is_err(), "nobody listens");
    server.restart().await?;
    until("the server answers", async || is_there("one").await).await?;

    server.etcd.kill()?;
    ensure!(server.etcd.kill().is_err(), "a process cannot be killed twice");
    let lost = tokio::time::timeout(SILENCE, put("two")).await;
    ensure!(!matches!(lost, Ok(Ok(true))), "nothing is stored without etcd");
    server.etcd.restart()?;
    until("the server has found etcd again", async || is_there("one").await).await?;
    until("it stores", async || put("three").await).await
}

#[tokio::test]
async fn a_paused_process_holds_its_answer_back() -> Result<()> {
    let server = Apiserver::start().await?;
    let client = server.client().await?;
    let asked = async || call(&client, "GET", CONFIG_MAPS, Body::None).await;
    let stored = async |name: &str| {
        let object = json!({ "metadata": { "name": name } });
        call(&client, "POST", CONFIG_MAPS, Body::Json(&object)).await
    };
    server.pause()?;
    ensure!(tokio::time::timeout(SILENCE, asked()).await.is_err(), "a stopped server answers");
    server.resume()?;
    ensure!(asked().await?.is_success());
    server.etcd.pause()?;
    let waits = stored("late");
    tokio::pin!(waits);
    let early = tokio::time::timeout(SILENCE, &mut waits).await;
    ensure!(early.is_err(), "answered with a stopped etcd: {early:?}");
    server.etcd.resume()?;
    ensure!(waits.await?.is_success(), "what waited is stored");
    Ok(())
}

#[tokio::test]
async fn a_token_may_what_its_account_was_granted_and_the_audit_log_tells() -> Result<()> {
    let (site, client) = site().await?;
    let server = &site.server;
    let user = "system:serviceaccount:default:reader";
    let as_reader = server.client_with(&server.token_for("default", "reader").await?).await?;
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let who =
        call(&as_reader, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Body::Json(&review)).await?;
    let named = who.body.pointer("/status/userInfo/username").and_then(Value::as_str);
    ensure!(named == Some(user), "{:?}", who.body);
    let secrets = "/api/v1/namespaces/default/secrets";
    let refused = call(&as_reader, "GET", secrets, Body::None).await?;
    ensure!(refused.status == 403 && refused.message().contains(user), "{:?}", refused.body);

    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({ "metadata": { "name": "reader" }, "rules": [{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["list"] }] });
    let binding = json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": "default" }],
    });
    for (kind, object) in [("roles", role), ("rolebindings", binding)] {
        let made = call(&client, "POST", &format!("{rbac}/{kind}"), Body::Json(&object)).await?;
        ensure!(made.is_success(), "{}", made.message());
    }
    until("the right is there", async || Ok(call(&as_reader, "GET", secrets, Body::None).await?.is_success())).await?;
    ensure!(call(&as_reader, "GET", &format!("{secrets}/any"), Body::None).await?.status == 403, "list is not get");

    until("the audit log has it", async || {
        let audited = server.audited()?;
        let of = |verb: &str, allowed: bool| {
            let mut found = audited.iter().filter(|one| one.user == user && one.resource == "secrets");
            found.any(|one| (one.verb.as_str(), one.is_allowed, one.namespace.as_str()) == (verb, allowed, "default"))
        };
        Ok(of("list", false) && of("list", true) && of("get", false) && !of("get", true))
    })
    .await
}

#[tokio::test]
async fn kubectl_is_of_the_servers_version() -> Result<()> {
    let (site, _client) = site().await?;
    let output = site.server.kubectl()?.args(["version", "--output=json"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let versions: Value = serde_json::from_slice(&output.stdout)?;
    let of = |who: &str| versions[who]["gitVersion"].as_str().map(str::to_owned).context("a version");
    ensure!(of("clientVersion")? == of("serverVersion")? && of("serverVersion")?.starts_with("v1."), "{versions}");
    Ok(())
}
