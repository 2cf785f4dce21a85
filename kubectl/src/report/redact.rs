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
const MOST_VALUES: usize = 1_000;
/// Our own annotations are times and numbers.
const OURS: &str = "onceward.dev/";
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
    shapes: Shapes,
}

impl Redactor {
    pub(crate) fn new() -> Self {
        Self { learnt: BTreeSet::new(), shapes: Shapes::new() }
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
                others.for_each(|(_, value)| self.take(value));
            }
            Value::Object(map) if MAPS.contains(&field) => map.values_mut().for_each(|value| self.take(value)),
            Value::Array(items) if NAMED.contains(&field) => {
                items.iter_mut().filter_map(|item| item.get_mut("value")).for_each(|value| self.take(value));
                for item in items {
                    self.object(item, container);
                }
            }
            // The worker's own are the controller's, with a public key. Those of a pod template are learnt first.
            Value::Array(_) if LISTS.contains(&field) && container == Some(api::names::CONTAINER) => {}
            Value::Array(items) if LISTS.contains(&field) => items.iter_mut().for_each(|value| self.take(value)),
            Value::String(_) if !is_reference && is_suspicious(field) => self.take(value),
            Value::Object(_) | Value::Array(_) => self.object(value, container),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Takes everything out that stands here.
    fn take(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                // Lines, words and what an option is set to come up by themselves.
                let words = text.split_whitespace().chain([text.trim()]);
                let parts = words.flat_map(|word| [Some(word), word.split_once('=').map(|(_, value)| value)]);
                for part in parts.flatten().filter(|part| is_telling(part)) {
                    if self.learnt.len() < MOST_VALUES {
                        self.learnt.insert(part.to_owned());
                    }
                }
                REDACTED.clone_into(text);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.take(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.take(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
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

    /// Learns what a pod template holds, every text of what people start and set there.
    pub(crate) fn template(&mut self, template: &Value) -> Value {
        let mut hidden = template.clone();
        self.everything_started(&mut hidden);
        self.learn(hidden)
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
    part.len() >= SHORTEST && !is_option && !matches!(part, "worker" | "onceward" | "pipeline")
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
        let template = json!({ "spec": { "containers": [{ "name": "worker", "args": ["worker", "--key", "canary-of-the-worker"] }] } });
        assert!(!redactor.template(&template).to_string().contains("canary"));
        let pod = json!({ "spec": { "containers": [{ "name": "worker", "args": ["canary-of-the-worker"] }] } });
        let pod = redactor.learn(pod);
        assert!(!redactor.clean(pod).to_string().contains("canary"));
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
