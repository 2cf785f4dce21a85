//! `docs/manifest.md` is what the schema says. `UPDATE=1 cargo test -p onceward-api` writes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

const HEAD: &str = "\
<!-- Generated from the Rust types in api/src/pipeline; never edited. -->
# Manifest reference

`onceward.dev/v1alpha1`, kind `Pipeline`. Fields in bold must be set. A duration is one to four of `<number>h|m|s|ms`, as `10s` or `1m30s`; a fraction
stands in quotes, as `\"1.5\"`. Relative paths resolve against the manifest's own folder. Column types: [types.md](types.md). Unknown fields are refused.

`onceward run FILE --set key=value` changes a field before the manifest is judged: `--set parallelism=4`, `--set sources.orders.files.path=x.jsonl` (items
of named lists by name or index), `--set metadata.name=other`, `--set 'restartPolicy={never: {}}'`.

A secret is named, never written out: `{secret: kafka-user, key: password}` is the file `kafka-user/password` in the folder that `onceward run --secrets-dir`
names, or else in `secrets/` beside the manifest; on a cluster it is a key of a Secret. A file may hold up to 1 MiB; a line break at the end of a user name or password is no part of it.
";

const FRACTION: &str = "^[0-9]{1,3}([.][0-9]{1,3})?$";

/// The words that a position may be.
fn words(pattern: &str) -> String {
    let words = pattern.trim_start_matches("^(").split('|');
    words.take_while(|word| word.chars().all(char::is_alphabetic)).collect::<Vec<_>>().join(", ")
}

fn kind(schema: &Value) -> String {
    let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
    let values = schema.get("enum").and_then(Value::as_array);
    if let Some(values) = values {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ");
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "number or text".to_owned();
    }
    match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
        "array" => format!("list of {}", schema.get("items").map(kind).unwrap_or_default()),
        "integer" => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_f64).unwrap_or_default();
            format!("{} to {}", bound("minimum"), bound("maximum"))
        }
        "string" if pattern.contains("h|m|s|ms") => "duration".to_owned(),
        "string" if pattern.contains("[0-9]{4}-") => format!("{} or a moment", words(pattern)),
        "string" if pattern == FRACTION => "fraction".to_owned(),
        "string" if pattern.contains("BIGINT") => "type".to_owned(),
        "string" if pattern.starts_with("^[a-z_]") => "name (a-z, 0-9, _)".to_owned(),
        "string" => format!("text, at most {}", schema.get("maxLength").and_then(Value::as_u64).unwrap_or_default()),
        other => other.to_owned(),
    }
}

fn default(schema: &Value) -> String {
    match schema.get("default") {
        None => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value @ (Value::Object(_) | Value::Array(_))) => match value.as_object().and_then(|map| map.keys().next())
        {
            Some(key) => format!("`{key}: {{}}`"),
            None => "empty".to_owned(),
        },
        Some(value) => format!("`{value}`"),
    }
}

/// One object's table, then those of the objects in it.
fn describe(schema: &Value, path: &str, page: &mut String) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let _written = write!(page, "\n## {path}\n{description}\n\n| field | value | default | |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        let shown = if required.contains(&name.as_str()) { format!("**{name}**") } else { name.clone() };
        let description =
            property.get("description").and_then(Value::as_str).unwrap_or_default().replace(['\n', '|'], " ");
        let _written = writeln!(page, "| {shown} | {} | {} | {description} |", kind(property), default(property));
    }
    for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        let _written = write!(page, "\n- {}", rule["message"].as_str().unwrap_or_default());
    }
    if schema.get("x-kubernetes-validations").is_some() {
        page.push('\n');
    }
    for (name, property) in properties {
        match property.get("items") {
            Some(items) => describe(items, &format!("{path}.{name}[]"), page),
            None => describe(property, &format!("{path}.{name}"), page),
        }
    }
}

#[test]
fn reference_in_the_repository_is_current() {
    let mut page = HEAD.to_owned();
    describe(&api::pipeline::schema()["properties"]["spec"], "spec", &mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manifest.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("writable");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/manifest.md is stale; run UPDATE=1 cargo test -p onceward-api");
}
