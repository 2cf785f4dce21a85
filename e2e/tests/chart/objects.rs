//! Rendered objects are what Kubernetes' types can hold, with no field that they do not know.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::monitoring::{PodMonitor, PrometheusRule};
use crate::rendered::{CASES, values_of};
use crate::{kind, objects, title};

/// What is left of an object after a type has held it must be the object: unknown fields would be gone.
fn held_by<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    let (mut before, mut after) = (object.clone(), back);
    strip(&mut before);
    strip(&mut after);
    if before == after { Ok(()) } else { Err(format!("{before}\nis held as\n{after}")) }
}

/// Empty fields are left out by some types and written by others.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(strip);
            fields.retain(|_, field| !field.is_null() && field != &Value::Array(Vec::new()));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn judge(object: &Value) -> Result<(), String> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    match (version, kind(object)) {
        ("apps/v1", "Deployment") => held_by::<Deployment>(object),
        ("v1", "ConfigMap") => held_by::<ConfigMap>(object),
        ("v1", "Pod") => held_by::<Pod>(object),
        ("v1", "Secret") => held_by::<Secret>(object),
        ("v1", "Service") => held_by::<Service>(object),
        ("v1", "ServiceAccount") => held_by::<ServiceAccount>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => held_by::<NetworkPolicy>(object),
        ("policy/v1", "PodDisruptionBudget") => held_by::<PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => held_by::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => held_by::<RoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => held_by::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => held_by::<ClusterRoleBinding>(object),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => held_by::<CustomResourceDefinition>(object),
        ("monitoring.coreos.com/v1", "PodMonitor") => held_by::<PodMonitor>(object),
        ("monitoring.coreos.com/v1", "PrometheusRule") => held_by::<PrometheusRule>(object),
        other => Err(format!("nobody judges {other:?}")),
    }
}

#[test]
fn every_object_is_held_by_its_type_without_loss() {
    let mut judged = 0;
    for case in CASES {
        for object in objects(&["--values", &values_of(case)]) {
            judge(&object).unwrap_or_else(|why| panic!("{case}: {}: {why}", title(&object)));
            judged += 1;
        }
    }
    assert!(judged > 80, "only {judged} objects");
}

/// The judge itself: a field that nobody knows, and one of a wrong type, are noticed.
#[test]
fn unknown_and_wrong_fields_are_noticed() {
    let all = objects(&crate::EVERYTHING);
    let plant = [
        ("Deployment", "/spec/template/spec", "hostNetworks", serde_json::json!(true)),
        ("Deployment", "/spec", "replicas", serde_json::json!("two")),
        ("NetworkPolicy", "/spec", "podSelectors", serde_json::json!({})),
        ("PodMonitor", "/spec", "selectors", serde_json::json!({})),
        ("PrometheusRule", "/spec/groups/0", "intervals", serde_json::json!("1m")),
    ];
    for (wanted, path, field, value) in plant {
        let mut object = all.iter().find(|object| kind(object) == wanted).cloned().unwrap();
        object.pointer_mut(path).unwrap()[field] = value;
        assert!(judge(&object).is_err(), "{wanted}{path}/{field}");
    }
}

#[test]
fn no_object_is_made_twice() {
    for case in CASES {
        let mut titles: Vec<_> = objects(&["--values", &values_of(case)]).iter().map(title).collect();
        let count = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), count, "{case}: {titles:?}");
    }
}
