//! What judges a simulation: the log as records enter it, the target as pieces are prepared, committed and aborted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use checkpoint::ids::{Attempt, Slot};
use checkpoint::manifest::{Manifest, StatePart};
use checkpoint::paths::{self, ObjectName};
use checkpoint::record::{self, DecisionId, Entry, ManifestRef, Origin, Outcome, Position, Record};

use crate::kinds::Seen;
use crate::world::{Row, World};

/// What a sink has of one committable.
#[derive(Clone, Debug)]
struct Piece {
    sink: String,
    attempt: Attempt,
    rows: Vec<Row>,
    state: PieceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PieceState {
    Open,
    Prepared,
    Committed,
    /// Thrown away by the target, or proven aborted by a rewind.
    Gone,
}

/// What a target says of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceOutcome {
    Prepared,
    Committed,
    Already,
    Gone,
}

/// What is known of the log and the target.
#[derive(Default)]
pub(crate) struct Oracle {
    pieces: BTreeMap<String, Piece>,
    /// Handles that a `Completed` record in the log lists.
    decided: BTreeSet<String>,
    decisions: BTreeMap<DecisionId, Vec<String>>,
    /// The highest decision by place, and the objects it consists of.
    newest: Option<(Position, DecisionId, Vec<String>)>,
    accepted: BTreeSet<DecisionId>,
    /// A person has asked for a rewind.
    is_rewinding: bool,
    /// Where somebody stopped as asked.
    stopped: Option<String>,
}

impl World {
    /// A fenced attempt never appends; a decision lists what may become visible, and all that it refers to is there.
    pub(crate) fn judge_record(&self, name: &str, at: Position, body: &Bytes) {
        let Ok(entry) = record::decode::<Entry>(body) else {
            return self.violation(format!("{name} is no record"));
        };
        // Below its seal an old write may land once more in a slot that retention has emptied: it decides nothing new.
        if !matches!(entry.record, Record::Sealed { .. })
            && self.sealed_at(at.attempt).is_some_and(|sealed| sealed < at.slot)
        {
            self.violation(format!("{name} was appended by a fenced attempt"));
        }
        match &entry.record {
            Record::Completed(completed) => {
                let mut objects = Vec::new();
                let manifest = match &completed.manifest {
                    ManifestRef::Inline(manifest) => Some(manifest.as_ref().clone()),
                    ManifestRef::Stored { name, .. } => {
                        objects.push(name.clone());
                        self.read(name).and_then(|body| record::decode::<Manifest>(&body).ok())
                    }
                };
                let Some(manifest) = manifest else {
                    return self.violation(format!("{name} decides a manifest that is not there"));
                };
                let is_newest = self.lock().oracle.newest.as_ref().is_none_or(|(newest, ..)| *newest < at);
                objects.extend(self.parts_of(name, &manifest, is_newest));
                let decision = DecisionId { attempt: at.attempt, epoch: completed.epoch };
                if let Origin::Rewind { taken_back, .. } = &completed.origin {
                    self.judge_rewind(*taken_back);
                }
                let handles: Vec<String> = manifest.committables.iter().map(|one| one.handle.clone()).collect();
                let mut inner = self.lock();
                let oracle = &mut inner.oracle;
                oracle.decided.extend(handles.iter().cloned());
                oracle.decisions.insert(decision, handles);
                if is_newest {
                    objects.push(name.to_owned());
                    oracle.newest = Some((at, decision, objects));
                }
            }
            Record::Settled(settled) => {
                if settled.outcome == Outcome::LossAccepted {
                    self.see(Seen::LossAccepted);
                    self.lock().oracle.accepted.insert(settled.decision);
                }
            }
            Record::Released(_) | Record::Sealed { .. } => {}
        }
    }

    /// Names of the stored parts. All must be there, unless an old write lands where retention has been.
    fn parts_of(&self, decision: &str, manifest: &Manifest, is_newest: bool) -> Vec<String> {
        let mut names = Vec::new();
        for part in manifest.snapshots.iter().flat_map(|snapshot| &snapshot.parts) {
            if let StatePart::Stored { name, .. } = part {
                if is_newest && self.read(name).is_none() {
                    self.violation(format!("{decision} decides part {name}, which is not there"));
                }
                names.push(name.clone());
            }
        }
        names
    }

    /// A rewind is decided only once nothing of what it takes back is or can become visible.
    fn judge_rewind(&self, taken_back: DecisionId) {
        self.see(Seen::Rewound);
        if self.is_damaged() {
            self.see(Seen::RewoundFromDamage);
        }
        let inner = self.lock();
        let handles = inner.oracle.decisions.get(&taken_back).cloned().unwrap_or_default();
        let open = handles
            .into_iter()
            .find(|handle| inner.oracle.pieces.get(handle).is_some_and(|piece| piece.state != PieceState::Gone));
        drop(inner);
        if let Some(handle) = open {
            self.violation(format!("{taken_back:?} is taken back although {handle} is not aborted"));
        }
    }

    /// The highest seal of an attempt.
    fn sealed_at(&self, attempt: Attempt) -> Option<Slot> {
        let inner = self.lock();
        let seals = inner.objects.iter().filter_map(|(name, body)| match paths::parse(name) {
            Ok(Some(ObjectName::Record(_, at))) if at.attempt == attempt => record::decode::<Entry>(body)
                .ok()
                .filter(|entry| matches!(entry.record, Record::Sealed { .. }))
                .map(|_| at.slot),
            _ => None,
        });
        seals.max()
    }

    /// Record, manifest and parts of the newest decision, as far as they are objects.
    pub(crate) fn objects_of_newest(&self) -> Vec<String> {
        self.lock().oracle.newest.as_ref().map(|(.., objects)| objects.clone()).unwrap_or_default()
    }

    /// From now on what the newest decision lists may be aborted.
    pub(crate) fn asks_for_rewind(&self) {
        self.lock().oracle.is_rewinding = true;
    }

    pub(crate) fn has_accepted_a_loss(&self) -> bool {
        !self.lock().oracle.accepted.is_empty()
    }

    /// Whether the target has thrown away, or a rewind has aborted, anything that was decided.
    pub(crate) fn has_lost_something(&self) -> bool {
        self.lock().oracle.pieces.values().any(|piece| piece.state == PieceState::Gone)
    }

    pub(crate) fn open_piece(&self, handle: &str, sink: &str, attempt: Attempt) {
        let piece = Piece { sink: sink.to_owned(), attempt, rows: Vec::new(), state: PieceState::Open };
        if self.lock().oracle.pieces.insert(handle.to_owned(), piece).is_some() {
            self.violation(format!("piece {handle} was opened twice"));
        }
    }

    /// `false`: somebody took it away, which only a later attempt may do.
    pub(crate) fn prepare_piece(&self, handle: &str, rows: Vec<Row>) -> bool {
        let mut inner = self.lock();
        let Some(piece) = inner.oracle.pieces.get_mut(handle) else { return false };
        piece.rows = rows;
        piece.state = PieceState::Prepared;
        true
    }

    pub(crate) fn look_at_piece(&self, handle: &str) -> PieceOutcome {
        match self.lock().oracle.pieces.get(handle).map(|piece| piece.state) {
            Some(PieceState::Committed) => PieceOutcome::Committed,
            Some(PieceState::Open | PieceState::Prepared) => PieceOutcome::Prepared,
            Some(PieceState::Gone) | None => PieceOutcome::Gone,
        }
    }

    /// Makes a piece visible: never before its decision is in the log.
    pub(crate) fn commit_piece(&self, handle: &str) -> PieceOutcome {
        let (is_decided, state) = {
            let oracle = &self.lock().oracle;
            (oracle.decided.contains(handle), oracle.pieces.get(handle).map(|piece| piece.state))
        };
        if !is_decided {
            self.violation(format!("undecided piece {handle} was committed"));
        }
        match state {
            Some(PieceState::Committed) => {
                self.see(Seen::CommittedAgain);
                PieceOutcome::Already
            }
            Some(PieceState::Prepared) => {
                self.see(Seen::Committed);
                self.note(&format!("committed {handle}"));
                self.set_piece(handle, PieceState::Committed);
                PieceOutcome::Committed
            }
            Some(PieceState::Gone) => PieceOutcome::Gone,
            Some(PieceState::Open) => {
                self.violation(format!("open piece {handle} was committed"));
                PieceOutcome::Gone
            }
            None => {
                self.violation(format!("decided piece {handle} is not there"));
                PieceOutcome::Gone
            }
        }
    }

    fn set_piece(&self, handle: &str, state: PieceState) {
        if let Some(piece) = self.lock().oracle.pieces.get_mut(handle) {
            piece.state = state;
        }
    }

    /// The target throws a prepared piece away, as one with a timeout does.
    pub(crate) fn lose_piece(&self, handle: &str) {
        self.note(&format!("lost {handle}"));
        self.set_piece(handle, PieceState::Gone);
    }

    /// Takes back what attempts below `before` left open: never anything that was decided.
    pub(crate) fn abort_pieces(&self, sink: &str, before: Attempt) -> u64 {
        let leftovers: Vec<(String, bool)> = {
            let oracle = &self.lock().oracle;
            let left = oracle.pieces.iter().filter(|(_, piece)| {
                let is_open = matches!(piece.state, PieceState::Open | PieceState::Prepared);
                piece.sink == sink && piece.attempt < before && is_open
            });
            left.map(|(handle, _)| (handle.clone(), oracle.decided.contains(handle))).collect()
        };
        for (handle, is_decided) in &leftovers {
            if *is_decided {
                self.violation(format!("decided piece {handle} was aborted"));
            }
            self.see(Seen::LeftoversAborted);
            self.note(&format!("aborted {handle}"));
            self.lock().oracle.pieces.remove(handle);
        }
        leftovers.len() as u64
    }

    /// Takes back a decided piece, which only a rewind of the newest decision may do. A visible one stays.
    pub(crate) fn take_back_piece(&self, handle: &str) {
        let (is_allowed, state) = {
            let oracle = &self.lock().oracle;
            let newest = oracle.newest.as_ref().and_then(|(_, decision, _)| oracle.decisions.get(decision));
            let is_listed = newest.is_some_and(|handles| handles.iter().any(|listed| listed == handle));
            (oracle.is_rewinding && is_listed, oracle.pieces.get(handle).map(|piece| piece.state))
        };
        if !matches!(state, Some(PieceState::Open | PieceState::Prepared)) {
            return;
        }
        if !is_allowed {
            self.violation(format!("piece {handle} was taken back without a rewind of its decision"));
        }
        self.note(&format!("took back {handle}"));
        self.set_piece(handle, PieceState::Gone);
    }

    /// Whoever stopped as it should leaves nothing of its own or before unsettled.
    pub(crate) fn judge_stop(&self, handle: &str) {
        let Some((_, _, at)) = paths::parse_handle(handle) else {
            return self.violation(format!("stopped at {handle}, which is no handle"));
        };
        self.lock().oracle.stopped = Some(handle.to_owned());
        let inner = self.lock();
        let before = inner.oracle.decisions.iter().filter(|(decision, _)| decision.attempt <= at.attempt);
        let open = before.flat_map(|(_, handles)| handles).find(|handle| {
            let piece = inner.oracle.pieces.get(*handle);
            piece.is_some_and(|piece| matches!(piece.state, PieceState::Open | PieceState::Prepared))
        });
        let open = open.cloned();
        drop(inner);
        if let Some(open) = open {
            self.violation(format!("stopped at {handle} with {open} decided and not committed"));
        }
    }

    /// Somebody goes on from a checkpoint.
    pub(crate) fn resumes(&self, handle: &str) {
        let is_resumed = self.lock().oracle.stopped.take_if(|stopped| stopped == handle).is_some();
        if is_resumed {
            self.see(Seen::ResumedAfterStop);
        }
    }

    /// All rows of a sink that are visible, or whose loss was accepted, sorted.
    pub(crate) fn accounted(&self, sink: &str) -> Vec<Row> {
        let oracle = &self.lock().oracle;
        let lost: BTreeSet<&String> =
            oracle.accepted.iter().filter_map(|decision| oracle.decisions.get(decision)).flatten().collect();
        let counts = |handle: &String, piece: &Piece| match piece.state {
            PieceState::Committed => true,
            PieceState::Gone => lost.contains(handle),
            PieceState::Open | PieceState::Prepared => false,
        };
        let of_sink = oracle.pieces.iter().filter(|(handle, piece)| piece.sink == sink && counts(handle, piece));
        let mut rows: Vec<Row> = of_sink.flat_map(|(_, piece)| piece.rows.iter().cloned()).collect();
        rows.sort_unstable();
        rows
    }
}
