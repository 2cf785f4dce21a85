//! A request as HTTP has it, read.

use std::collections::BTreeMap;

use http::{Method, Uri};
use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    MergePatch,
    Apply,
    Delete,
}

impl Verb {
    /// Whether it may change something.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub verb: Verb,
    pub kind: &'static Kind,
    /// Empty: all, or none.
    pub namespace: String,
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
    pub query: BTreeMap<String, String>,
    pub body: Value,
}

impl Request {
    pub(super) fn read(method: &Method, uri: &Uri, kind: &str, body: &[u8]) -> Result<Self, Refusal> {
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_path()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Err(Refusal::no_such_path()),
        };
        let served = Kind::find(group, version, plural).ok_or_else(Refusal::no_such_path)?;
        if !(subresource.is_empty() || subresource == "status" && served.has_status) {
            return Err(Refusal::no_such_path());
        }
        let query = query(uri.query().unwrap_or_default());
        let is_watch = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let verb = match (method.as_str(), name) {
            ("GET", "") if is_watch => Verb::Watch,
            ("GET", "") => Verb::List,
            ("GET", _) => Verb::Get,
            ("POST", "") => Verb::Create,
            ("PUT", name) if !name.is_empty() => Verb::Update,
            ("DELETE", name) if !name.is_empty() => Verb::Delete,
            ("PATCH", name) if !name.is_empty() => match kind.split(';').next().unwrap_or_default() {
                "application/merge-patch+json" => Verb::MergePatch,
                // As the API server has it for everything but custom resources; equal to a merge where no list is in it.
                "application/strategic-merge-patch+json" if !served.is_custom() => Verb::MergePatch,
                "application/apply-patch+yaml" => Verb::Apply,
                _ => return Err(Refusal::unsupported(kind)),
            },
            _ => return Err(Refusal::no_such_verb()),
        };
        let body = match body {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).map_err(|error| Refusal::bad_request(&error.to_string()))?,
        };
        let text = str::to_owned;
        let (namespace, name, subresource) = (text(namespace), text(name), text(subresource));
        Ok(Self { verb, kind: served, namespace, name, subresource, query, body })
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// Without `%20` and `+`.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    loop {
        rest = match rest {
            [] => return String::from_utf8_lossy(&bytes).into_owned(),
            [b'%', high, low, rest @ ..] => {
                let digits = [*high, *low];
                let code = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(code.unwrap_or(b'?'));
                rest
            }
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}
