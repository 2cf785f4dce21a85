//! What may be a secret is taken out, and wherever it comes up again.
//!
//! Pipelines name secrets and hold none, but people write pod templates, environments and annotations. Nothing here can
//! know every secret: it takes out whole places where people put them, remembers what stood there, and looks for the shapes
//! of well-known credentials everywhere else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shapes::Shapes;

/// Stands where something was taken out.
pub(crate) const REDACTED: &str = "<redacted>";
/// Shorter values are too common to be looked for elsewhere.
const SHORTEST: usize = 6;
/// Values that are remembered.
pub(crate) const MOST_VALUES: usize = 1_000;
/// Our own annotations are times and numbers.
const OURS: &str = "onceward.dev/";
/// The manifest as somebody has applied it.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of maps that drivers and people fill.
const MAPS: [&str; 5] = ["volumeAttributes", "options", "data", "stringData", "binaryData"];
/// Of lists of strings that a container is started with.
const LISTS: [&str; 2] = ["args", "command"];
/// Of lists of things with name and value.
const NAMED: [&str; 3] = ["env", "httpHeaders", "sysctls"];
/// In names of fields that hold credentials.
const SUSPICIOUS: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "privatekey",
    "accesskey",
    "authorization",
    "cookie",
];
/// Fields of Kubernetes that are called like credentials, and name something.
const HARMLESS: [&str; 4] = ["secretname", "secretkeyref", "secretref", "tokenrequests"];

/// Takes secrets out, and learns them as it goes: objects first, texts later.
pub(crate) struct Redactor {
    learnt: BTreeSet<String>,
    /// More stood there than is remembered.
    is_full: bool,
    shapes: Shapes,
}

impl Redactor {
    pub(crate) fn new() -> Self {
        Self { learnt: BTreeSet::new(), is_full: false, shapes: Shapes::new() }
    }

    /// Whether something was taken out that is not looked for elsewhere.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Learns from an object, and takes out of it whatever stands where secrets stand. What is learnt later is taken out
    /// by [`Self::clean`].
    pub(crate) fn learn(&mut self, mut object: Value) -> Value {
        self.object(&mut object, None);
        object
    }

    /// The same without what was ever learnt, and without the shapes of credentials.
    pub(crate) fn clean(&self, mut value: Value) -> Value {
        self.strings(&mut value);
        value
    }

    /// A text without them.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = self.shapes.without_keys(text);
        // Longest first: one may be part of another.
        let mut learnt: Vec<&String> = self.learnt.iter().collect();
        learnt.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in learnt {
            text = replaced(&text, value);
        }
        self.shapes.without_others(&text)
    }

    fn object(&mut self, value: &mut Value, container: Option<&str>) {
        match value {
            Value::Object(fields) => {
                fields.remove("managedFields");
                let is_reference = fields.len() == 2 && fields.contains_key("secret") && fields.contains_key("key");
                let name = fields.get("name").and_then(Value::as_str).map(str::to_owned);
                for (field, value) in fields.iter_mut() {
                    self.field(field, value, is_reference, name.as_deref().or(container));
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.object(item, container);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn field(&mut self, field: &str, value: &mut Value, is_reference: bool, container: Option<&str>) {
        match value {
            Value::Object(map) if field == "annotations" => {
                let others = map.iter_mut().filter(|(name, _)| !name.starts_with(OURS));
                others.for_each(|(name, value)| self.annotation(name, value));
            }
            // Whatever a container is started with there, the worker's, too.
            Value::Object(_) if field == "podTemplate" => {
                self.everything_started(value);
                self.object(value, container);
            }
            Value::Object(map) if MAPS.contains(&field) => map.values_mut().for_each(|value| self.take(value)),
            Value::Array(items) if NAMED.contains(&field) => {
                items.iter_mut().filter_map(|item| item.get_mut("value")).for_each(|value| self.take(value));
                for item in items {
                    self.object(item, container);
                }
            }
            // The worker's own are the controller's, with a public key. Those of a pod template are looked for.
            Value::Array(_) if LISTS.contains(&field) && container == Some(api::names::CONTAINER) => {}
            Value::Array(items) if LISTS.contains(&field) => items.iter_mut().for_each(|value| self.take(value)),
            Value::String(_) if !is_reference && is_suspicious(field) => self.take(value),
            Value::Object(_) | Value::Array(_) => self.object(value, container),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A manifest is an object as any other: most of its words are no secrets. Of other annotations nobody knows what is in
    /// them, and words of prose are everywhere: the whole is looked for.
    fn annotation(&mut self, name: &str, value: &mut Value) {
        let text = value.as_str().unwrap_or_default().trim().to_owned();
        let applied = (name == APPLIED).then(|| serde_json::from_str(&text).ok().filter(Value::is_object)).flatten();
        if let Some(applied) = applied {
            *value = self.learn(applied);
        } else {
            self.remember(&text);
            *value = REDACTED.into();
        }
    }

    /// Takes everything out that stands here.
    fn take(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                // Lines, words and what an option is set to come up by themselves.
                let words = text.split_whitespace().chain([text.trim()]);
                let parts = words.flat_map(|word| [Some(word), word.split_once('=').map(|(_, value)| value)]);
                parts.flatten().for_each(|part| self.remember(part));
                REDACTED.clone_into(text);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.take(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.take(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn remember(&mut self, value: &str) {
        if !is_telling(value) || self.learnt.contains(value) {
            return;
        }
        if self.learnt.len() < MOST_VALUES {
            self.learnt.insert(value.to_owned());
        } else {
            self.is_full = true;
        }
    }

    fn strings(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.strings(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.strings(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Of an object, or a list of them, what is clean without anything being looked for: no status, which quotes whatever
    /// it likes, and nothing that a container is started with.
    pub(crate) fn bare(&mut self, mut value: Value) -> Value {
        let all = match &mut value {
            Value::Array(items) => items.iter_mut().collect(),
            one => vec![one],
        };
        all.into_iter().filter_map(Value::as_object_mut).for_each(|fields| drop(fields.remove("status")));
        self.everything_started(&mut value);
        value
    }

    fn everything_started(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields.iter_mut() {
                    if LISTS.contains(&field.as_str()) {
                        self.take(value);
                    } else {
                        self.everything_started(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.everything_started(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Whether a value is worth being looked for elsewhere: names of options and our own words are everywhere.
fn is_telling(part: &str) -> bool {
    let is_option = part.starts_with('-') && !part.contains('=');
    part.len() >= SHORTEST && !is_option && !matches!(part, "worker" | "onceward" | "pipeline" | REDACTED)
}

/// Also as JSON writes it, and in a word that is part of a longer one.
fn replaced(text: &str, value: &str) -> String {
    let escaped = Value::from(value).to_string();
    let escaped = escaped.trim_matches('"');
    let text = text.replace(value, REDACTED);
    if escaped == value { text } else { text.replace(escaped, REDACTED) }
}

fn is_suspicious(field: &str) -> bool {
    let plain: String = field.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    !HARMLESS.contains(&plain.as_str()) && SUSPICIOUS.iter().any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_set_by_people_is_taken_out_wherever_it_comes_up() {
        let mut redactor = Redactor::new();
        let pod = json!({ "metadata": {
                "annotations": { "team/note": "canary-note", "onceward.dev/restart-requested-at": "2026-01-01T10:00:00Z" },
                "managedFields": [{ "manager": "kubectl" }],
            }, "spec": {
                "containers": [
                    { "name": "worker", "args": ["worker", "--listen"], "env": [
                        { "name": "A", "value": "canary-environment" },
                        { "name": "B", "valueFrom": { "secretKeyRef": { "name": "login", "key": "password" } } },
                    ] },
                    { "name": "proxy", "args": ["--login=canary-argument"], "image": "proxy:1" },
                ],
                "volumes": [{ "csi": { "volumeAttributes": { "share": "canary-volume" } } },
                    { "secret": { "secretName": "login" } }],
            } });
        let seen = redactor.learn(pod).to_string();
        for gone in ["canary", "managedFields"] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
        for kept in ["2026-01-01T10:00:00Z", "--listen", "proxy:1", r#""secretName":"login""#, r#""key":"password""#] {
            assert!(seen.contains(kept), "{kept} is missing in {seen}");
        }
        let log = "it said canary-environment to \"--login=canary-argument\" of canary-note, canary-volume";
        assert!(!redactor.text(log).contains("canary"), "{}", redactor.text(log));
        assert_eq!(redactor.clean(json!(["xcanary-notex"])), json!(["x<redacted>x"]));
    }

    #[test]
    fn a_pod_template_may_start_the_worker_with_secrets_too() {
        let mut redactor = Redactor::new();
        let started = json!({ "spec": { "containers": [{ "name": "worker", "args": ["worker", "--key", "canary-of-the-worker"] }] } });
        let pod = redactor.learn(started.clone());
        assert!(!redactor.learn(json!({ "spec": { "podTemplate": started } })).to_string().contains("canary"));
        assert!(!redactor.clean(pod).to_string().contains("canary"));
    }

    #[test]
    fn a_manifest_that_was_applied_is_cleaned_as_any_other() {
        let mut redactor = Redactor::new();
        let container = json!({ "name": "worker", "args": ["canary-argument"], "env": [{ "name": "A", "value": "canary-environment" }] });
        let applied = json!({ "spec": { "transforms": [{ "sql": "SELECT customer FROM orders" }],
            "podTemplate": { "spec": { "containers": [container] } } } });
        let pipeline = json!({ "metadata": { "annotations": { APPLIED: applied.to_string(), "team/note": "ask the canary keeper" } } });
        let pipeline = redactor.learn(pipeline);
        let seen = redactor.clean(pipeline).to_string();
        assert!(seen.contains("SELECT customer FROM orders") && !seen.contains("canary"), "{seen}");
        assert_eq!(redactor.text("orders of customer: canary-environment"), "orders of customer: <redacted>");
        assert_eq!(redactor.text("a keeper said: ask the canary keeper"), "a keeper said: <redacted>");
        let broken = redactor.learn(json!({ "annotations": { APPLIED: "{canary" } }));
        assert_eq!(broken, json!({ "annotations": { APPLIED: REDACTED } }));
    }

    #[test]
    fn what_is_not_remembered_any_more_is_told() {
        let mut redactor = Redactor::new();
        let value = |index: usize| json!({ "env": [{ "name": "A", "value": format!("value-{index}") }] });
        (0..MOST_VALUES).for_each(|index| drop(redactor.learn(value(index))));
        redactor.learn(value(0));
        assert!(!redactor.is_full(), "everything is looked for, and nothing twice");
        redactor.learn(value(MOST_VALUES));
        assert!(redactor.is_full());
    }

    #[test]
    fn shapes_of_credentials_are_known_in_texts() {
        let redactor = Redactor::new();
        for text in [
            "https://user:CANARY@host/x",
            "Authorization: Bearer CANARYCANARY",
            "sasl.password=CANARY, next",
            r#"{"secretAccessKey": "CANARY"}"#,
            r#"{\"apiKey\":\"CANARY\"}"#,
            "GET /a?X-Amz-Signature=CANARY&b=1",
            "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----",
            "PASSWORD: CANARY",
        ] {
            let seen = redactor.text(text);
            assert!(!seen.contains("CANARY") && seen.contains(REDACTED), "{text}: {seen}");
        }
        for harmless in ["s3://bucket/path:1", "epoch 3 of attempt 2", "secrets are mounted", "tokens of 3 readers"] {
            assert_eq!(redactor.text(harmless), harmless);
        }
    }

    #[test]
    fn a_private_key_is_found_also_where_words_of_its_first_line_were_learnt() {
        let mut redactor = Redactor::new();
        redactor.learn(
            json!({ "env": [{ "name": "A", "value": "-----BEGIN PRIVATE KEY-----\nold\n-----END PRIVATE KEY-----" }] }),
        );
        let seen = redactor.text("-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----");
        assert_eq!(seen, REDACTED);
    }

    #[test]
    fn references_to_secrets_stay_readable() {
        let mut redactor = Redactor::new();
        let spec = json!({ "sasl": { "password": { "secret": "login", "key": "password" }, "mechanism": "PLAIN" } });
        assert_eq!(redactor.learn(spec.clone()), spec);
        let other = json!({ "apiToken": "canary-token", "secret": "canary-alone" });
        assert!(!redactor.learn(other).to_string().contains("canary"));
    }

    #[test]
    fn words_that_are_everywhere_are_not_looked_for() {
        let mut redactor = Redactor::new();
        redactor.learn(json!({ "args": ["worker", "--listen", "--key=canary-of-an-option"] }));
        assert_eq!(redactor.text("a worker with --listen"), "a worker with --listen");
        assert_eq!(redactor.text("--key canary-of-an-option"), "--key <redacted>");
    }
}
