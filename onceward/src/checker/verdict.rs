//! The comparison: what is missing, doubled or wrong.

use std::collections::BTreeMap;
use std::fmt;

use super::{Content, Identity, time};

/// How many differing rows a verdict shows.
const EXAMPLES: usize = 10;

/// The judgement on one folder. Good only when all three counts are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that the folder should hold.
    pub expected: u64,
    /// Rows that it holds.
    pub found: u64,
    /// Expected and not there.
    pub missing: u64,
    /// There more than once (each further one counts).
    pub duplicates: u64,
    /// There with other values, or not expected at all.
    pub wrong: u64,
    /// The first differing rows, as sentences.
    pub examples: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.missing == 0 && self.duplicates == 0 && self.wrong == 0
    }

    /// Counts of both; examples of both, this one's first.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.expected += other.expected;
        self.found += other.found;
        self.missing += other.missing;
        self.duplicates += other.duplicates;
        self.wrong += other.wrong;
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
        self
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing {}, duplicates {}, wrong {}", self.missing, self.duplicates, self.wrong)
    }
}

/// Compares the rows that were found with those that should have been.
pub fn compare(expected: &BTreeMap<Identity, Content>, found: Vec<(Identity, Content)>) -> Verdict {
    let mut verdict = Verdict { expected: expected.len() as u64, found: found.len() as u64, ..Verdict::default() };
    let mut seen: BTreeMap<Identity, u64> = BTreeMap::new();
    for (identity, content) in found {
        let times = seen.entry(identity.clone()).or_default();
        *times += 1;
        match expected.get(&identity) {
            None => {
                verdict.wrong += 1;
                verdict.note(|| format!("not expected: {}", describe(&identity, &content)));
            }
            Some(_) if *times > 1 => {
                verdict.duplicates += 1;
                verdict.note(|| format!("doubled: {}", describe(&identity, &content)));
            }
            Some(right) if *right != content => {
                verdict.wrong += 1;
                verdict.note(|| format!("wrong: {}, expected {right:?}", describe(&identity, &content)));
            }
            Some(_) => {}
        }
    }
    for (identity, content) in expected.iter().filter(|(identity, _)| !seen.contains_key(*identity)) {
        verdict.missing += 1;
        verdict.note(|| format!("missing: {}", describe(identity, content)));
    }
    verdict
}

fn describe(identity: &[i64], content: &[i128]) -> String {
    match identity {
        [start, end, key] => {
            format!("window {} to {}, customer {key}: {content:?}", time::format(*start), time::format(*end))
        }
        [id] => format!("order {id}: {content:?}"),
        other => format!("{other:?}: {content:?}"),
    }
}
