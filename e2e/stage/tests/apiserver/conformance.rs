//! The same requests to the server in this process and to a real one: equal answers.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use stage::inprocess::{Fair, Server};
use stage::kubernetes::{Answer, Body, call};

use crate::site::{PIPELINES, site};
use crate::spots::bases;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// What a case has seen: one line for each answer.
struct Case<'a> {
    client: &'a Client,
    seen: Vec<Value>,
}

impl Case<'_> {
    /// Sends a request and notes the answer: its code and reason, and these places of its body.
    async fn send(&mut self, method: &str, path: &str, body: Body<'_>, noted: &[&str]) -> Result<Answer> {
        let answer = call(self.client, method, path, body).await?;
        // Tokens are each server's own.
        let told = path.split("&continue=").next().unwrap_or_default();
        let mut places = serde_json::Map::new();
        for place in noted {
            places.insert((*place).to_owned(), answer.body.pointer(place).cloned().unwrap_or_default());
        }
        let reason = if answer.is_success() { Value::Null } else { answer.body["reason"].clone() };
        self.seen.push(json!({ "request": format!("{method} {told}"), "code": answer.status, "reason": reason,
            "kind": if answer.is_success() { answer.body["kind"].clone() } else { Value::Null }, "noted": places }));
        Ok(answer)
    }

    async fn post(&mut self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, Body::Json(body), &["/metadata/generation", "/metadata/name"]).await
    }

    async fn delete(&mut self, path: &str, options: &Value) -> Result<Answer> {
        let noted = ["/metadata/deletionGracePeriodSeconds", "/metadata/finalizers", "/metadata/generation", "/status"];
        self.send("DELETE", path, Body::Json(options), &noted[..3]).await
    }

    async fn get(&mut self, path: &str, noted: &[&str]) -> Result<Answer> {
        self.send("GET", path, Body::None, noted).await
    }
}

fn version(answer: &Answer) -> &str {
    answer.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

fn config_map(name: &str, text: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": text } })
}

fn pipeline(name: &str) -> Result<Value> {
    let (_, mut manifest) = bases().into_iter().next().context("a manifest")?;
    manifest["metadata"]["name"] = name.into();
    Ok(manifest)
}

async fn names_and_versions(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/{name}");
    case.get(&path, &[]).await?;
    let made = case.post(CONFIG_MAPS, &config_map(name, "1")).await?;
    case.post(CONFIG_MAPS, &config_map(name, "2")).await?;
    let mut object = made.body.clone();
    object["data"]["a"] = "3".into();
    let written = case.send("PUT", &path, Body::Json(&object), &["/data"]).await?;
    ensure!(version(&written) != version(&made), "a change has a version");
    // Of a version that is not there any more.
    object["data"]["a"] = "4".into();
    case.send("PUT", &path, Body::Json(&object), &[]).await?;
    let stale = json!({ "metadata": { "resourceVersion": version(&made) }, "data": { "a": "5" } });
    case.send("PATCH", &path, Body::Patch(MERGE, &stale), &[]).await?;
    // What changes nothing is no new version.
    let same = case.send("PATCH", &path, Body::Patch(MERGE, &json!({ "data": { "a": "3" } })), &["/data"]).await?;
    ensure!(version(&same) == version(&written), "nothing has changed");
    case.send("PATCH", &path, Body::Patch(MERGE, &json!({ "data": { "a": null, "b": "1" } })), &["/data"]).await?;
    case.send("PUT", &format!("{CONFIG_MAPS}/nobody"), Body::Json(&config_map("nobody", "")), &[]).await?;
    case.send("PUT", &path, Body::Json(&config_map("another", "")), &[]).await?;
    let mut wrong = config_map(name, "");
    wrong["metadata"]["uid"] = "5c1a2b3d-0000-4000-8000-000000000000".into();
    case.send("PUT", &path, Body::Json(&wrong), &[]).await?;
    let mut surplus = config_map("surplus", "");
    surplus["metadata"]["resourceVersion"] = "1".into();
    case.post(CONFIG_MAPS, &surplus).await?;
    let mut elsewhere = config_map("elsewhere", "");
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    case.post(CONFIG_MAPS, &elsewhere).await?;
    case.post("/api/v1/namespaces/nowhere/configmaps", &config_map("lost", "")).await?;
    case.get("/api/v1/namespaces/default/nonsense", &[]).await?;
    Ok(())
}

async fn immutable(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/{name}");
    let mut object = config_map(name, "1");
    object["immutable"] = true.into();
    case.post(CONFIG_MAPS, &object).await?;
    case.send("PATCH", &path, Body::Patch(MERGE, &json!({ "data": { "a": "2" } })), &[]).await?;
    case.send("PATCH", &path, Body::Patch(MERGE, &json!({ "metadata": { "labels": { "a": "b" } } })), &[]).await?;
    Ok(())
}

async fn deletion_with_conditions(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/{name}");
    let made = case.post(CONFIG_MAPS, &config_map(name, "1")).await?;
    let wrong = json!({ "preconditions": { "uid": "5c1a2b3d-0000-4000-8000-000000000000" } });
    case.delete(&path, &wrong).await?;
    case.delete(&path, &json!({ "preconditions": { "resourceVersion": "1" } })).await?;
    let right = json!({ "preconditions": { "uid": made.body["metadata"]["uid"] } });
    case.delete(&path, &right).await?;
    case.delete(&path, &right).await?;
    Ok(())
}

async fn finalizers(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    let mut object = pipeline(name)?;
    object["metadata"]["finalizers"] = json!(["onceward.dev/commits"]);
    case.post(PIPELINES, &object).await?;
    let first = case.delete(&path, &json!({})).await?;
    ensure!(first.body["metadata"]["deletionTimestamp"].is_string(), "it waits");
    let again = case.delete(&path, &json!({})).await?;
    ensure!(version(&again) == version(&first), "it was deleted already");
    let more = json!({ "metadata": { "finalizers": ["onceward.dev/commits", "onceward.dev/more"] } });
    case.send("PATCH", &path, Body::Patch(MERGE, &more), &[]).await?;
    case.post(PIPELINES, &object).await?;
    let stale = json!({ "metadata": { "resourceVersion": "1", "finalizers": null } });
    case.send("PATCH", &path, Body::Patch(MERGE, &stale), &[]).await?;
    let none = json!({ "metadata": { "resourceVersion": version(&first), "finalizers": [] } });
    case.send("PATCH", &path, Body::Patch(MERGE, &none), &["/metadata/finalizers"]).await?;
    case.get(&path, &[]).await?;
    Ok(())
}

async fn status_apart(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{PIPELINES}/{name}");
    let status = format!("{path}/status");
    let noted = ["/metadata/generation", "/status/phase", "/spec/parallelism", "/metadata/labels"];
    let mut object = pipeline(name)?;
    object["status"] = json!({ "phase": "Failed" });
    let made = case.send("POST", PIPELINES, Body::Json(&object), &noted).await?;
    let mut reported = made.body.clone();
    reported["status"] = json!({ "phase": "Running" });
    reported["spec"]["parallelism"] = 3.into();
    reported["metadata"]["labels"] = json!({ "a": "b" });
    case.send("PUT", &status, Body::Json(&reported), &noted).await?;
    // The version is one of before by now.
    case.send("PUT", &status, Body::Json(&reported), &noted).await?;
    let now = case.get(&path, &noted).await?;
    let same = case.send("PUT", &status, Body::Json(&now.body), &noted).await?;
    ensure!(version(&same) == version(&now), "nothing has changed");
    let change = json!({ "spec": { "parallelism": 2 }, "status": { "phase": "Failed" } });
    case.send("PATCH", &path, Body::Patch(MERGE, &change), &noted).await?;
    let mut unversioned = now.body.clone();
    unversioned["metadata"]["resourceVersion"] = Value::Null;
    case.send("PUT", &path, Body::Json(&unversioned), &[]).await?;
    case.get(&format!("{path}/nonsense"), &[]).await?;
    case.get(&status, &noted).await?;
    Ok(())
}

fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": {
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 40,
        "containers": [{ "name": "worker", "image": "onceward:test" }] } })
}

async fn graceful_deletion(case: &mut Case<'_>, name: &str) -> Result<()> {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    // The real server wants the account that nobody makes there.
    call(case.client, "POST", "/api/v1/namespaces/default/serviceaccounts", Body::Json(&account)).await?;
    let path = |suffix: &str| format!("{PODS}/{name}-{suffix}");
    // No kubelet has it: it goes at once.
    case.post(PODS, &pod(&format!("{name}-waiting"))).await?;
    case.delete(&path("waiting"), &json!({})).await?;
    case.get(&path("waiting"), &[]).await?;
    for (suffix, status) in [("running", "Running"), ("ended", "Failed")] {
        let mut object = pod(&format!("{name}-{suffix}"));
        object["spec"]["nodeName"] = "node-a".into();
        case.post(PODS, &object).await?;
        let status = json!({ "status": { "phase": status } });
        let written = format!("{}/status", path(suffix));
        case.send("PATCH", &written, Body::Patch(MERGE, &status), &["/status/phase", "/metadata/generation"]).await?;
    }
    let told = case.delete(&path("running"), &json!({})).await?;
    ensure!(told.body["metadata"]["deletionTimestamp"].is_string(), "its kubelet sees to it");
    case.delete(&path("running"), &json!({ "gracePeriodSeconds": 5 })).await?;
    case.post(PODS, &pod(&format!("{name}-running"))).await?;
    case.delete(&path("running"), &json!({ "gracePeriodSeconds": 0 })).await?;
    case.get(&path("running"), &[]).await?;
    case.delete(&path("ended"), &json!({})).await?;
    case.get(&path("ended"), &[]).await?;
    Ok(())
}

/// The server alone collects nothing: that is another process's work.
async fn owners(case: &mut Case<'_>, name: &str) -> Result<()> {
    let owner = case.post(CONFIG_MAPS, &config_map(&format!("{name}-owner"), "")).await?;
    let mut owned = config_map(&format!("{name}-owned"), "");
    owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap",
        "name": format!("{name}-owner"), "uid": owner.body["metadata"]["uid"] }]);
    case.post(CONFIG_MAPS, &owned).await?;
    case.delete(&format!("{CONFIG_MAPS}/{name}-owner"), &json!({})).await?;
    case.get(&format!("{CONFIG_MAPS}/{name}-owned"), &["/metadata/ownerReferences/0/name"]).await?;
    Ok(())
}

async fn managers(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = |manager: &str, more: &str| format!("{CONFIG_MAPS}/{name}?fieldManager={manager}{more}");
    let object = |data: Value| {
        let mut object = config_map(name, "");
        object["data"] = data;
        object
    };
    case.send("PATCH", &format!("{CONFIG_MAPS}/{name}"), Body::Patch(APPLY, &object(json!({ "a": "1" }))), &[]).await?;
    case.send("PATCH", &path("one", ""), Body::Patch(APPLY, &object(json!({ "a": "1", "b": "1" }))), &["/data"])
        .await?;
    case.send("PATCH", &path("two", ""), Body::Patch(APPLY, &object(json!({ "c": "2" }))), &["/data"]).await?;
    // The same value may be shared; another one is a conflict.
    case.send("PATCH", &path("two", ""), Body::Patch(APPLY, &object(json!({ "a": "1", "c": "2" }))), &["/data"])
        .await?;
    case.send("PATCH", &path("two", ""), Body::Patch(APPLY, &object(json!({ "b": "2" }))), &["/data"]).await?;
    case.send("PATCH", &path("two", "&force=true"), Body::Patch(APPLY, &object(json!({ "b": "2" }))), &["/data"])
        .await?;
    // What its only manager leaves out goes.
    case.send("PATCH", &path("one", ""), Body::Patch(APPLY, &object(json!({}))), &["/data"]).await?;
    case.send("PATCH", &path("two", ""), Body::Patch(APPLY, &object(json!({ "d": "2" }))), &["/data"]).await?;
    let mut stale = object(json!({ "d": "3" }));
    stale["metadata"]["resourceVersion"] = "1".into();
    case.send("PATCH", &path("two", ""), Body::Patch(APPLY, &stale), &[]).await?;
    Ok(())
}

async fn pages_and_labels(case: &mut Case<'_>, name: &str) -> Result<()> {
    for number in 0..5 {
        let mut object = config_map(&format!("{name}-{number}"), "");
        object["metadata"]["labels"] = json!({ "case": name, "odd": (number % 2 == 1).to_string() });
        case.post(CONFIG_MAPS, &object).await?;
    }
    let listed = |answer: &Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    let odd = case.get(&format!("{CONFIG_MAPS}?labelSelector=case%3D{name}%2Codd%3Dtrue"), &[]).await?;
    case.seen.push(json!(listed(&odd)));
    let mut token = String::new();
    for _ in 0..3 {
        let page = case.get(&format!("{CONFIG_MAPS}?labelSelector=case%3D{name}&limit=2{token}"), &[]).await?;
        case.seen.push(json!(listed(&page)));
        let next = page.body["metadata"]["continue"].as_str().unwrap_or_default();
        case.seen.push(json!(next.is_empty()));
        // A page is of the same moment as the first one.
        case.send("DELETE", &format!("{CONFIG_MAPS}/{name}-4"), Body::None, &[]).await?;
        token = format!("&continue={}", next.replace('/', "%2F"));
    }
    Ok(())
}

/// Lines of a watch that ends by itself.
async fn watched(case: &mut Case<'_>, query: &str) -> Result<()> {
    let request = http::Request::get(format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1{query}")).body(Vec::new())?;
    let text = case.client.request_text(request).await?;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        let object = &event["object"];
        case.seen.push(json!({ "event": event["type"], "name": object["metadata"]["name"], "data": object["data"],
            "code": object["code"], "reason": object["reason"] }));
    }
    Ok(())
}

async fn watches(case: &mut Case<'_>, name: &str) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/{name}");
    let mut object = config_map(name, "1");
    object["metadata"]["labels"] = json!({ "case": name });
    let made = case.post(CONFIG_MAPS, &object).await?;
    let since = version(&made).to_owned();
    for patch in [
        json!({ "data": { "a": "2" } }),
        json!({ "metadata": { "labels": { "case": "other" } }, "data": { "a": "3" } }),
        json!({ "metadata": { "labels": { "case": name } }, "data": { "a": "4" } }),
    ] {
        case.send("PATCH", &path, Body::Patch(MERGE, &patch), &[]).await?;
    }
    watched(case, &format!("&labelSelector=case%3D{name}&resourceVersion=0")).await?;
    case.delete(&path, &json!({})).await?;
    // What leaves the selection is deleted for those who watch it, and what comes back is new.
    watched(case, &format!("&labelSelector=case%3D{name}&resourceVersion={since}")).await
}

/// Of custom resources, too, where nothing but name and namespace can be selected by.
async fn fields(case: &mut Case<'_>, name: &str) -> Result<()> {
    let mut since = String::new();
    for suffix in ["a", "b"] {
        let made = case.post(CONFIG_MAPS, &config_map(&format!("{name}-{suffix}"), suffix)).await?;
        since = version(&made).to_owned();
        case.post(PIPELINES, &pipeline(&format!("{name}-{suffix}"))?).await?;
    }
    for kind in [CONFIG_MAPS, PIPELINES] {
        let noted = ["/items/0/metadata/name", "/items/1/metadata/name"];
        for selector in [
            format!("metadata.name%3D{name}-b"),
            format!("metadata.name%3D%3D{name}-b%2Cmetadata.namespace%3Ddefault"),
            format!("metadata.name%3D{name}-b%2Cmetadata.namespace%3Dkube-system"),
            "metadata.uid%3Dnobody".to_owned(),
            "spec.parallelism%3D2".to_owned(),
        ] {
            case.get(&format!("{kind}?fieldSelector={selector}"), &noted).await?;
        }
    }
    let patch = json!({ "data": { "a": "c" } });
    for suffix in ["a", "b"] {
        let path = format!("{CONFIG_MAPS}/{name}-{suffix}");
        case.send("PATCH", &path, Body::Patch(MERGE, &patch), &["/data"]).await?;
    }
    watched(case, &format!("&fieldSelector=metadata.name%3D{name}-b&resourceVersion={since}")).await
}

async fn cases(client: &Client, prefix: &str) -> Result<Vec<Value>> {
    let mut case = Case { client, seen: vec![] };
    let name = |name: &str| format!("{prefix}{name}");
    names_and_versions(&mut case, &name("versions")).await?;
    immutable(&mut case, &name("immutable")).await?;
    deletion_with_conditions(&mut case, &name("conditions")).await?;
    finalizers(&mut case, &name("finalizers")).await?;
    status_apart(&mut case, &name("status")).await?;
    graceful_deletion(&mut case, &name("grace")).await?;
    owners(&mut case, &name("owners")).await?;
    managers(&mut case, &name("managers")).await?;
    pages_and_labels(&mut case, &name("pages")).await?;
    watches(&mut case, &name("watches")).await?;
    fields(&mut case, &name("fields")).await?;
    Ok(case.seen)
}

#[tokio::test]
async fn the_server_in_process_answers_as_a_real_one() -> Result<()> {
    let (_site, real) = site().await?;
    let expected = cases(&real, "conformance-").await?;
    let told = cases(&Server::default().client(Arc::new(Fair)), "conformance-").await?;
    let mut wrong = vec![];
    for (expected, told) in expected.iter().zip(&told) {
        if expected != told {
            wrong.push(format!("real:       {expected}\nin process: {told}"));
        }
    }
    ensure!(expected.len() == told.len(), "{} answers, not {}\n{}", told.len(), expected.len(), wrong.join("\n"));
    ensure!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), expected.len(), wrong.join("\n"));
    println!("{} answers are equal", expected.len());
    Ok(())
}

/// A real server forgets when etcd is compacted.
#[tokio::test]
async fn a_watch_of_what_is_forgotten_is_refused_as_expired() -> Result<()> {
    let server = Server::default();
    let client = server.client(Arc::new(Fair));
    let mut case = Case { client: &client, seen: vec![] };
    for number in 0..5 {
        case.post(CONFIG_MAPS, &config_map(&format!("old-{number}"), "")).await?;
    }
    server.compact(1);
    case.seen.clear();
    watched(&mut case, "&resourceVersion=1").await?;
    ensure!(case.seen.len() == 1 && case.seen[0]["event"] == "ERROR" && case.seen[0]["code"] == 410, "{:?}", case.seen);
    ensure!(case.seen[0]["reason"] == "Expired", "{:?}", case.seen);
    Ok(())
}
