//! The user's pod template merged into ours by Kubernetes' strategic rules: fields of maps one by one, entries of lists by
//! their key, null takes a field away, and `$patch: delete` an entry.

use serde_json::{Map, Value};

/// Lists of a pod whose entries have an identity, and the field that is it; every other list is replaced.
const KEYS: [(&str, &str); 12] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
];
const DIRECTIVE: &str = "$patch";

/// Merges `patch` into `object`.
pub(super) fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if directive(patch) == Some("replace") {
        object.clear();
    }
    for (field, change) in patch {
        if field == DIRECTIVE {
            continue;
        }
        match (object.get_mut(field), change) {
            (_, Value::Null) => {
                object.remove(field);
            }
            (Some(Value::Object(inner)), Value::Object(change)) => merge(inner, change),
            (Some(Value::Array(items)), Value::Array(changes)) => match key_of(field) {
                Some(key) => merge_list(items, changes, key),
                None => items.clone_from(changes),
            },
            _ => {
                object.insert(field.clone(), cleaned(change));
            }
        }
    }
}

fn merge_list(items: &mut Vec<Value>, changes: &[Value], key: &str) {
    for change in changes {
        let Value::Object(change) = change else { continue };
        let place = items.iter().position(|item| change.contains_key(key) && item.get(key) == change.get(key));
        match (place, directive(change)) {
            (Some(place), Some("delete")) => {
                items.remove(place);
            }
            (None, Some("delete")) => {}
            (Some(place), _) => {
                if let Some(Value::Object(item)) = items.get_mut(place) {
                    merge(item, change);
                }
            }
            (None, _) => items.push(cleaned(&Value::Object(change.clone()))),
        }
    }
}

fn key_of(list: &str) -> Option<&'static str> {
    KEYS.iter().find(|(name, _)| *name == list).map(|(_, key)| *key)
}

fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get(DIRECTIVE).and_then(Value::as_str)
}

/// Without nulls and directives, which mean something only beside what they change.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(field, value)| *field != DIRECTIVE && !value.is_null());
            Value::Object(kept.map(|(field, value)| (field.clone(), cleaned(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(cleaned).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut object: Value, patch: &Value) -> Value {
        merge(object.as_object_mut().expect("an object"), patch.as_object().expect("an object"));
        object
    }

    #[test]
    fn maps_are_merged_and_null_takes_away() {
        let ours = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        assert_eq!(merged(ours, &json!({ "a": { "b": null, "e": 4 }, "d": null })), json!({ "a": { "c": 2, "e": 4 } }));
    }

    #[test]
    fn entries_are_merged_by_their_key() {
        let ours =
            json!({ "containers": [{ "name": "worker", "env": [{ "name": "A", "value": "1" }], "args": ["x"] }] });
        let patch = json!({ "containers": [
            { "name": "worker", "env": [{ "name": "A", "value": "2" }, { "name": "B", "value": "3" }], "args": ["y", "z"] },
            { "name": "sidecar", "image": null },
        ] });
        let expected = json!({ "containers": [
            { "name": "worker", "env": [{ "name": "A", "value": "2" }, { "name": "B", "value": "3" }], "args": ["y", "z"] },
            { "name": "sidecar" },
        ] });
        assert_eq!(merged(ours, &patch), expected);
    }

    #[test]
    fn an_entry_or_a_map_is_taken_away_or_replaced_as_told() {
        let ours =
            json!({ "volumes": [{ "name": "a" }, { "name": "b" }], "securityContext": { "runAsNonRoot": true } });
        let patch = json!({ "volumes": [{ "name": "a", "$patch": "delete" }, { "name": "c", "$patch": "delete" }],
            "securityContext": { "$patch": "replace", "runAsUser": 7 } });
        assert_eq!(
            merged(ours, &patch),
            json!({ "volumes": [{ "name": "b" }], "securityContext": { "runAsUser": 7 } })
        );
    }

    #[test]
    fn lists_without_identity_are_replaced() {
        let ours = json!({ "tolerations": [{ "key": "a" }] });
        assert_eq!(merged(ours, &json!({ "tolerations": [] })), json!({ "tolerations": [] }));
    }
}
