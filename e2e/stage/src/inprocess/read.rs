//! Reading: one object, lists in pages, and selectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::Key;
use super::refusal::Refusal;
use super::request::Request;
use super::store::Store;
use super::write::key_of;

/// Pairs that labels and fields must have: `a=b,c=d`.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<(String, String)>,
    /// By JSON pointer.
    fields: Vec<(String, String)>,
}

impl Selector {
    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let mut fields = vec![];
        for (name, value) in pairs(request.option("fieldSelector"))? {
            // As of a kind that adds none of its own: custom resources, and what is not selected by more here.
            if !matches!(name.as_str(), "metadata.name" | "metadata.namespace") {
                return Err(Refusal::bad_request(&format!("field label not supported: {name}")));
            }
            fields.push((format!("/{}", name.replace('.', "/")), value));
        }
        Ok(Self { labels: pairs(request.option("labelSelector"))?, fields })
    }

    pub(super) fn takes(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let field = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        self.labels.iter().all(|(name, value)| label(name) == Some(value))
            && self.fields.iter().all(|(pointer, value)| field(pointer) == value)
    }
}

/// `a=b`, `a==b`, joined by commas.
fn pairs(text: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').filter(|(name, _)| !name.ends_with('!'))?;
        Some((name.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
    };
    let read: Option<_> = text.unwrap_or_default().split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
    read.ok_or_else(|| Refusal::bad_request("only equality is served here"))
}

pub(super) fn get(store: &Store, request: &Request) -> Result<Value, Refusal> {
    let key = key_of(request);
    store.get(&key).map(|object| object.as_ref().clone()).ok_or_else(|| Refusal::not_found(&key))
}

/// A list, or one page of it: `continue` is the revision of the first page and the last name.
pub(super) fn list(store: &Store, request: &Request, at: Option<u64>) -> Result<Value, Refusal> {
    let selector = Selector::of(request)?;
    let (revision, last) = match request.option("continue") {
        Some(token) => continued(request, token)?,
        None => (at.unwrap_or_else(|| store.revision()), None),
    };
    if revision < store.compacted() {
        return Err(Refusal::expired(revision, store.compacted()));
    }
    let found = store.list_at(request.kind, &request.namespace, revision);
    let left =
        found.into_iter().filter(|(key, object)| last.as_ref().is_none_or(|last| key > last) && selector.takes(object));
    let left: BTreeMap<Key, Arc<Value>> = left.collect();
    let limit = request.option("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let limit: usize = limit.unwrap_or(usize::MAX);
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if left.len() > limit
        && let Some((last, _)) = left.iter().nth(limit - 1)
    {
        metadata["continue"] = format!("{revision}/{}/{}", last.namespace, last.name).into();
        metadata["remainingItemCount"] = (left.len() - limit).into();
    }
    let items: Vec<&Value> = left.values().take(limit).map(AsRef::as_ref).collect();
    let kind = format!("{}List", request.kind.kind);
    Ok(json!({ "kind": kind, "apiVersion": request.kind.api_version(), "metadata": metadata, "items": items }))
}

fn continued(request: &Request, token: &str) -> Result<(u64, Option<Key>), Refusal> {
    let parts: Vec<&str> = token.split('/').collect();
    if let [revision, namespace, name] = parts.as_slice()
        && let Ok(revision) = revision.parse()
    {
        return Ok((revision, Some(Key::new(request.kind, namespace, name))));
    }
    Err(Refusal::bad_request("continue key is not valid"))
}
