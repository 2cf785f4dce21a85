//! `--set key=value`: changes the tree before it is judged. Keys are dotted paths (`parallelism`,
//! `sources.orders.files.path`, `spec.sinks[0].input`); items of named lists are found by name or index.

use super::finding::{Place, Severity, nearest};
use super::findings::Findings;
use super::tree::{self, Content, Entry, Node, Scalar, Style};

/// Longest path that is taken; the schema needs 8.
const MAX_SEGMENTS: usize = 16;
/// Fields that are not below `spec`.
const ROOT_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// Applies override number `index`.
pub(super) fn apply(root: &mut Node, index: usize, text: &str, findings: &mut Findings) {
    if let Err((message, fix)) = try_apply(root, index, text) {
        let place = Place { set_by: Some(index), ..Place::START };
        let path = text.split_once('=').map_or("", |(key, _)| key);
        findings.at(Severity::Fault, place, path, &message, fix.as_deref());
    }
}

type Refusal = (String, Option<String>);

fn try_apply(root: &mut Node, index: usize, text: &str) -> Result<(), Refusal> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(("an override has no `=`".to_owned(), Some("write --set key=value".to_owned())));
    };
    let mut segments = segments(key)?;
    if !segments.first().is_some_and(|first| ROOT_FIELDS.contains(&first.as_str())) {
        segments.insert(0, "spec".to_owned());
    }
    if segments.len() > MAX_SEGMENTS {
        return Err((format!("the key has more than {MAX_SEGMENTS} parts"), None));
    }
    let value = value_node(value, index)?;
    let place = Place { set_by: Some(index), ..Place::START };
    let mut node = root;
    for segment in &segments {
        node = descend(node, segment, place)?;
    }
    *node = value;
    Ok(())
}

fn segments(key: &str) -> Result<Vec<String>, Refusal> {
    let spread = key.replace('[', ".").replace(']', "");
    let segments: Vec<String> = spread.split('.').map(str::to_owned).collect();
    if segments.iter().any(String::is_empty) {
        let fix = "write it as sources.orders.files.path or sinks[0].input".to_owned();
        return Err((format!("`{key}` is not a path to a field"), Some(fix)));
    }
    Ok(segments)
}

/// Lists, mappings and quoted texts are YAML; anything else is taken as it stands.
fn value_node(value: &str, index: usize) -> Result<Node, Refusal> {
    if value.starts_with(['[', '{', '"', '\'']) {
        let broken = |message: String| (message, Some("quote the value for YAML".to_owned()));
        let documents = tree::parse(value, Some(index));
        let documents = documents
            .map_err(|faults| broken(faults.first().map_or_else(String::new, |first| first.message.clone())))?;
        return documents.into_iter().next().ok_or_else(|| broken("the value is empty".to_owned()));
    }
    if value.len() > tree::MAX_BYTES {
        return Err(("the value is too long".to_owned(), None));
    }
    let scalar = Scalar { text: value.to_owned(), style: Style::Given };
    Ok(Node { place: Place { set_by: Some(index), ..Place::START }, content: Content::Scalar(scalar) })
}

/// The child that a segment names; fields that are not there yet are made.
fn descend<'n>(node: &'n mut Node, segment: &str, place: Place) -> Result<&'n mut Node, Refusal> {
    let empty = node.text().is_some_and(|text| matches!(text, "" | "~" | "null"));
    if empty {
        node.content = Content::Mapping(Vec::new());
    }
    match &mut node.content {
        Content::Mapping(entries) => Ok(field(entries, segment, place)),
        Content::Sequence(items) => item(items, segment),
        Content::Scalar(_) => {
            Err((format!("`{segment}` cannot be set: what stands before it is a single value"), None))
        }
    }
}

fn field<'n>(entries: &'n mut Vec<Entry>, segment: &str, place: Place) -> &'n mut Node {
    let at = entries.iter().position(|entry| entry.key == segment).unwrap_or_else(|| {
        let value = Node { place, content: Content::Mapping(Vec::new()) };
        entries.push(Entry { key: segment.to_owned(), place, value });
        entries.len() - 1
    });
    &mut entries[at].value
}

fn item<'n>(items: &'n mut [Node], segment: &str) -> Result<&'n mut Node, Refusal> {
    let names: Vec<&str> = items.iter().filter_map(|item| item.entry("name")?.value.text()).collect();
    let by_name = items
        .iter()
        .position(|item| item.entry("name").and_then(|entry| entry.value.text()).is_some_and(|name| name == segment));
    let at = by_name.or_else(|| segment.parse().ok().filter(|at| *at < items.len()));
    let refusal = || {
        let fix = match nearest(segment, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write an index below {} or one of: {}", items.len(), names.join(", ")),
        };
        (format!("the list has no item `{segment}`"), Some(fix))
    };
    let at = at.ok_or_else(refusal)?;
    items.get_mut(at).ok_or_else(|| (format!("the list has no item `{segment}`"), None))
}
