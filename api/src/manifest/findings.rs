//! Collects findings, and knows where every field stands.

use std::collections::BTreeMap;

use super::finding::{Finding, Place, Severity};
use super::tree::{Content, Node, Style};

/// Findings per manifest; more of them help nobody.
const MAX_FINDINGS: usize = 100;

/// Length of a finding's path, message or fix.
const MAX_CHARS: usize = 500;

/// Where every field of a manifest stands.
#[derive(Clone, Debug, Default)]
pub struct Places {
    file: String,
    sets: Vec<String>,
    fields: BTreeMap<String, Place>,
    /// First line and indentation of texts in lines of their own (`|`).
    blocks: BTreeMap<String, (usize, usize)>,
}

impl Places {
    pub(super) fn new(file: &str, sets: &[String]) -> Self {
        Self { file: file.to_owned(), sets: sets.to_vec(), ..Self::default() }
    }

    /// Where a field stands (`spec.sinks[0].input`), or the nearest field around it that is in the file.
    pub fn of(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.fields.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return self.fields.get("").copied().unwrap_or(Place::START),
            }
        }
    }

    /// Where line and column (1-based) of a text field stand in the file; the field's own place where lines are folded
    /// or escaped.
    pub fn inside(&self, path: &str, line: usize, column: usize) -> Place {
        match self.blocks.get(path) {
            Some((first, indentation)) => {
                Place { line: (first + line).saturating_sub(1), column: indentation + column, set_by: None }
            }
            None => self.of(path),
        }
    }

    /// A finding at a place, for checks that are made elsewhere (the SQL planner's).
    pub fn finding(&self, severity: Severity, place: Place, path: &str, message: &str, fix: Option<&str>) -> Finding {
        let origin = match place.set_by {
            Some(index) => format!("--set {}", self.sets.get(index).map_or("", String::as_str)),
            None => self.file.clone(),
        };
        Finding { severity, origin, place, path: printable(path), message: printable(message), fix: fix.map(printable) }
    }

    pub(super) fn record(&mut self, path: &str, node: &Node) {
        self.fields.insert(path.to_owned(), node.place);
        if let Content::Scalar(scalar) = &node.content
            && scalar.style == Style::Literal
        {
            // Such a text's place is that of its first line that is not blank, behind the indentation.
            let blank = scalar.text.lines().take_while(|line| line.is_empty()).count();
            let block = (node.place.line.saturating_sub(blank), node.place.column.saturating_sub(1));
            self.blocks.insert(path.to_owned(), block);
        }
    }
}

/// Findings quote the manifest, and terminals obey control characters.
fn printable(text: &str) -> String {
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What was found so far.
pub(super) struct Findings {
    pub(super) places: Places,
    pub(super) list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(places: Places) -> Self {
        Self { places, list: Vec::new() }
    }

    pub(super) fn has_faults(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Fault)
    }

    pub(super) fn at(&mut self, severity: Severity, place: Place, path: &str, message: &str, fix: Option<&str>) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(self.places.finding(severity, place, path, message, fix));
        }
    }

    pub(super) fn fault(&mut self, path: &str, message: &str, fix: Option<&str>) {
        self.at(Severity::Fault, self.places.of(path), path, message, fix);
    }

    pub(super) fn warn(&mut self, path: &str, message: &str, fix: Option<&str>) {
        self.at(Severity::Warning, self.places.of(path), path, message, fix);
    }

    /// In the order of the file, what came by overrides last.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| (finding.place.set_by, finding.place, finding.severity));
        self.list
    }
}
