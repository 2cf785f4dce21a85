//! From a file's name to a pipeline that can be run, or everything that is wrong with it.

use std::fmt::Write as _;
use std::path::Path;

use api::manifest::{self, Finding, Manifest, Severity};
use runtime::connectors::registry::unfit_sink;
use runtime::dataflow::Definition;
use serde_json::{Value, json};

use super::Error;
use crate::screen::Screen;

/// The most that is read of a manifest; larger than anything that the schema allows.
const MOST_BYTES: u64 = 4 << 20;

/// A manifest with its paths resolved and its queries planned, and all findings; no manifest if one is a fault.
pub(crate) struct Loaded {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) findings: Vec<Finding>,
}

/// Reads and checks one manifest.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read at all.
pub(crate) fn load(file: &Path, sets: &[String]) -> Result<Loaded, Error> {
    let bytes = read(file)?;
    let name = file.display().to_string();
    let (mut manifest, mut findings) = match manifest::read(&name, &bytes, sets).into_manifest() {
        Ok(read) => read,
        Err(findings) => return Ok(Loaded { manifest: None, findings }),
    };
    let base = std::path::absolute(file).map_err(super::io(format!("find the folder of {name}")))?;
    let base = base.parent().unwrap_or(Path::new("/"));
    manifest.pipeline.spec.resolve_paths(base).map_err(|error| Error::Other(error.to_string()))?;
    // Findings of the reader are in the file's order; the planner's comes last, as it needs a manifest without faults.
    match plan_fault(&manifest) {
        None => Ok(Loaded { manifest: Some(manifest), findings }),
        Some(refused) => {
            findings.push(refused);
            Ok(Loaded { manifest: None, findings })
        }
    }
}

/// What the planner refuses: the first query that cannot be run, as later ones may read it; then the first sink that
/// cannot hold its input.
fn plan_fault(manifest: &Manifest) -> Option<Finding> {
    let spec = &manifest.pipeline.spec;
    let refused = match runtime::dataflow::plan(&Definition::of(spec)) {
        Ok(graph) => {
            let (index, error) = unfit_sink(&spec.sinks, &graph, &spec.checkpoint)?;
            let path = format!("spec.sinks[{index}].input");
            let place = manifest.places.of(&path);
            return Some(manifest.places.finding(Severity::Fault, place, &path, &error.to_string(), None));
        }
        Err(refused) => refused,
    };
    let at = refused.position.map(|(line, column)| (line as usize, column as usize));
    if spec.transforms.iter().any(|transform| transform.name == refused.transform) {
        return Some(manifest.sql_fault(&refused.transform, at, &refused.message, None));
    }
    let sink = spec.sinks.iter().position(|sink| sink.name == refused.transform);
    let path = sink.map_or_else(|| "spec".to_owned(), |index| format!("spec.sinks[{index}].input"));
    let place = manifest.places.of(&path);
    Some(manifest.places.finding(Severity::Fault, place, &path, &refused.message, None))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let cannot = || super::io(format!("read {}", file.display()));
    let open = std::fs::File::open(file).map_err(cannot())?;
    let mut bytes = vec![];
    open.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(cannot())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::Other(format!("{} is larger than {MOST_BYTES} bytes: this is no manifest", file.display())));
    }
    Ok(bytes)
}

/// Shows findings to people: `error: file:line:column: field: what; fix`.
pub(crate) fn show(findings: &[Finding], screen: Screen) {
    for finding in findings {
        match finding.severity {
            Severity::Fault => screen.fault(describe(finding)),
            Severity::Warning => screen.doubt(describe(finding)),
        }
    }
}

/// A finding in one line: `file:line:column: field: what; fix`.
pub(crate) fn describe(finding: &Finding) -> String {
    let mut text = finding.origin.clone();
    if finding.place.set_by.is_none() {
        let _ = write!(text, ":{}:{}", finding.place.line, finding.place.column);
    }
    for part in [&finding.path, &finding.message] {
        if !part.is_empty() {
            text += ": ";
            text += part;
        }
    }
    if let Some(fix) = &finding.fix {
        text += "; ";
        text += fix;
    }
    text
}

/// A finding for programs.
pub(crate) fn as_json(finding: &Finding) -> Value {
    let inside_file = finding.place.set_by.is_none();
    json!({
        "severity": match finding.severity { Severity::Fault => "fault", Severity::Warning => "warning" },
        "origin": finding.origin,
        "line": inside_file.then_some(finding.place.line),
        "column": inside_file.then_some(finding.place.column),
        "path": finding.path,
        "message": finding.message,
        "fix": finding.fix,
    })
}
