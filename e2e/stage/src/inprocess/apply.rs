//! Server-side apply: fields have managers, and nobody takes one from another unless he insists.
//!
//! Lists are one field each but for those whose entries have a key. Fields that were written otherwise belong to nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::kinds::Key;
use super::refusal::Refusal;
use super::request::{Request, Verb};
use super::store::Store;
use super::write::{self, Written, key_of};

/// Lists whose entries are fields of their own, and what tells them apart.
const KEYS: [(&str, &str); 5] =
    [("conditions", "type"), ("containers", "name"), ("env", "name"), ("ownerReferences", "uid"), ("volumes", "name")];

/// Where a field is: names, and keys of entries.
type Path = Vec<String>;

pub(super) fn apply(store: &mut Store, request: &Request, now_ms: u64) -> Result<Written, Refusal> {
    let Some(manager) = request.option("fieldManager") else {
        return Err(Refusal::new(
            422,
            "Invalid",
            "PatchOptions: fieldManager: Required value: is required for apply patch",
        ));
    };
    let key = key_of(request);
    if request.body.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    let mut wanted = BTreeMap::new();
    leaves(&request.body, &mut vec![], &mut wanted);
    wanted.retain(|path, _| !is_of_the_server(path));
    let Some(before) = store.get(&key).map(|found| found.as_ref().clone()) else {
        let mut object = request.body.clone();
        object["metadata"]["managedFields"] = managed(&BTreeMap::new(), manager, wanted.keys().cloned().collect());
        let create = Request { verb: Verb::Create, body: object, ..request.clone() };
        return write::write(store, &create, now_ms);
    };
    check(&key, request, &before)?;
    let mut managers = managers_of(&before);
    let mut there = BTreeMap::new();
    leaves(&before, &mut vec![], &mut there);
    let others = managers.iter().filter(|(other, _)| *other != manager);
    let taken: Vec<(String, Path)> = others
        .flat_map(|(other, paths)| paths.iter().map(|path| (other.clone(), path.clone())))
        .filter(|(_, path)| wanted.get(path).is_some_and(|value| there.get(path) != Some(value)))
        .collect();
    if !taken.is_empty() {
        if request.option("force") != Some("true") {
            let (other, path) = &taken[0];
            let words =
                format!("Apply failed with {} conflict: conflict with \"{other}\": .{}", taken.len(), path.join("."));
            return Err(Refusal::new(409, "Conflict", words));
        }
        for (other, path) in taken {
            managers.entry(other).or_default().remove(&path);
        }
    }
    let mine = managers.remove(manager).unwrap_or_default();
    let mut after = before.clone();
    for path in mine.iter().filter(|path| !wanted.contains_key(*path)) {
        if !managers.values().any(|paths| paths.contains(path)) {
            remove(&mut after, path);
        }
    }
    for (path, value) in &wanted {
        put(&mut after, path, value);
    }
    after["metadata"]["managedFields"] = managed(&managers, manager, wanted.into_keys().collect());
    write::replace(store, &key, after, request.subresource == "status", now_ms)
}

fn check(key: &Key, request: &Request, before: &Value) -> Result<(), Refusal> {
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let version = text(&request.body, "resourceVersion");
    let is_outdated = !version.is_empty() && version != text(before, "resourceVersion");
    let uid = text(&request.body, "uid");
    if is_outdated {
        return Err(Refusal::outdated(key));
    }
    if !uid.is_empty() && uid != text(before, "uid") {
        return Err(Refusal::conflict(key, "Precondition failed: UID"));
    }
    Ok(())
}

fn is_of_the_server(path: &Path) -> bool {
    const THEIRS: [&str; 5] = ["name", "namespace", "uid", "resourceVersion", "managedFields"];
    match path.as_slice() {
        [first, second, ..] if first == "metadata" => THEIRS.contains(&second.as_str()),
        [first, ..] => first == "apiVersion" || first == "kind",
        [] => true,
    }
}

fn key_of_list(path: &Path) -> Option<&'static str> {
    let last = path.last()?;
    KEYS.iter().find(|(name, _)| name == last).map(|(_, key)| *key)
}

/// Every value that is no map, by its path.
fn leaves(value: &Value, path: &mut Path, into: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                path.push(field.clone());
                leaves(value, path, into);
                path.pop();
            }
        }
        Value::Array(items) => match key_of_list(path) {
            Some(key) => {
                for item in items {
                    let name = item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    path.push(format!("[{name}]"));
                    leaves(item, path, into);
                    path.pop();
                }
            }
            None => drop(into.insert(path.clone(), value.clone())),
        },
        value => drop(into.insert(path.clone(), value.clone())),
    }
}

/// The place of a path, made where it is not there.
fn place<'a>(value: &'a mut Value, path: &[String], key: Option<&str>) -> &'a mut Value {
    let Some((first, rest)) = path.split_first() else { return value };
    if let (Some(name), Some(key)) = (entry(first), key) {
        if !value.is_array() {
            *value = json!([]);
        }
        let Value::Array(items) = value else { return value };
        let found = items.iter().position(|item| item.get(key).and_then(Value::as_str) == Some(name));
        let index = found.unwrap_or_else(|| {
            items.push(json!({ key: name }));
            items.len() - 1
        });
        return place(&mut items[index], rest, None);
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let key = KEYS.iter().find(|(name, _)| name == first).map(|(_, key)| *key);
    place(&mut value[first.as_str()], rest, key)
}

fn entry(name: &str) -> Option<&str> {
    name.strip_prefix('[')?.strip_suffix(']')
}

fn put(object: &mut Value, path: &Path, value: &Value) {
    let place = place(object, path, None);
    // An empty map asks for nothing in it, and takes nothing away.
    if !(place.is_object() && value.as_object().is_some_and(Map::is_empty)) {
        *place = value.clone();
    }
}

fn remove(object: &mut Value, path: &Path) {
    let Some((last, parents)) = path.split_last() else { return };
    if let Some(fields) = place(object, parents, None).as_object_mut() {
        fields.remove(last);
    }
}

fn managers_of(object: &Value) -> BTreeMap<String, BTreeSet<Path>> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let entry = |entry: &Value| {
        let paths =
            entry["fieldsV1"].as_object()?.values().filter_map(|path| serde_json::from_value(path.clone()).ok());
        Some((entry["manager"].as_str()?.to_owned(), paths.collect()))
    };
    entries.filter_map(entry).collect()
}

/// In the shape that Kubernetes gives it, with plain paths as content.
fn managed(others: &BTreeMap<String, BTreeSet<Path>>, manager: &str, paths: BTreeSet<Path>) -> Value {
    let mut all = others.clone();
    all.insert(manager.to_owned(), paths);
    let entry = |(manager, paths): (String, BTreeSet<Path>)| {
        let fields: Map<String, Value> = paths.into_iter().map(|path| (path.join("/"), json!(path))).collect();
        json!({ "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields })
    };
    all.into_iter().filter(|(_, paths)| !paths.is_empty()).map(entry).collect()
}
