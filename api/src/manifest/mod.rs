//! Reading a manifest: bytes to a `Pipeline`, or everything that is wrong with them, each with its place, the field's
//! path and the fix.
//!
//! bytes → tree with places (`tree`) → overrides (`overrides`) → types, bounds, unknown fields, defaults (`shape`) →
//! who reads whom (`graph`) → CEL (`rules`) → types. Nothing here panics or grows without bound on any input.

mod connections;
mod finding;
mod findings;
mod graph;
mod overrides;
mod paths;
mod rules;
mod scalars;
mod shape;
mod sql_names;
mod tree;
mod wording;

use serde_json::Value;

pub use self::finding::{Finding, Place, Severity};
use self::findings::Findings;
pub use self::findings::Places;
pub use self::paths::NotUnicode;
pub use self::rules::refusals_of_change;
pub use self::sql_names::tables_read;
use self::tree::Node;
use crate::pipeline::Pipeline;

/// A manifest without faults.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Defaults are filled in; paths are as written (see `PipelineSpec::resolve_paths`).
    pub pipeline: Pipeline,
    /// For findings of later checks.
    pub places: Places,
}

/// What reading a manifest yields.
#[derive(Debug)]
pub struct Report {
    /// Faults and warnings in the file's order.
    pub findings: Vec<Finding>,
    /// Present exactly when no finding is a fault.
    pub manifest: Option<Manifest>,
}

impl Report {
    /// The manifest with its warnings, or all findings.
    ///
    /// # Errors
    /// At least one finding is a fault.
    pub fn into_manifest(self) -> Result<(Manifest, Vec<Finding>), Vec<Finding>> {
        match self.manifest {
            Some(manifest) => Ok((manifest, self.findings)),
            None => Err(self.findings),
        }
    }
}

impl Manifest {
    /// A fault in a transform's SQL, at line and column (1-based) of the query where they are known.
    pub fn sql_fault(&self, transform: &str, at: Option<(usize, usize)>, message: &str, fix: Option<&str>) -> Finding {
        let index = self.pipeline.spec.transforms.iter().position(|candidate| candidate.name == transform);
        let path = index.map_or_else(|| "spec.transforms".to_owned(), |i| format!("spec.transforms[{i}].sql"));
        let place = match at {
            Some((line, column)) => self.places.inside(&path, line, column),
            None => self.places.of(&path),
        };
        self.places.finding(Severity::Fault, place, &path, message, fix)
    }
}

/// Reads one manifest. `file` is what findings call it; `sets` are overrides as `key=value`.
pub fn read(file: &str, bytes: &[u8], sets: &[String]) -> Report {
    let mut findings = Findings::new(Places::new(file, sets));
    let object = std::str::from_utf8(bytes)
        .map_err(|error| refuse_bytes(bytes, error.valid_up_to(), &mut findings))
        .ok()
        .and_then(|text| object(text, sets, &mut findings));
    let pipeline = object.filter(|_| !findings.has_faults()).and_then(|object| typed(object, &mut findings));
    let manifest = pipeline.map(|pipeline| Manifest { pipeline, places: findings.places.clone() });
    Report { manifest, findings: findings.sorted() }
}

fn refuse_bytes(bytes: &[u8], valid: usize, findings: &mut Findings) {
    let before = bytes.get(..valid).and_then(|before| std::str::from_utf8(before).ok()).unwrap_or_default();
    let last_line = before.rsplit('\n').next().unwrap_or_default();
    let (line, column) = (before.matches('\n').count() + 1, last_line.chars().count() + 1);
    let place = Place { line, column, set_by: None };
    findings.at(Severity::Fault, place, "", "this is not UTF-8", Some("save the file as UTF-8"));
}

/// The object as an API server would store it.
fn object(text: &str, sets: &[String], findings: &mut Findings) -> Option<Value> {
    let mut root = match tree::parse(text, None) {
        Ok(documents) => the_pipeline(documents, findings)?,
        Err(broken) => {
            for fault in broken {
                findings.at(Severity::Fault, fault.place, "", &fault.message, fault.fix.as_deref());
            }
            return None;
        }
    };
    for (index, set) in sets.iter().enumerate() {
        overrides::apply(&mut root, index, set, findings);
    }
    let object = shape::read(&root, findings);
    graph::check(&object, findings);
    connections::check(object.get("spec").unwrap_or(&Value::Null), findings);
    rules::check(&object, findings);
    Some(object)
}

/// The one document of kind Pipeline; documents of other kinds are passed over.
fn the_pipeline(documents: Vec<Node>, findings: &mut Findings) -> Option<Node> {
    let total = documents.len();
    let is_pipeline = |node: &Node| node.entry("kind").and_then(|kind| kind.value.text()) == Some("Pipeline");
    let (mut pipelines, mut others): (Vec<Node>, Vec<Node>) = documents.into_iter().partition(is_pipeline);
    let (place, message) = match (pipelines.len(), total) {
        (1, _) => return pipelines.pop(),
        // Alone and not called a Pipeline: judged as one, which says what is missing.
        (0, 1) => return others.pop(),
        (0, 0) => (Place::START, "the file is empty".to_owned()),
        (0, _) => (Place::START, format!("none of {total} documents is a Pipeline")),
        (count, _) => {
            let second = pipelines.get(1).map_or(Place::START, |second| second.place);
            (second, format!("the file holds {count} Pipelines"))
        }
    };
    findings.at(Severity::Fault, place, "", &message, Some("put exactly one Pipeline into a file"));
    None
}

fn typed(mut object: Value, findings: &mut Findings) -> Option<Pipeline> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    let read = serde_path_to_error::deserialize::<_, Pipeline>(object);
    read.map_err(|error| findings.fault(&error.path().to_string(), &error.inner().to_string(), None)).ok()
}

#[cfg(test)]
mod tests;
