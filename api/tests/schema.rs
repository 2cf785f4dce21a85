//! The schema as an API server needs it: structural, bounded in every text and list, and CEL rules that each refuse what
//! they are for and nothing else.

mod samples;

use std::collections::BTreeSet;

use kube_cel::{ErrorKind, Validator};
use serde_json::{Value, json};

use crate::samples::{accepted, refused, refused_of_kafka, set};

/// Calls `visit` with the path and schema of every node.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{path}[]"), visit);
    }
}

fn offences(offends: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    walk(api::pipeline::schema(), "", &mut |path, schema| {
        found.extend(offends(schema).map(|what| format!("{path}: {what}")));
    });
    found
}

#[test]
fn every_text_and_list_is_bounded() {
    let unbounded: Vec<_> = offences(|schema| {
        let kind = schema.get("type").and_then(Value::as_str);
        let text = kind == Some("string") || schema.get("x-kubernetes-int-or-string").is_some();
        let bounded = |name: &str| schema.get(name).is_some();
        let open_number = kind == Some("integer") && !(bounded("minimum") && bounded("maximum"));
        let open_text = text && !bounded("maxLength") && !bounded("enum");
        let open_list = kind == Some("array") && !bounded("maxItems");
        let what = if open_number { "number" } else { "text or list" };
        (open_number || open_text || open_list).then(|| format!("{what} has no bound"))
    })
    .into_iter()
    // No rule reads the status, and its counters grow for years.
    .filter(|offence| !(offence.starts_with(".status") && offence.ends_with("number has no bound")))
    .collect();
    assert_eq!(unbounded, Vec::<String>::new());
}

#[test]
fn schema_is_structural() {
    let forbidden = ["$ref", "allOf", "anyOf", "oneOf", "not", "nullable", "uniqueItems", "definitions"];
    let wrong = offences(|schema| {
        let typed = schema.get("type").is_some() || schema.get("x-kubernetes-int-or-string").is_some();
        // A map of one kind of value is structural; that anything or nothing more may come is not.
        let is_loose = schema.get("additionalProperties").is_some_and(|values| !values.is_object());
        let word = forbidden.into_iter().find(|word| schema.get(word).is_some());
        let word = word.or(is_loose.then_some("additionalProperties"));
        word.map(str::to_owned).or_else(|| (!typed).then(|| "has no type".to_owned()))
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_field_is_documented() {
    let silent = offences(|schema| {
        let properties = schema.get("properties").and_then(Value::as_object)?;
        let silent = properties.iter().filter(|(_, property)| property.get("description").is_none());
        let names: Vec<_> = silent.map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    });
    assert_eq!(silent, Vec::<String>::new());
}

/// Messages of the rules that refuse `object`.
fn refusals(object: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Validator::new().validate(api::pipeline::schema(), object, old).err();
    let errors = errors.map(kube_cel::ValidationErrors::into_vec).unwrap_or_default();
    for error in &errors {
        assert_eq!(error.kind, ErrorKind::ValidationFailure, "{}: {}", error.rule, error.message);
    }
    errors.into_iter().map(|error| format!("{}: {}", error.field_path, error.message)).collect()
}

#[test]
fn every_rule_refuses_what_it_is_for_and_nothing_else() {
    assert_eq!(refusals(&accepted(), None), Vec::<String>::new());
    let mut spoke = BTreeSet::new();
    for (pointer, value, expected) in refused().into_iter().chain(refused_of_kafka()) {
        let mut object = accepted();
        set(&mut object, pointer, value.clone());
        let said = refusals(&object, None);
        assert!(
            said.len() == 1 && said[0].starts_with(expected),
            "{pointer} = {value}: wanted {expected}, got {said:?}"
        );
        spoke.extend(said.iter().filter_map(|said| said.split_once(": ")).map(|(_, message)| message.to_owned()));
    }
    let mut changed = accepted();
    changed["spec"]["maxParallelism"] = json!(64);
    let said = refusals(&changed, Some(&accepted()));
    assert!(said.len() == 1 && said[0].starts_with("spec.maxParallelism: maxParallelism is immutable"), "{said:?}");
    spoke.extend(said.iter().filter_map(|said| said.split_once(": ")).map(|(_, message)| message.to_owned()));

    let mut rules = BTreeSet::new();
    walk(api::pipeline::schema(), "", &mut |_, schema| {
        let here = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
        rules.extend(here.filter_map(|rule| rule["message"].as_str()).map(str::to_owned));
    });
    assert_eq!(rules.difference(&spoke).collect::<Vec<_>>(), Vec::<&String>::new(), "rules that no sample meets");
}
