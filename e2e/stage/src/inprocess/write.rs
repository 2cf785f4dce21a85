//! Creating, changing and deleting, by the rules of the API server.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::clock::rfc3339;
use super::kinds::{Key, NAMESPACES, PODS};
use super::refusal::Refusal;
use super::request::{Request, Verb};
use super::store::Store;

/// Fields of `metadata` that are the server's alone.
const OF_THE_SERVER: [&str; 6] =
    ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "resourceVersion", "uid"];
/// Of pods that say nothing else.
const GRACE_SECONDS: u64 = 30;

/// What came of a write.
pub(super) enum Written {
    Made(Arc<Value>),
    There(Arc<Value>),
    /// Deleted, and nobody waits for anything.
    Gone(Arc<Value>),
}

/// Carries a write out.
pub(super) fn write(store: &mut Store, request: &Request, now_ms: u64) -> Result<Written, Refusal> {
    match request.verb {
        Verb::Create => create(store, request, now_ms),
        Verb::Update => update(store, request, now_ms, |_| request.body.clone()),
        Verb::MergePatch => update(store, request, now_ms, |object| {
            let mut object = object.clone();
            merge(&mut object, &request.body);
            object
        }),
        Verb::Apply => super::apply::apply(store, request, now_ms),
        Verb::Delete => delete(store, request, now_ms),
        Verb::Get | Verb::List | Verb::Watch => Err(Refusal::no_such_verb()),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn key_of(request: &Request) -> Key {
    let name = if request.name.is_empty() { text(&request.body, "/metadata/name") } else { &request.name };
    Key::new(request.kind, if request.kind.is_namespaced { &request.namespace } else { "" }, name)
}

fn create(store: &mut Store, request: &Request, now_ms: u64) -> Result<Written, Refusal> {
    let mut key = key_of(request);
    let mut object = request.body.clone();
    let prefix = text(&object, "/metadata/generateName").to_owned();
    if key.name.is_empty() && !prefix.is_empty() {
        key.name = format!("{prefix}{:05}", store.revision());
    }
    if key.name.is_empty() {
        return Err(Refusal::invalid(&key, "metadata.name: Required value: name or generateName is required"));
    }
    let named = text(&object, "/metadata/namespace");
    if !named.is_empty() && named != key.namespace {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(Refusal::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    admit(store, &key)?;
    if store.get(&key).is_some() {
        return Err(Refusal::exists(&key));
    }
    let metadata = metadata_of(&mut object)?;
    for field in OF_THE_SERVER {
        metadata.remove(field);
    }
    metadata.insert("name".to_owned(), key.name.clone().into());
    if key.kind.is_namespaced {
        metadata.insert("namespace".to_owned(), key.namespace.clone().into());
    }
    metadata.insert("uid".to_owned(), store.next_uid(&key).into());
    metadata.insert("creationTimestamp".to_owned(), rfc3339(now_ms).into());
    if key.kind.has_generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    if key.kind.is_custom()
        && key.kind.has_status
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    if key.kind == &PODS {
        object["status"] = json!({ "phase": "Pending" });
    }
    Ok(Written::Made(store.put(&key, Some(object), now_ms)))
}

/// Nothing is made where there is no namespace, or one that goes away.
fn admit(store: &Store, key: &Key) -> Result<(), Refusal> {
    if !key.kind.is_namespaced {
        return Ok(());
    }
    let place = Key::new(&NAMESPACES, "", &key.namespace);
    match store.get(&place) {
        None => Err(Refusal::not_found(&place)),
        Some(namespace) if namespace.pointer("/metadata/deletionTimestamp").is_some() => {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", key.namespace);
            Err(Refusal::forbidden(key, &why))
        }
        Some(_) => Ok(()),
    }
}

fn metadata_of(object: &mut Value) -> Result<&mut Map<String, Value>, Refusal> {
    let Some(fields) = object.as_object_mut() else { return Err(Refusal::bad_request("an object is an object")) };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    metadata.as_object_mut().ok_or_else(|| Refusal::bad_request("metadata is an object"))
}

fn update(
    store: &mut Store,
    request: &Request,
    now_ms: u64,
    change: impl FnOnce(&Value) -> Value,
) -> Result<Written, Refusal> {
    let key = key_of(request);
    let before = Arc::clone(store.get(&key).ok_or_else(|| Refusal::not_found(&key))?);
    let after = change(&before);
    let named = text(&after, "/metadata/name");
    if !named.is_empty() && named != key.name {
        return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
    }
    let uid = text(&after, "/metadata/uid");
    if !uid.is_empty() && uid != text(&before, "/metadata/uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            text(&before, "/metadata/uid")
        );
        return Err(Refusal::conflict(&key, &why));
    }
    let version = text(&after, "/metadata/resourceVersion");
    if version.is_empty() && key.kind.is_custom() && request.verb == Verb::Update {
        return Err(Refusal::invalid(
            &key,
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        ));
    }
    if !version.is_empty() && version != text(&before, "/metadata/resourceVersion") {
        return Err(Refusal::outdated(&key));
    }
    replace(store, &key, after, request.subresource == "status", now_ms)
}

/// Stores what is new in `after`; of the part alone that this request may write.
pub(super) fn replace(
    store: &mut Store,
    key: &Key,
    mut after: Value,
    is_status: bool,
    now_ms: u64,
) -> Result<Written, Refusal> {
    let before = Arc::clone(store.get(key).ok_or_else(|| Refusal::not_found(key))?);
    if is_status {
        let status = after.get("status").cloned();
        after = before.as_ref().clone();
        set(&mut after, "status", status);
    } else {
        if key.kind.has_status {
            set(&mut after, "status", before.get("status").cloned());
        }
        let metadata = metadata_of(&mut after)?;
        for field in OF_THE_SERVER.into_iter().chain(["name", "namespace"]) {
            match before.pointer(&format!("/metadata/{field}")) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
        for empty in ["finalizers", "ownerReferences"] {
            if metadata.get(empty).is_some_and(|list| list.as_array().is_some_and(Vec::is_empty)) {
                metadata.remove(empty);
            }
        }
    }
    after["apiVersion"] = key.kind.api_version().into();
    after["kind"] = key.kind.kind.into();
    check(key, &before, &after)?;
    if after == *before {
        return Ok(Written::There(before));
    }
    let content = |object: &Value| {
        let mut object = object.clone();
        set(&mut object, "metadata", None);
        set(&mut object, "status", None);
        object
    };
    if key.kind.has_generation && content(&after) != content(&before) {
        let generation = before.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or_default();
        after["metadata"]["generation"] = (generation + 1).into();
    }
    let is_over = after.pointer("/metadata/deletionTimestamp").is_some() && !waits(key, &after);
    if is_over {
        store.put(key, None, now_ms);
        return Ok(Written::Gone(Arc::new(after)));
    }
    Ok(Written::There(store.put(key, Some(after), now_ms)))
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
    }
}

fn check(key: &Key, before: &Value, after: &Value) -> Result<(), Refusal> {
    if before.get("immutable") == Some(&Value::Bool(true)) && before.get("data") != after.get("data") {
        return Err(Refusal::invalid(key, "data: Forbidden: field is immutable when `immutable` is set"));
    }
    let list = |object: &Value| object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned();
    let (had, has) = (list(before).unwrap_or_default(), list(after).unwrap_or_default());
    let is_leaving = before.pointer("/metadata/deletionTimestamp").is_some();
    if is_leaving && has.iter().any(|finalizer| !had.contains(finalizer)) {
        let why = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted";
        return Err(Refusal::invalid(key, why));
    }
    Ok(())
}

/// Whether somebody has to do something before an object that is deleted is gone.
fn waits(key: &Key, object: &Value) -> bool {
    let held = object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or_default();
    held || (key.kind == &PODS && grace > 0)
}

fn delete(store: &mut Store, request: &Request, now_ms: u64) -> Result<Written, Refusal> {
    let key = key_of(request);
    let before = Arc::clone(store.get(&key).ok_or_else(|| Refusal::not_found(&key))?);
    for (field, words) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = text(&request.body, &format!("/preconditions/{field}"));
        let found = text(&before, &format!("/metadata/{field}"));
        if !wanted.is_empty() && wanted != found {
            let why =
                format!("Precondition failed: {words} in precondition: {wanted}, {words} in object meta: {found}");
            return Err(Refusal::conflict(&key, &why));
        }
    }
    let grace = if key.kind == &PODS { grace(request, &before) } else { 0 };
    let mut after = before.as_ref().clone();
    let deadline_ms = now_ms + grace * 1_000;
    let was = before.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64);
    if was.is_none_or(|was| grace < was) {
        let metadata = metadata_of(&mut after)?;
        metadata.insert("deletionTimestamp".to_owned(), rfc3339(deadline_ms).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        if let (true, Some(generation)) = (key.kind.has_generation && was.is_none(), metadata.get_mut("generation")) {
            *generation = (generation.as_u64().unwrap_or_default() + 1).into();
        }
    }
    if !waits(&key, &after) {
        store.put(&key, None, now_ms);
        return Ok(Written::Gone(Arc::new(after)));
    }
    if after == *before {
        return Ok(Written::There(before));
    }
    Ok(Written::There(store.put(&key, Some(after), now_ms)))
}

/// Seconds that a pod gets; none where no kubelet has it, or it has ended.
fn grace(request: &Request, pod: &Value) -> u64 {
    let is_over = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if is_over || text(pod, "/spec/nodeName").is_empty() {
        return 0;
    }
    let asked = request.body.get("gracePeriodSeconds").or_else(|| pod.pointer("/spec/terminationGracePeriodSeconds"));
    asked.and_then(Value::as_u64).unwrap_or(GRACE_SECONDS)
}

/// RFC 7386.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        object.clone_from(patch);
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Some(fields) = object.as_object_mut() else { return };
    for (field, change) in patch {
        if change.is_null() {
            fields.remove(field);
        } else {
            merge(fields.entry(field).or_insert(Value::Null), change);
        }
    }
}
