//! The world around the shipped machines: log, targets, processes, and what an omniscient observer remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::claim::Claiming;
use checkpoint::coordinator::{Acknowledged, Coordinator};
use checkpoint::ids::{Attempt, Epoch};
use checkpoint::log::{Listing, Reply, Request};
use checkpoint::manifest::{Committable, Manifest, StatePart};
use checkpoint::record::{Claim, Completed, DecisionId, Entry, Origin, Position, Record};
use checkpoint::recovery::{Intent, Recovery};
use checkpoint::rules::{Rule, Rules};

use crate::print::{Processes, Shared};

/// Rules that are turned off: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Switches(pub(crate) u64);

impl Switches {
    pub(crate) fn off(rules: &[Rule]) -> Self {
        Self(rules.iter().fold(0, |bits, rule| bits | 1 << *rule as u64))
    }
}

impl Rules for Switches {
    fn holds(&self, rule: Rule) -> bool {
        self.0 & (1 << rule as u64) == 0
    }
}

/// A transaction in a target: who may touch it is in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) attempt: Attempt,
    pub(crate) writer: u32,
    pub(crate) epoch: Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Prepared,
    Committed,
    Aborted,
    AbortedByRewind,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    /// Which piece of the writer's input it holds.
    pub(crate) item: u8,
    /// World clock at its start.
    pub(crate) start: u8,
    pub(crate) fate: Fate,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) claims: BTreeMap<Attempt, Arc<Claim>>,
    pub(crate) slots: BTreeMap<Position, Shared<Entry>>,
}

impl Log {
    pub(crate) fn listing(&self) -> Listing {
        let mut listing: BTreeMap<_, Vec<_>> = self.claims.keys().map(|attempt| (*attempt, Vec::new())).collect();
        for at in self.slots.keys() {
            listing.entry(at.attempt).or_default().push(at.slot);
        }
        Listing { attempts: listing.into_iter().collect() }
    }

    pub(crate) fn highest(&self, attempt: Attempt) -> Option<(&Position, &Shared<Entry>)> {
        self.slots.iter().rev().find(|(at, _)| at.attempt == attempt)
    }

    pub(crate) fn is_sealed(&self, attempt: Attempt) -> bool {
        self.highest(attempt).is_some_and(|(_, entry)| entry.is_sealed())
    }

    pub(crate) fn read(&self, request: &Request) -> Option<Reply> {
        match request {
            Request::List => Some(Reply::Listed(self.listing())),
            Request::ReadClaim(attempt) => Some(Reply::Claim(self.claims.get(attempt).cloned())),
            Request::ReadSlot(at) => Some(Reply::Entry(self.slots.get(at).map(Shared::value))),
            Request::CreateClaim(..) | Request::CreateSlot(..) => None,
        }
    }
}

/// Work in targets and store that a process has begun and that happens whenever it happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Effect {
    Classify { index: u32, key: Key },
    Commit { decision: DecisionId, index: u32, key: Key },
    Abort { index: u32, key: Key },
    Leftovers { before: Attempt },
    Delete(Position),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    /// The next item of its input.
    pub(crate) item: u8,
    /// Everything that it pre-committed in this attempt: it never hears that something was decided.
    pub(crate) prepared: Vec<Arc<Committable>>,
    pub(crate) barriers: Vec<Epoch>,
    pub(crate) is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Claiming(Claiming<Switches>),
    Recovering(Box<Recovery<Switches>>),
    Running(Box<Coordinator<Switches>>),
    Gone,
}

/// One process: an attempt from its claim to its end. A crash is a process that never takes a step again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) intent: Intent,
    pub(crate) request: Option<Request>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) workers: Vec<Worker>,
    /// Acknowledgements on a slow wire.
    pub(crate) withheld: Vec<Acknowledged>,
    pub(crate) attempt: Attempt,
    /// When recovery began, a part of the newest decision was lost and none was committed.
    pub(crate) began_with_loss: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) log: Log,
    /// Puts that were answered with "unknown" and may still land.
    pub(crate) late: Vec<Request>,
    pub(crate) processes: Processes,
    pub(crate) targets: BTreeMap<Key, Transaction>,
    pub(crate) clock: u8,
    pub(crate) faults: u8,
    pub(crate) rewinds: u8,
    pub(crate) forces: u8,
    pub(crate) returns: u8,
    pub(crate) failures: u8,
    /// Every decision that ever stood in the log, by place.
    pub(crate) decisions: BTreeMap<Position, Shared<Entry>>,
    /// What else retention has deleted.
    pub(crate) deleted: BTreeMap<Position, Shared<Entry>>,
    /// Decisions whose loss was accepted.
    pub(crate) accepted: Vec<DecisionId>,
    /// Some attempt has told the world of a loss.
    pub(crate) is_loss_reported: bool,
    pub(crate) is_finished: bool,
    /// A `Released{superseded}` has come to stand in the log: the next log of the store may have begun.
    pub(crate) is_handed_over: bool,
    /// One bit for each property: set for ever once broken.
    pub(crate) broken: u32,
}

impl World {
    pub(crate) fn newest(&self) -> Option<(Position, &Completed)> {
        self.decisions.iter().next_back().and_then(|(at, entry)| Some((*at, entry.completed()?)))
    }

    pub(crate) fn is_decided(&self, key: Key) -> bool {
        self.decisions.values().any(|entry| entry.completed().is_some_and(|c| keys(c).any(|k| k == key)))
    }

    /// Was the decision that holds `key` taken back by a rewind's own decision?
    pub(crate) fn is_taken_back(&self, key: Key) -> bool {
        let holder = self.decisions.iter().find_map(|(at, entry)| {
            let completed = entry.completed()?;
            keys(completed).any(|k| k == key).then(|| id(*at, completed))
        });
        self.decisions.values().any(|entry| match entry.completed().map(|c| &c.origin) {
            Some(Origin::Rewind { taken_back, .. }) => Some(*taken_back) == holder,
            Some(_) | None => false,
        })
    }

    pub(crate) fn fate(&self, key: Key) -> Option<Fate> {
        self.targets.get(&key).map(|transaction| transaction.fate)
    }
}

pub(crate) fn id(at: Position, completed: &Completed) -> DecisionId {
    DecisionId { attempt: at.attempt, epoch: completed.epoch }
}

pub(crate) fn key_of(committable: &Committable) -> Key {
    Key { attempt: committable.attempt, writer: committable.writer.0, epoch: committable.epoch }
}

pub(crate) fn manifest(completed: &Completed) -> &Manifest {
    match &completed.manifest {
        checkpoint::record::ManifestRef::Inline(manifest) => manifest,
        checkpoint::record::ManifestRef::Stored { .. } => unreachable!("the model inlines"),
    }
}

pub(crate) fn keys(completed: &Completed) -> impl Iterator<Item = Key> {
    manifest(completed).committables.iter().map(key_of)
}

/// How far each writer's input is read in a snapshot.
pub(crate) fn positions(manifest: &Manifest) -> Vec<u8> {
    let position = |part: Option<&StatePart>| match part {
        Some(StatePart::Inline { body }) => body.parse().expect("the model writes numbers"),
        Some(StatePart::Stored { .. }) | None => 0,
    };
    manifest.snapshots.iter().map(|snapshot| position(snapshot.parts.first())).collect()
}

pub(crate) fn is_settlement(entry: &Entry) -> Option<&checkpoint::record::Settled> {
    match &entry.record {
        Record::Settled(settled) => Some(settled),
        Record::Completed(_) | Record::Released(_) | Record::Sealed { .. } => None,
    }
}
