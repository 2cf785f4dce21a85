//! The schema's CEL rules, run here as an API server runs them.

use std::sync::OnceLock;

use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use serde_json::Value;

use super::finding::Severity;
use super::findings::Findings;
use super::wording;
use crate::pipeline::{self, Pipeline};

/// A rule speaks of a field and what is at most this far below it: with a fault there already, it would repeat it.
const REACH: usize = 3;

/// Adds what the rules say, unless a fault that was found before explains it.
pub(super) fn check(object: &Value, findings: &mut Findings) {
    let faults = findings.list.iter().filter(|finding| finding.severity == Severity::Fault);
    let faulty: Vec<String> = faults.map(|finding| finding.path.clone()).collect();
    for error in errors(object, None) {
        // In a broken manifest a rule may stumble over what is missing or of the wrong type.
        let stumbled = error.kind != ErrorKind::ValidationFailure;
        if (stumbled && !faulty.is_empty()) || faulty.iter().any(|path| explains(path, &error.field_path)) {
            continue;
        }
        let (message, fix) = wording::split(&error.message);
        findings.fault(&error.field_path, &message, fix.as_deref());
    }
}

/// What an API server would say to the change from `old` to `new`: messages with the field's path before them.
pub fn refusals_of_change(old: &Pipeline, new: &Pipeline) -> Vec<String> {
    let (old, new) = (serde_json::to_value(old).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default());
    errors(&new, Some(&old)).iter().map(ToString::to_string).collect()
}

fn errors(object: &Value, old: Option<&Value>) -> Vec<ValidationError> {
    static COMPILED: OnceLock<CompiledSchema> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| compile_schema(pipeline::schema()));
    let verdict = Validator::new().validate_compiled(compiled, object, old);
    verdict.err().map(kube_cel::ValidationErrors::into_vec).unwrap_or_default()
}

fn explains(faulty: &str, rule: &str) -> bool {
    let Some(below) = faulty.strip_prefix(rule) else { return false };
    let whole = below.is_empty() || below.starts_with(['.', '[']) || rule.is_empty();
    whole && below.matches(['.', '[']).count() <= REACH
}
