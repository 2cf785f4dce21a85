//! Second half of a SESSION aggregation: joins stretches of time into sessions and fires a session once the watermark
//! has passed its last row by the gap.
//!
//! Partial results stay in the batches in which they came (immutable, so a snapshot is a list of them); an index by
//! key says which rows make up which session. They are merged when the session fires, or when too many have piled up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use checkpoint::ids::OperatorId;

use crate::dataflow::key_groups::Place;
use crate::element::{Batch, Timestamp};
use crate::operators::aggregate::{Aggregate, BATCH_ROWS, timestamps};
use crate::operators::exact::group_of;
use crate::operators::groups::Groups;
use crate::operators::windows::shift;
use crate::operators::{Emit, Operator, OperatorCounters, OperatorError};
use crate::state::runs::{RunId, RunSet, own_rows, read_watermark};
use crate::state::{OperatorRuns, Run};

/// Rows that may pile up beyond [`PILE`] times the number of sessions before they are merged.
const SLACK_ROWS: usize = 65_536;
const PILE: usize = 4;

type Key = Arc<[u8]>;

struct Stored {
    rows: RecordBatch,
    run: Option<RunId>,
    /// Rows that belong to a session that has not fired.
    live: usize,
}

struct Session {
    start: Timestamp,
    last: Timestamp,
    /// (batch, row) of its partial results.
    rows: Vec<(u64, u32)>,
}

/// Sessions by key, and their ends in order. Sessions of a key are at least the gap apart.
#[derive(Default)]
struct Index {
    by_key: HashMap<Key, Vec<Session>>,
    ends: BTreeSet<(Timestamp, Key)>,
}

impl Index {
    fn add(&mut self, key: &[u8], added: Session, gap: i64) {
        let key: Key = self.by_key.get_key_value(key).map_or_else(|| Key::from(key), |(key, _)| key.clone());
        let sessions = self.by_key.entry(key.clone()).or_default();
        let mut joined = added;
        let mut index = 0;
        while let Some(other) = sessions.get(index) {
            let apart =
                joined.start.saturating_sub(other.last) >= gap || other.start.saturating_sub(joined.last) >= gap;
            if apart {
                index += 1;
                continue;
            }
            let other = sessions.swap_remove(index);
            self.ends.remove(&(other.last.saturating_add(gap), key.clone()));
            joined.start = joined.start.min(other.start);
            joined.last = joined.last.max(other.last);
            // The longer list takes the shorter one in, so that a long session does not copy itself again and again.
            let (mut long, short) = if other.rows.len() > joined.rows.len() {
                (other.rows, joined.rows)
            } else {
                (joined.rows, other.rows)
            };
            long.extend(short);
            joined.rows = long;
            // A joined session may now touch others that were passed already.
            index = 0;
        }
        self.ends.insert((joined.last.saturating_add(gap), key));
        sessions.push(joined);
    }

    /// Takes the session that ends first out, if that is at or before `watermark`.
    fn pop(&mut self, watermark: Timestamp, gap: i64) -> Option<Session> {
        if self.ends.first()?.0 > watermark {
            return None;
        }
        let (end, key) = self.ends.pop_first()?;
        let sessions = self.by_key.get_mut(&key)?;
        let at = sessions.iter().position(|session| session.last.saturating_add(gap) == end)?;
        let session = sessions.swap_remove(at);
        if sessions.is_empty() {
            self.by_key.remove(&key);
        }
        Some(session)
    }
}

pub(crate) struct Sessions {
    spec: Arc<Aggregate>,
    place: Place,
    /// Sessions that end at or before it have fired.
    fired: Timestamp,
    index: Index,
    batches: BTreeMap<u64, Stored>,
    next_batch: u64,
    stored_rows: usize,
    converter: Option<RowConverter>,
    runs: RunSet,
    counters: OperatorCounters,
}

impl Sessions {
    pub(crate) fn new(spec: Arc<Aggregate>, place: Place) -> Result<Self, OperatorError> {
        let fields: Vec<SortField> =
            spec.key_fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = if fields.is_empty() {
            None
        } else {
            Some(RowConverter::new(fields).map_err(|error| spec.row_error(error.to_string()))?)
        };
        let counters = OperatorCounters::new(&spec.id.0);
        Ok(Self {
            spec,
            place,
            fired: Timestamp::MIN,
            index: Index::default(),
            batches: BTreeMap::new(),
            next_batch: 0,
            stored_rows: 0,
            converter,
            runs: RunSet::default(),
            counters,
        })
    }

    fn gap(&self) -> i64 {
        self.spec.window.size()
    }

    /// Indexes the rows of a batch that begin at or after `from`; returns how many others there are.
    fn add(&mut self, rows: RecordBatch, run: Option<RunId>, from: Timestamp) -> Result<usize, OperatorError> {
        let malformed = || self.spec.row_error("malformed partial result");
        let time = |column: usize| rows.columns().get(column)?.as_primitive_opt::<TimestampMicrosecondType>();
        let (Some(starts), Some(lasts)) = (time(0), time(1)) else { return Err(malformed()) };
        let keys = rows.columns().get(2..2 + self.spec.keys.len()).ok_or_else(malformed)?;
        let keys = match &self.converter {
            Some(converter) => {
                let keys = converter.convert_columns(keys).map_err(|error| self.spec.row_error(error.to_string()))?;
                Some(keys)
            }
            None => None,
        };
        let (id, gap) = (self.next_batch, self.gap());
        self.next_batch += 1;
        let mut live = 0;
        for (row, (start, last)) in starts.values().iter().zip(lasts.values()).enumerate() {
            if *start < from {
                continue;
            }
            live += 1;
            let key = keys.as_ref().map(|keys| keys.row(row));
            let key = key.as_ref().map_or(&[][..], AsRef::as_ref);
            self.index.add(key, Session { start: *start, last: *last, rows: vec![(id, row as u32)] }, gap);
        }
        let dropped = rows.num_rows() - live;
        if live > 0 {
            self.stored_rows += rows.num_rows();
            self.batches.insert(id, Stored { rows, run, live });
        }
        Ok(dropped)
    }

    /// Merged accumulators of these sessions, numbered in order, and their key columns.
    fn merge(&self, sessions: &[Session]) -> Result<(Groups, Vec<ArrayRef>), OperatorError> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut place_of: HashMap<u64, usize> = HashMap::new();
        let (mut rows, mut numbers, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, session) in sessions.iter().enumerate() {
            let before = rows.len();
            for (batch, row) in &session.rows {
                let Some(stored) = self.batches.get(batch) else {
                    return Err(self.spec.state_error("a session's rows are gone"));
                };
                let place = *place_of.entry(*batch).or_insert_with(|| {
                    batches.push(&stored.rows);
                    batches.len() - 1
                });
                rows.push((place, *row as usize));
                numbers.push(number);
            }
            firsts.extend(rows.get(before).copied());
        }
        let gather = |column: usize, rows: &[(usize, usize)]| -> Result<ArrayRef, OperatorError> {
            let columns: Vec<&dyn Array> =
                batches.iter().filter_map(|batch| batch.columns().get(column)).map(AsRef::as_ref).collect();
            interleave(&columns, rows).map_err(|error| self.spec.row_error(error.to_string()))
        };
        let first_state = 2 + self.spec.keys.len();
        let keys = (2..first_state).map(|column| gather(column, &firsts)).collect::<Result<Vec<_>, _>>()?;
        let last = self.spec.partial.fields().len();
        let states = (first_state..last).map(|column| gather(column, &rows)).collect::<Result<Vec<_>, _>>()?;
        let mut groups = Groups::new(&[], &self.spec.calls).map_err(|error| self.spec.failed(&error))?;
        groups.merge_numbered(&states, &numbers, sessions.len()).map_err(|error| self.spec.failed(&error))?;
        Ok((groups, keys))
    }

    fn forget(&mut self, sessions: &[Session]) {
        for (id, _) in sessions.iter().flat_map(|session| &session.rows) {
            let Some(stored) = self.batches.get_mut(id) else { continue };
            stored.live -= 1;
            if stored.live == 0 {
                self.stored_rows -= stored.rows.num_rows();
                self.batches.remove(id);
            }
        }
    }

    fn fire(&mut self, sessions: &[Session], emit: Emit<'_>) -> Result<(), OperatorError> {
        let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else { return Ok(()) };
        let (mut groups, keys) = self.merge(sessions)?;
        let end = |session: &Session| session.last.saturating_add(self.gap());
        let results = groups.take_results().map_err(|error| {
            let failed = group_of(&error).and_then(|session| sessions.get(session));
            let (first, last) = failed.map_or((first, last), |failed| (failed, failed));
            self.spec.failed_in(first.start, end(last), &keys, &error)
        })?;
        let starts = timestamps(sessions.iter().map(|session| session.start).collect());
        let ends = timestamps(sessions.iter().map(end).collect());
        let rows = self.spec.result_batch(&starts, &ends, &keys, results)?;
        self.counters.windows_fired += sessions.len() as u64;
        self.counters.records_out += sessions.len() as u64;
        self.forget(sessions);
        emit(Batch::from(rows))
    }

    /// Merges what has piled up: one row for each session.
    fn compact(&mut self) -> Result<(), OperatorError> {
        let gap = self.gap();
        let mut old = std::mem::take(&mut self.index);
        let mut merged = Vec::new();
        loop {
            let sessions: Vec<Session> = std::iter::from_fn(|| old.pop(Timestamp::MAX, gap)).take(BATCH_ROWS).collect();
            if sessions.is_empty() {
                break;
            }
            let (mut groups, keys) = self.merge(&sessions)?;
            let mut columns = vec![
                timestamps(sessions.iter().map(|session| session.start).collect()),
                timestamps(sessions.iter().map(|session| session.last).collect()),
            ];
            columns.extend(keys);
            columns.extend(groups.take_states().map_err(|error| self.spec.failed(&error))?);
            merged.push(self.spec.partial_batch(columns)?);
        }
        self.batches.clear();
        self.stored_rows = 0;
        for rows in merged {
            self.add(rows, None, Timestamp::MIN)?;
        }
        Ok(())
    }
}

impl Operator for Sessions {
    fn process(&mut self, batch: Batch, _emit: Emit<'_>) -> Result<(), OperatorError> {
        self.counters.records_in += batch.rows.num_rows() as u64;
        self.counters.late_dropped += self.add(batch.rows, None, self.fired)? as u64;
        if self.stored_rows > PILE * self.index.ends.len() + SLACK_ROWS { self.compact() } else { Ok(()) }
    }

    fn advance(&mut self, watermark: Timestamp, emit: Emit<'_>) -> Result<(), OperatorError> {
        let watermark = shift(watermark, self.spec.lag);
        let gap = self.gap();
        loop {
            let index = &mut self.index;
            let sessions: Vec<Session> = std::iter::from_fn(|| index.pop(watermark, gap)).take(BATCH_ROWS).collect();
            if sessions.is_empty() {
                break;
            }
            self.fire(&sessions, emit)?;
        }
        self.fired = self.fired.max(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorRuns>, OperatorError> {
        let used = self.batches.values().filter_map(|stored| stored.run).collect();
        self.runs.retain(&used);
        let young = self.runs.to_compact();
        let id = self.runs.next_id();
        let mut fresh = Vec::new();
        for stored in self.batches.values_mut() {
            if stored.run.is_none_or(|run| young.contains(&run)) {
                stored.run = Some(id);
                fresh.push(stored.rows.clone());
            }
        }
        let used = self.batches.values().filter_map(|stored| stored.run).collect();
        self.runs.retain(&used);
        self.runs.add(id, fresh);
        Ok(Some(OperatorRuns { operator: self.spec.id.clone(), runs: self.runs.snapshot(self.fired) }))
    }

    fn restore(&mut self, operator: &OperatorId, runs: Vec<Run>) -> Result<Option<Vec<Run>>, OperatorError> {
        if *operator != self.spec.id {
            return Ok(Some(runs));
        }
        let spec = self.spec.clone();
        let Some((first, rest)) = runs.split_first() else { return Ok(None) };
        let stored = read_watermark(first).map_err(|message| spec.state_error(message))?;
        // Keys of one stored subtask are in no other one, so what it had fired is taken out before they are joined.
        let others = std::mem::take(&mut self.index);
        for run in rest {
            let own = own_rows(run, &spec.partial, &spec.partial_keys(), self.place)
                .map_err(|message| spec.state_error(message))?;
            let id = (own.whole && !own.rows.is_empty()).then(|| self.runs.next_id());
            for rows in own.rows {
                self.add(rows, id, Timestamp::MIN)?;
            }
            if let Some(id) = id {
                self.runs.keep(id, run.clone());
            }
        }
        let (index, gap) = (&mut self.index, spec.window.size());
        let fired: Vec<Session> = std::iter::from_fn(|| index.pop(stored, gap)).collect();
        self.forget(&fired);
        self.index.by_key.extend(others.by_key);
        self.index.ends.extend(others.ends);
        self.fired = self.fired.max(stored);
        Ok(None)
    }

    fn counters(&self) -> Option<OperatorCounters> {
        let mut counters = self.counters.clone();
        counters.state_keys = self.index.ends.len() as u64;
        counters.state_bytes = self.batches.values().map(|stored| stored.rows.get_array_memory_size() as u64).sum();
        Some(counters)
    }
}
