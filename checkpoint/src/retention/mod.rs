//! Which records and objects may be deleted.
//!
//! Kept for ever: claims, seals, the highest record of each attempt, savepoints. Kept for now: the newest `retain`
//! decisions (two at least) with everything that stands above the oldest of them, and all objects that any kept decision
//! references. An attempt deletes only what attempts up to its own wrote, records before objects, old before new,
//! so that a crash between two deletions leaves garbage and never a reference to nothing.

use std::collections::BTreeSet;

use crate::ids::Attempt;
use crate::log::Listing;
use crate::paths::{self, ObjectName};
use crate::record::Position;
use crate::rules::{Rule, Rules, Shipped};

/// A decision as far as retention is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    pub at: Position,
    pub savepoint: bool,
    /// Names (relative to the log's root) of its manifest, if stored, and of all stored parts.
    pub objects: Vec<String>,
}

/// What may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Oldest first. Delete all of them before any object.
    pub records: Vec<Position>,
    /// Objects that only deleted decisions referenced.
    pub objects: Vec<String>,
}

/// Plans for attempt `me`, from a listing and the decisions in it (any order). `retain` below two counts as two.
pub fn plan(me: Attempt, listing: &Listing, decisions: &[Decision], retain: u32) -> Plan {
    plan_under(&Shipped, me, listing, decisions, retain)
}

#[doc(hidden)]
pub fn plan_under<R: Rules>(rules: &R, me: Attempt, listing: &Listing, decisions: &[Decision], retain: u32) -> Plan {
    let least = if rules.holds(Rule::KeepTwoNewest) { 2 } else { 1 };
    let mut newest: Vec<_> = decisions.iter().filter(|d| d.at.attempt <= me && !d.savepoint).map(|d| d.at).collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    let Some(oldest_kept) = newest.get(retain.max(least) as usize - 1).copied() else { return Plan::default() };
    let is_savepoint = |at: Position| decisions.iter().any(|d| d.at == at && d.savepoint);
    let mut records = Vec::new();
    for (attempt, slots) in listing.attempts.iter().filter(|(attempt, _)| *attempt <= me) {
        let kept_tail = usize::from(rules.holds(Rule::KeepSeals));
        for slot in slots.iter().take(slots.len().saturating_sub(kept_tail)) {
            let at = Position { attempt: *attempt, slot: *slot };
            if at < oldest_kept && !is_savepoint(at) {
                records.push(at);
            }
        }
    }
    let is_kept = |decision: &&Decision| !records.contains(&decision.at);
    let kept: BTreeSet<_> = decisions.iter().filter(is_kept).flat_map(|d| &d.objects).collect();
    let gone: BTreeSet<_> = decisions.iter().filter(|d| !is_kept(d)).flat_map(|d| &d.objects).collect();
    let objects = gone.difference(&kept).map(|name| (*name).clone()).collect();
    Plan { records, objects }
}

/// Objects of attempts *before* `me` that no decision references: what their failed checkpoints left.
/// `names`: parts and manifests, with the attempt in whose folder each lies. Those of `me` itself may be in the making.
pub fn orphans<'a>(
    me: Attempt,
    names: impl IntoIterator<Item = (Attempt, &'a str)>,
    decisions: &[Decision],
) -> Vec<&'a str> {
    let referenced: BTreeSet<&str> = decisions.iter().flat_map(|d| &d.objects).map(String::as_str).collect();
    names.into_iter().filter(|(attempt, name)| *attempt < me && !referenced.contains(name)).map(|(_, n)| n).collect()
}

/// Parts that may go when a pipeline is taken away for good, by attempt `me`, which has seen everything settled: all but
/// those of savepoints and of whoever claimed later. Records, claims and manifests are not among them: by those a worker
/// that is fenced and still lives is kept from deciding anything.
pub fn farewell(me: Attempt, decisions: &[Decision]) -> Vec<String> {
    let is_kept = |decision: &&Decision| decision.savepoint || decision.at.attempt > me;
    let kept: BTreeSet<_> = decisions.iter().filter(is_kept).flat_map(|d| &d.objects).collect();
    let gone: BTreeSet<_> = decisions.iter().filter(|d| !is_kept(d)).flat_map(|d| &d.objects).collect();
    let is_part = |name: &&&String| matches!(paths::parse(name), Ok(Some(ObjectName::Part(_, of))) if of <= me);
    gone.difference(&kept).filter(is_part).map(|name| (*name).clone()).collect()
}

#[cfg(test)]
mod tests;
