//! What all processes of a simulation share and what judges them: objects, target, faults, and the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::{Attempt, Slot};
use checkpoint::manifest::Manifest;
use checkpoint::paths::{self, ObjectName};
use checkpoint::record::{self, Entry, ManifestRef, Position, Record};

/// Kinds of faults. Each must have happened over all seeds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    StoreErrorBefore,
    StoreLostReply,
    StoreLateWrite,
    StoreSlow,
    SlowUpload,
    SourceFailure,
    SinkWriteFailure,
    PreCommitFailure,
    CommitErrorBefore,
    CommitLostReply,
    Kill,
    Zombie,
    Rival,
    Rescale,
}

pub(crate) const FAULTS: [Fault; 14] = [
    Fault::StoreErrorBefore,
    Fault::StoreLostReply,
    Fault::StoreLateWrite,
    Fault::StoreSlow,
    Fault::SlowUpload,
    Fault::SourceFailure,
    Fault::SinkWriteFailure,
    Fault::PreCommitFailure,
    Fault::CommitErrorBefore,
    Fault::CommitLostReply,
    Fault::Kill,
    Fault::Zombie,
    Fault::Rival,
    Fault::Rescale,
];

/// Things that must have been seen to happen, or the faults were toothless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Seen {
    Claimed,
    Restored,
    CheckpointCompleted,
    CheckpointFailed,
    CommitRetried,
    Committed,
    CommittedAgain,
    LeftoversAborted,
    Fenced,
    AttemptFailed,
    PartStored,
}

pub(crate) const SEEN: [Seen; 11] = [
    Seen::Claimed,
    Seen::Restored,
    Seen::CheckpointCompleted,
    Seen::CheckpointFailed,
    Seen::CommitRetried,
    Seen::Committed,
    Seen::CommittedAgain,
    Seen::LeftoversAborted,
    Seen::Fenced,
    Seen::AttemptFailed,
    Seen::PartStored,
];

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) seen: BTreeMap<Seen, u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (seen, count) in &other.seen {
            *self.seen.entry(*seen).or_default() += count;
        }
    }
}

/// A row as it leaves: all columns as numbers.
pub(crate) type Row = Vec<i64>;

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
}

/// What a target says to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceOutcome {
    Committed,
    Already,
    Gone,
}

pub(crate) struct World {
    inner: Mutex<Inner>,
    verbose: bool,
}

struct Inner {
    random: u64,
    now: Duration,
    /// Chance of each fault in ten thousand; empty while the world heals.
    weather: BTreeMap<Fault, u64>,
    counts: Counts,
    trace: DefaultHasher,
    objects: BTreeMap<String, Bytes>,
    late: Vec<(Duration, String, Bytes)>,
    pieces: BTreeMap<String, Piece>,
    /// Handles that a `Completed` record in the log lists.
    decided: BTreeSet<String>,
    violations: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, verbose: bool) -> Self {
        let inner = Inner {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6f6e_6365,
            now: Duration::ZERO,
            weather: BTreeMap::new(),
            counts: Counts::default(),
            trace: DefaultHasher::new(),
            objects: BTreeMap::new(),
            late: Vec::new(),
            pieces: BTreeMap::new(),
            decided: BTreeSet::new(),
            violations: Vec::new(),
        };
        Self { inner: Mutex::new(inner), verbose }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.lock().below(bound)
    }

    pub(crate) fn set_weather(&self, weather: BTreeMap<Fault, u64>) {
        self.lock().weather = weather;
    }

    /// Whether this fault happens now; counted when it does.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let mut inner = self.lock();
        let chance = inner.weather.get(&fault).copied().unwrap_or(0);
        let strikes = chance > 0 && inner.below(10_000) < chance;
        drop(inner);
        if strikes {
            self.inflict(fault);
        }
        strikes
    }

    pub(crate) fn inflict(&self, fault: Fault) {
        *self.lock().counts.faults.entry(fault).or_default() += 1;
        self.note(&format!("fault {fault:?}"));
    }

    pub(crate) fn see(&self, seen: Seen) {
        *self.lock().counts.seen.entry(seen).or_default() += 1;
    }

    /// Adds to the trace: two runs of a seed must note the same things in the same order.
    pub(crate) fn note(&self, what: &str) {
        let mut inner = self.lock();
        what.hash(&mut inner.trace);
        if self.verbose {
            println!("{:>8.3} {what}", inner.now.as_secs_f64());
        }
    }

    pub(crate) fn violation(&self, what: String) {
        self.note(&what);
        self.lock().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.lock().trace.finish()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Time passes; writes that were on their way arrive, whoever sent them.
    pub(crate) fn pass(&self, time: Duration) {
        let due: Vec<_> = {
            let mut inner = self.lock();
            inner.now += time;
            let now = inner.now;
            let (due, late) = std::mem::take(&mut inner.late).into_iter().partition(|(at, ..)| *at <= now);
            inner.late = late;
            due
        };
        for (_, name, body) in due {
            self.note(&format!("late write of {name}"));
            self.create(&name, &body);
        }
    }

    pub(crate) fn send_late(&self, name: &str, body: &Bytes) {
        let mut inner = self.lock();
        let at = inner.now + Duration::from_millis(inner.below(3_000));
        inner.late.push((at, name.to_owned(), body.clone()));
    }

    /// Creates if absent; judges records as they enter the log.
    pub(crate) fn create(&self, name: &str, body: &Bytes) -> bool {
        let parsed = match paths::parse(name) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.violation(format!("a name that is none: {error}"));
                None
            }
        };
        if self.lock().objects.contains_key(name) {
            return false;
        }
        match parsed {
            Some(ObjectName::Record(_, at)) => self.judge_record(name, at, body),
            Some(ObjectName::Part(..)) => self.see(Seen::PartStored),
            Some(ObjectName::Claim(..) | ObjectName::Manifest(..)) | None => {}
        }
        self.note(&format!("created {name}"));
        self.lock().objects.insert(name.to_owned(), body.clone());
        true
    }

    pub(crate) fn read(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        self.lock().objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.note(&format!("deleted {name}"));
        self.lock().objects.remove(name);
    }

    /// A fenced attempt never appends; a decision lists what may become visible.
    fn judge_record(&self, name: &str, at: Position, body: &Bytes) {
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
                let manifest = match &completed.manifest {
                    ManifestRef::Inline(manifest) => Some(manifest.as_ref().clone()),
                    ManifestRef::Stored { name, .. } => {
                        self.read(name).and_then(|body| record::decode::<Manifest>(&body).ok())
                    }
                };
                let Some(manifest) = manifest else {
                    return self.violation(format!("{name} decides a manifest that is not there"));
                };
                for committable in &manifest.committables {
                    self.lock().decided.insert(committable.handle.clone());
                }
            }
            Record::Settled(_) | Record::Released(_) | Record::Sealed { .. } => {}
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

    pub(crate) fn open_piece(&self, handle: &str, sink: &str, attempt: Attempt) {
        let piece = Piece { sink: sink.to_owned(), attempt, rows: Vec::new(), state: PieceState::Open };
        if self.lock().pieces.insert(handle.to_owned(), piece).is_some() {
            self.violation(format!("piece {handle} was opened twice"));
        }
    }

    /// `false`: somebody took it away, which only a later attempt may do.
    pub(crate) fn prepare_piece(&self, handle: &str, rows: Vec<Row>) -> bool {
        let mut inner = self.lock();
        let Some(piece) = inner.pieces.get_mut(handle) else { return false };
        piece.rows = rows;
        piece.state = PieceState::Prepared;
        true
    }

    pub(crate) fn piece_is(&self, handle: &str) -> Option<bool> {
        self.lock().pieces.get(handle).map(|piece| piece.state == PieceState::Committed)
    }

    /// Makes a piece visible: never before its decision is in the log.
    pub(crate) fn commit_piece(&self, handle: &str) -> PieceOutcome {
        let (is_decided, state) = {
            let inner = self.lock();
            (inner.decided.contains(handle), inner.pieces.get(handle).map(|piece| piece.state))
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
                if let Some(piece) = self.lock().pieces.get_mut(handle) {
                    piece.state = PieceState::Committed;
                }
                PieceOutcome::Committed
            }
            Some(PieceState::Open) => {
                self.violation(format!("open piece {handle} was committed"));
                PieceOutcome::Gone
            }
            None => {
                self.violation(format!("decided piece {handle} is gone"));
                PieceOutcome::Gone
            }
        }
    }

    /// Takes back what attempts below `before` left open: never anything that was decided.
    pub(crate) fn abort_pieces(&self, sink: &str, before: Attempt) -> u64 {
        let leftovers: Vec<String> = {
            let inner = self.lock();
            let left = inner.pieces.iter().filter(|(_, piece)| {
                piece.sink == sink && piece.attempt < before && piece.state != PieceState::Committed
            });
            left.map(|(handle, _)| handle.clone()).collect()
        };
        for handle in &leftovers {
            self.abort_piece(handle);
        }
        leftovers.len() as u64
    }

    pub(crate) fn abort_piece(&self, handle: &str) {
        if self.lock().decided.contains(handle) {
            self.violation(format!("decided piece {handle} was aborted"));
        }
        self.see(Seen::LeftoversAborted);
        self.note(&format!("aborted {handle}"));
        self.lock().pieces.remove(handle);
    }

    /// All visible rows of a sink, sorted.
    pub(crate) fn visible(&self, sink: &str) -> Vec<Row> {
        let inner = self.lock();
        let committed =
            inner.pieces.values().filter(|piece| piece.sink == sink && piece.state == PieceState::Committed);
        let mut rows: Vec<Row> = committed.flat_map(|piece| piece.rows.iter().cloned()).collect();
        rows.sort_unstable();
        rows
    }
}

impl Inner {
    /// splitmix64 (Steele, Lea, Flood, 2014), reduced by multiplication.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}
