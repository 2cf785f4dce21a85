//! What goes when its owner is gone: in a cluster the work of the controller manager, not of the API server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kinds::{Key, Kind};
use super::request::{Request, Verb};
use super::store::Store;
use super::write;

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// Everything of which no owner is there, with its uid.
pub(super) fn orphans(store: &Store) -> Vec<(Key, String)> {
    let uids: BTreeSet<String> = store.all().map(|(_, object)| uid(object).to_owned()).collect();
    let is_orphan = |object: &Value| {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.is_some_and(|owners| {
            let is_served = |owner: &Value| {
                let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
                Kind::of(field("apiVersion"), field("kind")).is_some()
            };
            let is_there =
                |owner: &Value| owner.get("uid").and_then(Value::as_str).is_some_and(|uid| uids.contains(uid));
            !owners.is_empty() && owners.iter().all(|owner| is_served(owner) && !is_there(owner))
        })
    };
    let is_leaving = |object: &Value| object.pointer("/metadata/deletionTimestamp").is_some();
    let orphans = store.all().filter(|(_, object)| is_orphan(object) && !is_leaving(object));
    orphans.map(|(key, object)| (key.clone(), uid(object).to_owned())).collect()
}

/// Deletes them; how many.
pub(super) fn collect(store: &mut Store, now_ms: u64) -> usize {
    let orphans = orphans(store);
    for (key, uid) in &orphans {
        let request = Request {
            verb: Verb::Delete,
            kind: key.kind,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: String::new(),
            query: std::collections::BTreeMap::new(),
            body: json!({ "preconditions": { "uid": uid } }),
        };
        // It was there a moment ago, and nobody else has been here since.
        let _ = write::write(store, &request, now_ms);
    }
    orphans.len()
}
