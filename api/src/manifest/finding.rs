//! What is wrong with a manifest, where, and how to mend it.

use std::fmt;

/// Where something stands in the manifest: 1-based, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// Index of the override that set it; line and column are then those within its value.
    pub set_by: Option<usize>,
}

impl Place {
    /// The beginning of the file.
    pub const START: Self = Self { line: 1, column: 1, set_by: None };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The manifest is refused.
    Fault,
    /// It runs, but probably not as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// File, or `--set key=value` for what an override brought in.
    pub origin: String,
    pub place: Place,
    /// As `spec.sinks[0].files.path`; empty for what concerns the whole file.
    pub path: String,
    pub message: String,
    /// What to write instead.
    pub fix: Option<String>,
}

impl fmt::Display for Finding {
    /// `file:line:column: fault: path: message; fix`, without the position when an override brought it in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if self.place.set_by.is_none() {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        f.write_str(match self.severity {
            Severity::Fault => ": ",
            Severity::Warning => ": warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.fix.as_ref().map_or(Ok(()), |fix| write!(f, "; {fix}"))
    }
}

/// The known name that was probably meant, or `None` when none is near.
///
/// Equal but for case, `-` and `_` counts as nearest; else at most one wrong letter in three.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['-', '_', ' '], "").to_lowercase();
    let wrong = plain(wrong);
    // Distances are quadratic in length; no known name is near this long.
    if wrong.is_empty() || wrong.len() > 256 {
        return None;
    }
    let distance = |name: &&str| strsim::damerau_levenshtein(&wrong, &plain(name));
    let best = known.into_iter().map(|name| (distance(&name), name)).min()?;
    (best.0 <= (wrong.chars().count() / 3).max(1)).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_the_one_meant_or_none() {
        let known = ["maxParallelism", "parallelism", "sinks", "sources"];
        assert_eq!(nearest("max_parallelism", known), Some("maxParallelism"));
        assert_eq!(nearest("paralellism", known), Some("parallelism"));
        assert_eq!(nearest("sink", known), Some("sinks"));
        assert_eq!(nearest("operators", known), None);
        assert_eq!(nearest("", known), None);
    }
}
