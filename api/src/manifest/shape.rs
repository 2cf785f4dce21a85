//! The tree against the schema: types, bounds, unknown and missing fields, defaults. Yields JSON as an API server would
//! store it. Every fault is collected; a faulty value becomes null.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::finding::{Place, Severity, nearest};
use super::findings::Findings;
use super::scalars::{self, Plain};
use super::tree::{Content, Entry, Node, Scalar, Style};
use super::wording;
use crate::pipeline;

/// The whole object's schema: the definition's, with what every Kubernetes object has.
pub(super) fn root_schema() -> &'static Value {
    static ROOT: OnceLock<Value> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut root = pipeline::schema().clone();
        let any = json!({ "x-kubernetes-preserve-unknown-fields": true });
        let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let mut metadata = json!({
            "type": "object",
            "description": "Name of the pipeline.",
            "required": ["name"],
            "properties": {
                "name": {
                    "type": "string", "minLength": 1, "maxLength": 52, "pattern": wording::RESOURCE_NAME,
                    "description": "Name of the pipeline."
                },
                "namespace": { "type": "string", "minLength": 1, "maxLength": 63, "pattern": wording::RESOURCE_NAME },
                "labels": texts,
                "annotations": texts,
            }
        });
        for field in SERVER_FIELDS {
            metadata["properties"][field] = any.clone();
        }
        root["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
        let version = format!("{}/{}", pipeline::GROUP, pipeline::VERSION);
        root["properties"]["apiVersion"] =
            json!({ "type": "string", "enum": [version], "description": "The API's version." });
        root["properties"]["kind"] = json!({ "type": "string", "enum": ["Pipeline"], "description": "Pipeline." });
        root["properties"]["metadata"] = metadata;
        root["properties"]["status"] = any;
        root
    })
}

/// What an API server adds to metadata; a manifest taken from a cluster has them.
const SERVER_FIELDS: [&str; 9] = [
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Reads the tree by the schema.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Value {
    Reader { findings }.value(root_schema(), node, "")
}

struct Reader<'a> {
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn value(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        self.findings.places.record(path, node);
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return self.literal(schema, node, path);
        }
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            // Another one judges what is in it; here nothing reads it.
            return match node.content {
                Content::Mapping(_) => Value::Null,
                _ if schema.get("type").is_none() => Value::Null,
                _ if is_null(node) => self.fault(path, "has no value", Some("write its fields, or remove it")),
                _ => self.fault(path, "must be a mapping of fields", None),
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(schema, node, path),
            Some("array") => self.array(schema, node, path),
            Some("string") => self.text(schema, node, path),
            Some("integer") => self.integer(schema, node, path),
            Some("boolean") => self.boolean(node, path),
            Some(_) | None => Value::Null,
        }
    }

    fn fault(&mut self, path: &str, message: &str, fix: Option<&str>) -> Value {
        self.findings.fault(path, message, fix);
        Value::Null
    }

    fn object(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        let Content::Mapping(entries) = &node.content else {
            if is_null(node) {
                return self.fault(path, "has no value", Some("write `{}` for the defaults, or remove the field"));
            }
            return self.fault(path, "must be a mapping of fields", example(schema).as_deref());
        };
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let mut object = Map::new();
        for entry in entries {
            let child = join(path, &entry.key);
            let known = properties.get(&entry.key).or_else(|| schema.get("additionalProperties"));
            match known {
                Some(known) => {
                    object.insert(entry.key.clone(), self.value(known, &entry.value, &child));
                }
                None => self.unknown(properties, entry, &child),
            }
        }
        self.complete(schema, properties, &mut object, path);
        Value::Object(object)
    }

    /// Defaults, then what is still missing.
    fn complete(
        &mut self,
        schema: &Value,
        properties: &Map<String, Value>,
        object: &mut Map<String, Value>,
        path: &str,
    ) {
        for (name, property) in properties {
            if let Some(default) = property.get("default")
                && !object.contains_key(name)
            {
                object.insert(name.clone(), default.clone());
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                let description = properties.get(name).and_then(|property| property.get("description"));
                let description = description.and_then(Value::as_str).unwrap_or_default();
                self.fault(path, &format!("`{name}` is missing"), Some(format!("add it: {description}").trim_end()));
            }
        }
    }

    fn unknown(&mut self, properties: &Map<String, Value>, entry: &Entry, path: &str) {
        let shown: String = entry.key.chars().take(60).collect();
        let inner = |property: &Value| property.pointer(&format!("/properties/{shown}")).is_some();
        let fix = if let Some(near) = nearest(&entry.key, properties.keys().map(String::as_str)) {
            format!("did you mean `{near}`?")
        } else if let Some((owner, _)) = properties.iter().find(|(_, property)| inner(property)) {
            format!("it belongs in `{owner}`")
        } else if properties.is_empty() {
            "nothing can be set here; write `{}`".to_owned()
        } else {
            format!("known here: {}", properties.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        let message = format!("unknown field `{shown}`");
        self.findings.at(Severity::Fault, entry.place, path, &message, Some(&fix));
    }

    fn array(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        let Content::Sequence(items) = &node.content else {
            if is_null(node) {
                return self.fault(path, "has no value", Some("write `[]`, or remove the field"));
            }
            return self.fault(path, "must be a list", Some("begin each item with `- `, or write `[...]`"));
        };
        let (fewest, most) = (bound(schema, "minItems"), bound(schema, "maxItems"));
        if fewest.is_some_and(|fewest| (items.len() as u64) < fewest) {
            self.fault(path, "is an empty list", Some("add at least one item"));
        }
        if let Some(most) = most.filter(|most| items.len() as u64 > *most) {
            return self.fault(path, &format!("has {} items, at most {most} are allowed", items.len()), None);
        }
        let empty = Value::Null;
        let item_schema = schema.get("items").unwrap_or(&empty);
        let of_item = |i: usize| format!("{path}[{i}]");
        let values: Vec<Value> =
            items.iter().enumerate().map(|(i, item)| self.value(item_schema, item, &of_item(i))).collect();
        self.refuse_repeated(schema, &values, path);
        Value::Array(values)
    }

    /// `x-kubernetes-list-type`: maps and sets hold each key once; a map's key may be several fields.
    fn refuse_repeated(&mut self, schema: &Value, values: &[Value], path: &str) {
        let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                keys.into_iter().flatten().filter_map(Value::as_str).collect()
            }
            Some("set") => Vec::new(),
            Some(_) | None => return,
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let mut seen: HashMap<String, Place> = HashMap::new();
        for (i, value) in values.iter().enumerate() {
            let name = match keys.as_slice() {
                [] => text(value),
                keys => keys
                    .iter()
                    .map(|key| value.get(*key).and_then(text))
                    .collect::<Option<Vec<_>>>()
                    .map(|parts| parts.join(" ")),
            };
            let Some(name) = name else { continue };
            let at = keys.first().map_or_else(|| format!("{path}[{i}]"), |key| format!("{path}[{i}].{key}"));
            if let Some(first) = seen.insert(name.clone(), self.findings.places.of(&at)) {
                let message = format!("`{name}` stands twice in this list, first in line {}", first.line);
                let fix = if keys == ["name"] { "rename or remove one of them" } else { "remove one of them" };
                self.findings.fault(&at, &message, Some(fix));
            }
        }
    }

    /// The scalar of a field that is one, or a fault.
    fn scalar<'n>(&mut self, node: &'n Node, path: &str, wanted: &str) -> Option<&'n Scalar> {
        match &node.content {
            Content::Scalar(scalar) if is_null(node) => {
                debug_assert!(scalar.style == Style::Plain);
                self.fault(path, &format!("has no value, {wanted} is wanted"), Some("write one, or remove the field"));
                None
            }
            Content::Scalar(scalar) => Some(scalar),
            Content::Sequence(_) | Content::Mapping(_) => {
                self.fault(path, &format!("must be {wanted}, not a list or mapping"), None);
                None
            }
        }
    }

    fn text(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
        if let Content::Mapping(entries) = &node.content
            && let Some(first) = entries.first()
            && let Some(fix) = wording::instead_of_mapping(pattern, &first.key, first.value.text())
        {
            return self.fault(path, "must be text, not a mapping", Some(&fix));
        }
        let Some(scalar) = self.scalar(node, path, "text") else { return Value::Null };
        let text = scalar.text.as_str();
        if scalar.style == Style::Plain {
            let kind = match scalars::resolve(text) {
                Plain::Text => None,
                Plain::Null => Some("null"),
                Plain::Boolean(_) => Some("true or false"),
                Plain::Integer(_) | Plain::Number => Some("a number"),
            };
            if let Some(kind) = kind {
                let message = format!("`{text}` is {kind} here, and text is wanted");
                return self.fault(path, &message, Some(&format!("write \"{text}\", in quotes")));
            }
            self.warn_of_yaml_1_1(text, path);
        }
        if self.fits(schema, text, path) { Value::String(text.to_owned()) } else { Value::Null }
    }

    fn fits(&mut self, schema: &Value, text: &str, path: &str) -> bool {
        let length = text.chars().count() as u64;
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let known: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            if !known.contains(&text) {
                let shown: String = text.chars().take(60).collect();
                let fix = match nearest(text, known.iter().copied())
                    .or(known.first().copied().filter(|_| known.len() == 1))
                {
                    Some(near) => format!("write {near}"),
                    None => format!("write one of {}", known.join(", ")),
                };
                self.fault(path, &format!("`{shown}` is not known here"), Some(&fix));
            }
            return known.contains(&text);
        }
        if bound(schema, "minLength").is_some_and(|shortest| length < shortest) {
            self.fault(path, "must not be empty", None);
            return false;
        }
        if let Some(longest) = bound(schema, "maxLength").filter(|longest| length > *longest) {
            self.fault(path, &format!("has {length} characters, at most {longest} are allowed"), None);
            return false;
        }
        let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
        if !matches(pattern, text) {
            let (message, fix) = wording::mismatch(pattern, text);
            self.fault(path, &message, fix.as_deref());
            return false;
        }
        if let Some(message) = wording::impossible(pattern, text) {
            self.fault(path, &message, None);
            return false;
        }
        true
    }

    fn integer(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        let Some(scalar) = self.scalar(node, path, "a whole number") else { return Value::Null };
        let shown: String = scalar.text.chars().take(60).collect();
        let number = match (scalar.style, scalars::resolve(&scalar.text)) {
            (Style::Plain | Style::Given, Plain::Integer(number)) => number,
            (Style::Quoted | Style::Literal, Plain::Integer(_)) => {
                return self.fault(path, "is text, a whole number is wanted", Some("remove the quotes"));
            }
            (_, Plain::Number) => {
                return self.fault(path, &format!("`{shown}` is not a whole number of 64 bits"), None);
            }
            (_, Plain::Text | Plain::Null | Plain::Boolean(_)) => {
                let plain = shown.replace(['_', ',', '\''], "");
                let fix = plain.parse::<i64>().ok().map(|number| format!("write {number}"));
                return self.fault(path, &format!("`{shown}` is not a whole number"), fix.as_deref());
            }
        };
        if scalar.style == Style::Plain {
            self.warn_of_yaml_1_1(&scalar.text, path);
        }
        let (low, high) = (limit(schema, "minimum"), limit(schema, "maximum"));
        if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
            let (low, high) = (low.unwrap_or(i64::MIN), high.unwrap_or(i64::MAX));
            return self.fault(path, &format!("{number} is out of range"), Some(&format!("write {low} to {high}")));
        }
        number.into()
    }

    fn boolean(&mut self, node: &Node, path: &str) -> Value {
        let Some(scalar) = self.scalar(node, path, "true or false") else { return Value::Null };
        if let (Style::Plain | Style::Given, Plain::Boolean(value)) = (scalar.style, scalars::resolve(&scalar.text)) {
            return Value::Bool(value);
        }
        let shown: String = scalar.text.chars().take(60).collect();
        let meant = scalars::read_by_yaml_1_1(&scalar.text).filter(|other| other == "true" || other == "false");
        let fix = meant.unwrap_or_else(|| "true or false, without quotes".to_owned());
        self.fault(path, &format!("`{shown}` is neither true nor false"), Some(&format!("write {fix}")))
    }

    /// A whole number or text.
    fn literal(&mut self, schema: &Value, node: &Node, path: &str) -> Value {
        let Some(scalar) = self.scalar(node, path, "a whole number or text") else { return Value::Null };
        match (scalar.style, scalars::resolve(&scalar.text)) {
            (Style::Plain | Style::Given, Plain::Integer(number)) => {
                self.warn_of_yaml_1_1(&scalar.text, path);
                number.into()
            }
            (Style::Given | Style::Quoted | Style::Literal, _) | (_, Plain::Text) => {
                if scalar.style == Style::Plain {
                    self.warn_of_yaml_1_1(&scalar.text, path);
                }
                let text = scalar.text.as_str();
                if self.fits(schema, text, path) { Value::String(text.to_owned()) } else { Value::Null }
            }
            (_, Plain::Null | Plain::Boolean(_) | Plain::Number) => {
                let message = format!("`{}` is neither a whole number nor text", scalar.text);
                self.fault(path, &message, Some(&format!("write \"{}\", in quotes", scalar.text)))
            }
        }
    }

    fn warn_of_yaml_1_1(&mut self, text: &str, path: &str) {
        let Some(other) = scalars::read_by_yaml_1_1(text) else { return };
        let message = format!("`{text}` is {other} to readers of YAML 1.1, kubectl among them");
        let fix = match scalars::resolve(text) {
            Plain::Integer(number) => format!("write {number}"),
            Plain::Null | Plain::Boolean(_) | Plain::Number | Plain::Text => format!("write \"{text}\", in quotes"),
        };
        self.findings.warn(path, &message, Some(&fix));
    }
}

fn is_null(node: &Node) -> bool {
    match &node.content {
        Content::Scalar(scalar) => scalar.style == Style::Plain && scalars::resolve(&scalar.text) == Plain::Null,
        Content::Sequence(_) | Content::Mapping(_) => false,
    }
}

fn example(schema: &Value) -> Option<String> {
    let properties = schema.get("properties")?.as_object()?;
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    Some(format!("its fields: {}", names.join(", ")))
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(60).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name)?.as_u64()
}

/// JSON Schema's bounds are floating point; ours are whole and below 2^53.
fn limit(schema: &Value, name: &str) -> Option<i64> {
    schema.get(name)?.as_f64().map(|limit| limit as i64)
}

/// Patterns are ours and few: compiled once each.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: OnceLock<Mutex<HashMap<String, Regex>>> = OnceLock::new();
    if pattern.is_empty() {
        return true;
    }
    let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(regex) = compiled.get(pattern) {
        return regex.is_match(text);
    }
    Regex::new(pattern).is_ok_and(|regex| {
        let fits = regex.is_match(text);
        compiled.insert(pattern.to_owned(), regex);
        fits
    })
}
