//! What goes when its owner is gone: in a cluster the work of the controller manager, not of the API server.

use serde_json::{Value, json};

use super::kinds::{Key, Kind};
use super::request::{Request, Verb};
use super::store::Store;
use super::write;

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// Whether an object has owners, and none of them is there: one of that name with another uid is somebody else. Owners of a
/// kind that is not served may be there.
pub(super) fn is_orphan(store: &Store, key: &Key, object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let is_gone = |owner: &Value| {
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::of(field("apiVersion"), field("kind")) else { return false };
        let namespace = if kind.is_namespaced { &key.namespace } else { "" };
        let found = store.get(&Key::new(kind, namespace, field("name")));
        found.is_none_or(|found| uid(found) != field("uid"))
    };
    owners.is_some_and(|owners| !owners.is_empty() && owners.iter().all(is_gone))
}

/// All of them, with their uids.
pub(super) fn orphans(store: &Store) -> Vec<(Key, String)> {
    let is_leaving = |object: &Value| object.pointer("/metadata/deletionTimestamp").is_some();
    let orphans = store.all().filter(|(key, object)| is_orphan(store, key, object) && !is_leaving(object));
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

#[cfg(test)]
mod tests {
    use super::super::{CONFIG_MAPS, Server};
    use super::*;

    #[tokio::test]
    async fn what_comes_after_its_owner_has_gone_is_collected_too() {
        let server = Server::default();
        let (owner, owned) = (Key::new(&CONFIG_MAPS, "default", "owner"), Key::new(&CONFIG_MAPS, "default", "owned"));
        server.put(&owner, json!({ "metadata": {} }));
        let reference = |uid: &str| {
            let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid }]);
            json!({ "metadata": { "name": "owned", "ownerReferences": owner } })
        };
        let there = uid(&server.get(&owner).expect("it is there")).to_owned();
        server.write(Verb::Create, &owned, reference(&there)).expect("it is made");
        assert_eq!((server.orphanings(), server.collect()), (0, 0), "its owner is there");
        server.remove(&owned);
        let before = server.orphanings();
        server.write(Verb::Create, &owned, reference("of-one-that-was-deleted")).expect("it is made");
        assert_eq!(server.orphanings(), before + 1);
        assert_eq!(server.collect(), 1, "another one of that name is not its owner");
        assert!(server.get(&owned).is_none());
    }
}
