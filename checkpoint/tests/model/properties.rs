//! What must never happen, as bits that a world carries for ever once it has happened.

use checkpoint::record::{Entry, Origin, Outcome, Position, Record, Released};

use crate::world::{Fate, Key, World, id, key_of, keys, manifest, positions};

macro_rules! properties {
    ($($name:ident = $bit:literal, $says:literal;)*) => {
        $(pub(crate) const $name: u32 = 1 << $bit;)*
        pub(crate) const ALL: &[(u32, &str, &str)] = &[$((1 << $bit, stringify!($name), $says),)*];
    };
}

properties! {
    V1 = 1, "no input is committed twice";
    V2 = 2, "all input below a decision is committed, or pre-committed by that very decision, or known as lost";
    V3 = 3, "nothing undecided is ever committed";
    V4 = 4, "nothing decided is ever aborted, except by a rewind before its own decision";
    V5 = 5, "a fenced attempt never appends";
    V6 = 6, "an attempt runs only when all earlier ones are fenced";
    V7 = 7, "nobody meets foreign content in its own sequence";
    V8 = 8, "recovery commits nothing when a sibling was already lost and nothing committed";
    V9 = 9, "a decision is sent only within the commit budget of all that it decides";
    V10 = 10, "nothing runs past a loss that nobody accepted";
    V11 = 11, "nothing that a rewind took back is committed afterwards";
    V12 = 12, "at most one decision for each attempt and epoch";
    V13 = 13, "no loss is reported after a later decision, unless it was recorded before";
    V14 = 14, "an honest store is never refused as damaged";
    V15 = 15, "epochs increase along the log";
    V16 = 16, "a rewind takes back the newest decision and goes back to the one before, passing none over";
    V17 = 17, "nothing is written off as committed or finished while decided output is missing";
    V18 = 18, "nothing runs or is decided in a log that was handed over to the next";
}

impl World {
    /// Looks at everything that is visible in targets and log.
    pub(crate) fn check(&mut self, duplicates_accepted: bool) {
        let Some((_, newest)) = self.newest() else { return };
        let (positions, decided): (_, Vec<_>) = (positions(manifest(newest)), keys(newest).collect());
        let mut broken = 0;
        for (writer, position) in positions.iter().enumerate() {
            for item in 0..*position {
                broken |= self.check_item(writer as u32, item, &decided);
            }
        }
        if !duplicates_accepted && self.has_duplicate() {
            broken |= V1;
        }
        self.broken |= broken;
    }

    fn check_item(&self, writer: u32, item: u8, decided: &[Key]) -> u32 {
        let mut fates = self.targets.iter().filter(|(key, t)| key.writer == writer && t.item == item);
        let is_fine = |(key, transaction): (&Key, &crate::world::Transaction)| match transaction.fate {
            Fate::Committed => true,
            Fate::Prepared => decided.contains(key),
            Fate::Expired | Fate::AbortedByRewind => decided.contains(key) || self.is_loss_accepted(*key),
            Fate::Aborted => self.is_loss_accepted(*key),
        };
        if fates.any(is_fine) { 0 } else { V2 }
    }

    fn has_duplicate(&self) -> bool {
        let mut committed: Vec<_> =
            self.targets.iter().filter(|(_, t)| t.fate == Fate::Committed).map(|(k, t)| (k.writer, t.item)).collect();
        let count = committed.len();
        committed.sort_unstable();
        committed.dedup();
        committed.len() < count
    }

    pub(crate) fn is_loss_accepted(&self, key: Key) -> bool {
        self.decisions.iter().any(|(at, entry)| {
            entry.completed().is_some_and(|c| self.accepted.contains(&id(*at, c)) && keys(c).any(|k| k == key))
        })
    }

    /// A record is about to become part of the log at `at`.
    pub(crate) fn check_landing(&mut self, at: Position, entry: &Entry) {
        // A late copy of what stood there before and was deleted by retention changes nothing (decision 0107): it was
        // appended before the seal, which stands above it still.
        let stood = self.decisions.get(&at).or_else(|| self.deleted.get(&at));
        let is_copy = stood.is_some_and(|known| **known == *entry);
        if !entry.is_sealed() && !is_copy && self.log.is_sealed(at.attempt) {
            self.broken |= V5;
        }
        if let Some(settled) = crate::world::is_settlement(entry)
            && settled.outcome == Outcome::LossAccepted
        {
            self.accepted.push(settled.decision);
        }
        self.check_written_off(entry);
        self.is_handed_over |= entry.record == Record::Released(Released::Superseded);
        let Some(completed) = entry.completed() else { return };
        if is_copy {
            return;
        }
        if self.is_handed_over {
            self.broken |= V18;
        }
        let new = id(at, completed);
        if self.decisions.iter().any(|(at, known)| known.completed().is_some_and(|c| id(*at, c) == new)) {
            self.broken |= V12;
        }
        if self.newest().is_some_and(|(newest, known)| newest < at && known.epoch >= completed.epoch) {
            self.broken |= V15;
        }
        let mut newest = self.decisions.iter().rev().filter_map(|(at, known)| Some(id(*at, known.completed()?)));
        if let Origin::Rewind { taken_back, base } = &completed.origin
            && (newest.next(), newest.next()) != (Some(*taken_back), Some(*base))
        {
            self.broken |= V16;
        }
    }

    /// Nobody looks again at what is settled as committed, or accepted as lost, at a finished pipeline, or into a log
    /// that was handed over.
    fn check_written_off(&mut self, entry: &Entry) {
        let (decision, needs_all) = match &entry.record {
            Record::Settled(settled) => (Some(settled.decision), settled.outcome == Outcome::Committed),
            Record::Released(Released::Finished | Released::Superseded) => {
                (self.newest().map(|(at, newest)| id(at, newest)), true)
            }
            Record::Released(_) | Record::Completed(_) | Record::Sealed { .. } => return,
        };
        let is_lost = crate::world::is_settlement(entry).is_some_and(|s| s.outcome == Outcome::Lost);
        let named = self.decisions.iter().filter_map(|(at, known)| Some((id(*at, known.completed()?), known)));
        let is_missing = |key: Key| match self.fate(key) {
            Some(Fate::Committed) => false,
            Some(Fate::Prepared) | None => true,
            Some(Fate::Expired | Fate::Aborted | Fate::AbortedByRewind) => needs_all && !self.is_loss_accepted(key),
        };
        let mut keys =
            named.filter(|(id, _)| Some(*id) == decision).filter_map(|(_, known)| known.completed()).flat_map(keys);
        if !is_lost && keys.any(is_missing) {
            self.broken |= V17;
        }
    }

    /// A commit has just succeeded.
    pub(crate) fn check_commit(&mut self, key: Key) {
        if !self.is_decided(key) {
            self.broken |= V3;
        }
        if self.is_taken_back(key) {
            self.broken |= V11;
        }
    }

    /// An abort has just hit a pre-committed transaction.
    pub(crate) fn check_abort(&mut self, key: Key) {
        if self.is_decided(key) && !self.is_taken_back(key) {
            self.broken |= V4;
        }
    }

    /// `attempt` begins to process records, having restored `manifest`.
    pub(crate) fn check_running(&mut self, process: usize, manifest: &checkpoint::manifest::Manifest) {
        let attempt = self.processes[process].attempt;
        let is_twin = |(index, other): (usize, &crate::world::Process)| {
            index != process && other.attempt == attempt && matches!(other.phase, crate::world::Phase::Running(_))
        };
        if self.log.claims.keys().any(|earlier| *earlier < attempt && !self.log.is_sealed(*earlier))
            || self.processes.iter().enumerate().any(is_twin)
        {
            self.broken |= V6;
        }
        let is_lost = |key: Key| {
            matches!(self.fate(key), Some(Fate::Expired | Fate::Aborted | Fate::AbortedByRewind))
                && !self.is_loss_accepted(key)
        };
        if manifest.committables.iter().map(key_of).any(is_lost) {
            self.broken |= V10;
        }
        // Whoever is fenced by now finds out by its first append.
        if self.is_handed_over && !self.log.is_sealed(attempt) {
            self.broken |= V18;
        }
    }

    /// `attempt` tells the world of a loss. Its own record of it shows that it was not fenced when it found out; the
    /// news itself may travel as slowly as it likes.
    pub(crate) fn check_report(&mut self, attempt: checkpoint::ids::Attempt) {
        self.is_loss_reported = true;
        let is_recorded = self.log.slots.iter().any(|(at, entry)| {
            at.attempt == attempt && crate::world::is_settlement(entry).is_some_and(|s| s.outcome == Outcome::Lost)
        });
        if !is_recorded && self.decisions.keys().any(|at| at.attempt > attempt) {
            self.broken |= V13;
        }
    }
}
