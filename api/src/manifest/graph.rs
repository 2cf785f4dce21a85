//! Checks over the whole pipeline that no schema can state: who reads whom, literals against column types, and settings
//! that run but are probably not meant.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::nearest;
use super::findings::Findings;
use super::sql_names::tables_read;
use crate::pipeline::{Column, Duration};

/// Below this a checkpoint's own writes become most of the work.
const SHORT_INTERVAL: Duration = Duration::from_millis(100);

/// Looks at the object as far as it is whole; what the schema refused is null here.
pub(super) fn check(object: &Value, findings: &mut Findings) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let (sources, transforms, sinks) = (items(spec, "sources"), items(spec, "transforms"), items(spec, "sinks"));
    check_names(sources, transforms, findings);
    check_inputs(sources, transforms, sinks, findings);
    check_order(transforms, findings);
    // With a misspelt input everything behind it would seem unread.
    if !findings.has_faults() {
        warn_of_unread(sources, transforms, sinks, findings);
    }
    check_recipes(sources, findings);
    warn_of_settings(spec, sinks, findings);
}

pub(super) fn items<'v>(spec: &'v Value, list: &str) -> &'v [Value] {
    spec.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn text<'v>(item: &'v Value, field: &str) -> Option<&'v str> {
    item.get(field).and_then(Value::as_str)
}

pub(super) fn name(item: &Value) -> Option<&str> {
    text(item, "name")
}

fn check_names(sources: &[Value], transforms: &[Value], findings: &mut Findings) {
    let taken: BTreeSet<&str> = sources.iter().filter_map(name).collect();
    for (i, transform) in transforms.iter().enumerate() {
        if let Some(name) = name(transform).filter(|name| taken.contains(name)) {
            let path = format!("spec.transforms[{i}].name");
            findings.fault(&path, &format!("`{name}` is the name of a source, too"), Some("rename one of them"));
        }
    }
}

fn check_inputs(sources: &[Value], transforms: &[Value], sinks: &[Value], findings: &mut Findings) {
    let known: BTreeSet<&str> = sources.iter().chain(transforms).filter_map(name).collect();
    for (i, sink) in sinks.iter().enumerate() {
        let Some(input) = text(sink, "input").filter(|input| !known.contains(input)) else { continue };
        let fix = match nearest(input, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("`{input}` is neither a source nor a transform");
        findings.fault(&format!("spec.sinks[{i}].input"), &message, Some(&fix));
    }
}

/// A transform reads only what stands before it; so there are no cycles.
fn check_order(transforms: &[Value], findings: &mut Findings) {
    for (i, transform) in transforms.iter().enumerate() {
        let tables = tables_read(text(transform, "sql").unwrap_or_default());
        let later: BTreeSet<&str> = transforms.iter().skip(i + 1).filter_map(name).collect();
        let path = format!("spec.transforms[{i}].sql");
        for table in &tables {
            if name(transform) == Some(table) {
                findings.fault(&path, "reads itself", Some("read a source or a transform that stands before it"));
            } else if later.contains(table.as_str()) {
                let fix = format!("move `{table}` before it; what reads each other in a circle cannot run");
                findings.fault(&path, &format!("reads `{table}`, which stands after it"), Some(&fix));
            }
        }
    }
}

fn warn_of_unread(sources: &[Value], transforms: &[Value], sinks: &[Value], findings: &mut Findings) {
    let mut read: BTreeSet<String> = sinks.iter().filter_map(|sink| text(sink, "input")).map(str::to_owned).collect();
    // Backwards, so that what only an unread transform reads counts as unread.
    for (i, transform) in transforms.iter().enumerate().rev() {
        let Some(name) = name(transform) else { continue };
        if read.contains(name) {
            read.extend(tables_read(text(transform, "sql").unwrap_or_default()));
        } else {
            warn_unread(&format!("spec.transforms[{i}]"), name, findings);
        }
    }
    for (i, source) in sources.iter().enumerate() {
        if let Some(name) = name(source).filter(|name| !read.contains(*name)) {
            warn_unread(&format!("spec.sources[{i}]"), name, findings);
        }
    }
}

fn warn_unread(path: &str, name: &str, findings: &mut Findings) {
    let message = format!("no sink gets anything from `{name}`, so it is not run");
    findings.warn(path, &message, Some("read it in a sink or a transform, or remove it"));
}

fn check_recipes(sources: &[Value], findings: &mut Findings) {
    for (i, source) in sources.iter().enumerate() {
        let rows = source.pointer("/generator/rows").and_then(Value::as_u64);
        for (k, column) in items(source, "columns").iter().enumerate() {
            let Ok(column) = serde_json::from_value::<Column>(column.clone()) else { continue };
            let path = format!("spec.sources[{i}].columns[{k}]");
            match column.recipe() {
                Err(invalid) => {
                    let (message, fix) = super::wording::split(&invalid.message);
                    findings.fault(&format!("{path}.{}", invalid.field), &message, fix.as_deref());
                }
                Ok(Some(recipe)) if !recipe.lasts(column.column_type, rows.unwrap_or(1)) => {
                    let message = format!("leaves the range of {} before the last row", column.column_type);
                    let fix = "write a smaller step, fewer rows or a wider type";
                    findings.fault(&format!("{path}.generate.sequence"), &message, Some(fix));
                }
                Ok(_) => {}
            }
        }
    }
}

fn warn_of_settings(spec: &Value, sinks: &[Value], findings: &mut Findings) {
    let interval = spec.pointer("/checkpoint/interval").and_then(Value::as_str).map(str::parse::<Duration>);
    if let Some(Ok(interval)) = interval
        && interval < SHORT_INTERVAL
    {
        let message = format!("a checkpoint every {interval} mostly makes checkpoints");
        findings.warn("spec.checkpoint.interval", &message, Some("write 100ms or more"));
    }
    for (field, service) in [("gcs", "Google Cloud Storage"), ("azure", "Azure Blob Storage")] {
        if spec.pointer(&format!("/checkpoint/storage/{field}")).is_some() {
            let message = format!("{service} is untested; the probe at the start judges it");
            findings.warn(&format!("spec.checkpoint.storage.{field}"), &message, None);
        }
    }
    let plain = |path: &str| path.trim_start_matches("./").trim_end_matches('/').to_owned();
    let log = spec.pointer("/checkpoint/storage/local/path").and_then(Value::as_str).map(plain);
    for (i, sink) in sinks.iter().enumerate() {
        let folder = sink.pointer("/files/path").and_then(Value::as_str).map(plain);
        if folder.is_some() && folder == log {
            let message = "output and checkpoint log share a folder, so clearing the output loses the state";
            findings.warn(&format!("spec.sinks[{i}].files.path"), message, Some("give each its own folder"));
        }
    }
}
