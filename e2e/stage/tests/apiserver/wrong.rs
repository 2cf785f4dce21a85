//! Manifests with one fault each, made from the schema: the server refuses every one and names the field, and so does
//! the reader behind `onceward lint`.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::samples;
use crate::site::{faults, judged, names, server_names, site};
use crate::spots::{Spot, bases, spots};

/// One fault.
struct Wrong {
    what: String,
    /// What a refusal must name.
    field: String,
    manifest: Value,
}

/// A bound of text or lists that is worth trying: longer ones make requests of megabytes.
const LONGEST: u64 = 20_000;

/// Every fault of one spot: what it is, the field, the value instead.
fn faults_of(spot: &Spot, dice: &mut Dice) -> Vec<(&'static str, String, Value)> {
    let here = |what: &'static str, value: Value| (what, spot.field.clone(), value);
    let mut found: Vec<_> = other_kinds(spot.kind()).into_iter().map(|value| here("another type", value)).collect();
    match spot.kind() {
        "object" => found.extend(faults_of_object(spot, dice)),
        "array" => found.extend(faults_of_list(spot)),
        "string" => found.extend(faults_of_text(spot, dice).into_iter().map(|(what, value)| here(what, value))),
        "integer" => {
            let bound = |name: &str| spot.schema[name].as_f64().expect("every number is bounded") as i64;
            let beyond = dice.below(1_000) as i64 + 1;
            found.push(here("too small", json!(bound("minimum") - beyond)));
            found.push(here("too large", json!(bound("maximum") + beyond)));
            found.push(here("larger than 64 bits", json!(u64::MAX - beyond as u64)));
        }
        _ => {}
    }
    found
}

/// Values of every type but this.
fn other_kinds(kind: &str) -> Vec<Value> {
    let all = [
        (json!(true), ["boolean", ""]),
        (json!(7), ["integer", "literal"]),
        (json!(1.5), ["", ""]),
        (json!("text"), ["string", "literal"]),
        (json!([]), ["array", ""]),
        (json!({}), ["object", ""]),
    ];
    all.into_iter().filter(|(_, kinds)| !kinds.contains(&kind)).map(|(value, _)| value).collect()
}

fn faults_of_object(spot: &Spot, dice: &mut Dice) -> Vec<(&'static str, String, Value)> {
    let mut found = Vec::new();
    let mut with = |what: &'static str, name: &str, change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut value = spot.value.clone();
        change(value.as_object_mut().expect("an object"));
        found.push((what, format!("{}.{name}", spot.field), value));
    };
    if spot.schema.get("x-kubernetes-preserve-unknown-fields").is_none() {
        let known: Vec<&String> = spot
            .schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        // A word of its own, and one letter beside a known one.
        let mut strange = vec![format!("surplus{}", dice.below(100))];
        strange.extend(known.get(dice.below(known.len().max(1))).map(|name| format!("{name}s")));
        for name in strange.iter().filter(|name| !known.contains(name)) {
            with("unknown field", name, &|fields| drop(fields.insert(name.clone(), json!(1))));
        }
    }
    for name in spot.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        with("missing field", name, &|fields| drop(fields.remove(name)));
    }
    found
}

fn faults_of_list(spot: &Spot) -> Vec<(&'static str, String, Value)> {
    let items = spot.value.as_array().expect("a list");
    let mut found = Vec::new();
    if spot.schema.get("minItems").and_then(Value::as_u64).is_some_and(|fewest| fewest > 0) {
        found.push(("too few", spot.field.clone(), json!([])));
    }
    let most = spot.schema["maxItems"].as_u64().expect("every list is bounded");
    if let Some(first) = items.first() {
        let many = std::iter::repeat_n(first.clone(), most as usize + 1).collect();
        found.push(("too many", spot.field.clone(), Value::Array(many)));
        if spot.schema.get("x-kubernetes-list-type").is_some() {
            let twice = items.iter().chain([first]).cloned().collect();
            found.push(("twice", format!("{}[{}]", spot.field, items.len()), Value::Array(twice)));
        }
    }
    found
}

fn faults_of_text(spot: &Spot, dice: &mut Dice) -> Vec<(&'static str, Value)> {
    let mut found = Vec::new();
    if spot.schema.get("enum").is_some() {
        found.push(("unknown word", json!(format!("Surplus{}", dice.below(100)))));
    }
    if spot.schema.get("minLength").and_then(Value::as_u64).is_some_and(|shortest| shortest > 0) {
        found.push(("empty", json!("")));
    }
    if let Some(longest) = spot.schema.get("maxLength").and_then(Value::as_u64).filter(|longest| *longest <= LONGEST) {
        // Characters count, not bytes.
        let letter = dice.one(&["x", "é", "9", "漢"]);
        found.push(("too long", json!(letter.repeat(longest as usize + 1))));
    }
    if spot.schema.get("pattern").is_some() {
        let strange = dice.one(&["é", "\u{1}", "\n", "\u{feff}", "漢"]);
        found.push(("pattern", json!(format!("a{strange}b"))));
        found.push(("line break behind it", json!(format!("{}\n", spot.value.as_str().expect("text")))));
    }
    found
}

fn generated(dice: &mut Dice) -> Vec<Wrong> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (base, manifest) in bases() {
        for spot in spots(&manifest) {
            // Once is enough of what stands in several bases alike.
            if !seen.insert(format!("{}{}", spot.general(), spot.value)) {
                continue;
            }
            for (what, field, value) in faults_of(&spot, dice) {
                let shown: String = value.to_string().chars().take(80).collect();
                let what = format!("{base}: {field}: {what}: {shown}");
                found.push(Wrong { what, field, manifest: spot.replaced(&manifest, value) });
            }
        }
    }
    found
}

type Change = fn(&mut Value);

/// What is wrong above the spec.
fn of_the_object() -> Vec<Wrong> {
    let changes: [(&str, &str, Change); 4] = [
        ("unknown field", "surplus", |object| object["surplus"] = json!(1)),
        ("unknown field", "metadata.surplus", |object| object["metadata"]["surplus"] = json!(1)),
        ("missing field", "spec", |object| drop(object.as_object_mut().expect("an object").remove("spec"))),
        ("not a name", "metadata.name", |object| object["metadata"]["name"] = json!("Upper Case")),
    ];
    let wrong = |(what, field, change): (&str, &str, Change)| {
        let mut manifest = bases()[0].1.clone();
        change(&mut manifest);
        Wrong { what: format!("{field}: {what}"), field: field.to_owned(), manifest }
    };
    changes.map(wrong).into_iter().collect()
}

/// A sample for each rule over several fields.
fn by_rules() -> Vec<Wrong> {
    let wrong = |(pointer, value, said): (&str, Value, &str)| {
        let mut manifest = samples::accepted();
        samples::set(&mut manifest, pointer, value.clone());
        let field = said.split_once(": ").map_or("", |(field, _)| field);
        // The rule of the name speaks of the whole object.
        let field = if field.is_empty() { "metadata.name" } else { field }.to_owned();
        Wrong { what: format!("{pointer} = {value}: {said}"), field, manifest }
    };
    samples::refused().into_iter().chain(samples::refused_of_kafka()).map(wrong).collect()
}

/// Offences of one manifest against: refused, and by name, by both.
async fn offences(client: &kube::Client, wrong: &Wrong) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let answer = judged(client, &wrong.manifest).await?;
    if answer.is_success() {
        found.push(format!("the server accepts {}", wrong.what));
    } else if !server_names(&wrong.field, &answer) {
        found.push(format!("the server does not name the field of {}: {}", wrong.what, answer.message()));
    }
    match faults(&wrong.manifest) {
        None => found.push(format!("the reader accepts {}", wrong.what)),
        Some(said) if !names(&wrong.field, &said) => {
            found.push(format!("the reader does not name the field of {}: {said:?}", wrong.what));
        }
        Some(_) => {}
    }
    Ok(found)
}

#[tokio::test]
async fn every_wrong_manifest_is_refused_and_the_field_named() -> Result<()> {
    let (_site, client) = site().await?;
    let mut dice = Dice::of("wrong manifests", 1);
    let (from_schema, by_rules) = (generated(&mut dice), by_rules());
    assert!(from_schema.len() >= 500 && by_rules.len() >= 40, "{} and {}", from_schema.len(), by_rules.len());
    let count = from_schema.len() + by_rules.len() + of_the_object().len();
    let mut found = Vec::new();
    for wrong in from_schema.iter().chain(&by_rules).chain(&of_the_object()) {
        found.extend(offences(&client, wrong).await?);
    }
    assert!(found.is_empty(), "{} offences of {count} manifests:\n{}", found.len(), found.join("\n"));
    let _ =
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{count} wrong manifests refused by both\n"));
    Ok(())
}
