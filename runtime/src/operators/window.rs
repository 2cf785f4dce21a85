//! Second half of a TUMBLE or HOP aggregation, after the exchange: merges partial results and fires windows.
//!
//! State is a set of buckets (windows, or panes of HOP windows), each with live accumulators and sealed pieces of
//! earlier ones. A snapshot seals all live accumulators into one immutable run; runs are merged when windows fire.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use checkpoint::ids::OperatorId;

use super::aggregate::{Aggregate, constant, pieces};
use super::groups::Groups;
use super::windows::{Bucket, shift};
use super::{Emit, Operator, OperatorCounters, OperatorError};
use crate::dataflow::key_groups::Place;
use crate::element::{Batch, Timestamp};
use crate::state::runs::{RunId, RunSet, own_rows, read_watermark};
use crate::state::{OperatorRuns, Run};

/// A piece of a bucket that will not change any more. `run`: the run that holds it, once a snapshot was taken.
struct Sealed {
    rows: RecordBatch,
    run: Option<RunId>,
}

struct BucketState {
    /// Start of the first window that has not been fired with it.
    next: Timestamp,
    live: Option<Groups>,
    sealed: Vec<Sealed>,
}

impl BucketState {
    fn new(bucket: Bucket) -> Self {
        Self { next: bucket.since, live: None, sealed: Vec::new() }
    }
}

pub(crate) struct Window {
    spec: Arc<Aggregate>,
    place: Place,
    /// Windows that end at or before it have fired (in terms of the time column).
    fired: Timestamp,
    buckets: BTreeMap<Bucket, BucketState>,
    runs: RunSet,
    spare: Vec<Groups>,
    counters: OperatorCounters,
}

/// Emptied group tables that are kept for reuse.
const MAX_SPARE: usize = 2;

impl Window {
    pub(crate) fn new(spec: Arc<Aggregate>, place: Place) -> Self {
        let counters = OperatorCounters::new(&spec.id.0);
        Self {
            spec,
            place,
            fired: Timestamp::MIN,
            buckets: BTreeMap::new(),
            runs: RunSet::default(),
            spare: Vec::new(),
            counters,
        }
    }

    fn bucket_of(&self, rows: &RecordBatch, row: usize) -> Option<Bucket> {
        let value = |column: usize| {
            let column = rows.columns().get(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
            column.values().get(row).copied()
        };
        let start = value(0)?;
        let since = if self.spec.window.is_hop() { value(1)? } else { start };
        Some(Bucket { start, since })
    }

    /// Stretches of rows of one bucket: usually the whole batch, since the first half emits window by window.
    fn stretches(&self, rows: &RecordBatch) -> Result<Vec<(Bucket, RecordBatch)>, OperatorError> {
        let mut found: Vec<(Bucket, usize)> = Vec::new();
        for row in 0..rows.num_rows() {
            let bucket = self.bucket_of(rows, row).ok_or_else(|| self.spec.row_error("malformed partial result"))?;
            if found.last().is_none_or(|(last, _)| *last != bucket) {
                found.push((bucket, row));
            }
        }
        let ends = found.iter().skip(1).map(|(_, from)| *from).chain([rows.num_rows()]);
        Ok(found.iter().zip(ends).map(|((bucket, from), to)| (*bucket, rows.slice(*from, to - from))).collect())
    }

    /// The bucket with the windows that have fired taken off it; `None` if that is all of them.
    fn open_part(&self, bucket: Bucket) -> Option<Bucket> {
        let window = self.spec.window;
        if window.end(window.last_window(bucket.start)) <= self.fired {
            return None;
        }
        if !window.is_hop() || window.end(bucket.since) > self.fired {
            return Some(bucket);
        }
        Some(Bucket { start: bucket.start, since: window.first_open(self.fired).max(bucket.since) })
    }

    fn fresh(&mut self) -> Result<Groups, OperatorError> {
        self.spare.pop().map_or_else(|| self.spec.groups(), Ok)
    }

    fn merge(&self, groups: &mut Groups, rows: &RecordBatch) -> Result<(), OperatorError> {
        let columns = rows.columns().get(self.spec.bucket_columns()..).unwrap_or_default();
        groups.merge(columns, self.spec.keys.len()).map_err(|error| self.spec.failed(&error))
    }

    fn seal(spec: &Aggregate, bucket: Bucket, groups: &mut Groups) -> Result<Option<RecordBatch>, OperatorError> {
        let count = groups.len();
        if count == 0 {
            return Ok(None);
        }
        let mut columns = vec![constant(bucket.start, count)];
        if spec.window.is_hop() {
            columns.push(constant(bucket.since, count));
        }
        columns.extend(groups.take_states().map_err(|error| spec.failed(&error))?);
        spec.partial_batch(columns).map(Some)
    }

    /// Start of the next window to fire, if it ends at or before `watermark`.
    fn next_window(&self, watermark: Timestamp) -> Option<Timestamp> {
        let window = self.spec.window;
        let start = if window.is_hop() {
            self.buckets.values().map(|state| state.next).min()?
        } else {
            self.buckets.keys().next()?.start
        };
        (window.end(start) <= watermark).then_some(start)
    }

    /// Accumulators of everything that counts into the window; buckets that no later window needs are used up.
    fn gather(&mut self, start: Timestamp) -> Result<Groups, OperatorError> {
        let window = self.spec.window;
        let end = window.end(start);
        let members: Vec<Bucket> = if window.is_hop() {
            let range = Bucket { start, since: Timestamp::MIN }..Bucket { start: end, since: Timestamp::MIN };
            self.buckets.range(range).map(|(bucket, _)| *bucket).filter(|bucket| bucket.since <= start).collect()
        } else {
            vec![Bucket { start, since: start }]
        };
        let mut total: Option<Groups> = None;
        for bucket in members {
            if window.last_window(bucket.start) <= start {
                let Some(state) = self.buckets.remove(&bucket) else { continue };
                let mut pieces: Vec<RecordBatch> = state.sealed.into_iter().map(|sealed| sealed.rows).collect();
                match (&total, state.live) {
                    (None, Some(live)) => total = Some(live),
                    (_, Some(mut live)) => pieces.extend(Self::seal(&self.spec, bucket, &mut live)?),
                    (_, None) => {}
                }
                let mut groups = total.take().map_or_else(|| self.fresh(), Ok)?;
                pieces.iter().try_for_each(|piece| self.merge(&mut groups, piece))?;
                total = Some(groups);
            } else {
                let mut groups = total.take().map_or_else(|| self.fresh(), Ok)?;
                if let Some(state) = self.buckets.get_mut(&bucket) {
                    state.next = window.after(start);
                    let sealed = match &mut state.live {
                        Some(live) => Self::seal(&self.spec, bucket, live)?,
                        None => None,
                    };
                    state.sealed.extend(sealed.map(|rows| Sealed { rows, run: None }));
                }
                let sealed = self.buckets.get(&bucket).map(|state| state.sealed.as_slice()).unwrap_or_default();
                sealed.iter().try_for_each(|piece| self.merge(&mut groups, &piece.rows))?;
                total = Some(groups);
            }
        }
        total.map_or_else(|| self.fresh(), Ok)
    }

    fn fire(&mut self, start: Timestamp, emit: Emit<'_>) -> Result<(), OperatorError> {
        let end = self.spec.window.end(start);
        let mut groups = self.gather(start)?;
        self.fired = self.fired.max(end);
        let count = groups.len();
        if count == 0 {
            return Ok(());
        }
        let keys = groups.take_keys().map_err(|error| self.spec.failed(&error))?;
        let results = groups.take_results().map_err(|error| self.spec.failed_in(start, end, &keys, &error))?;
        if self.spare.len() < MAX_SPARE {
            self.spare.push(groups);
        }
        let rows = self.spec.result_batch(&constant(start, count), &constant(end, count), &keys, results)?;
        self.counters.windows_fired += 1;
        self.counters.records_out += count as u64;
        // A result cannot be late: it comes before the watermark that fired its window.
        pieces(&rows).try_for_each(|rows| emit(Batch::from(rows)))
    }

    fn forget_unused_runs(&mut self) {
        let used = self.buckets.values().flat_map(|state| &state.sealed).filter_map(|piece| piece.run).collect();
        self.runs.retain(&used);
    }

    /// Takes sealed pieces of young runs back into live accumulators, so that the next seal writes them as one run.
    fn compact(&mut self) -> Result<(), OperatorError> {
        let young = self.runs.to_compact();
        if young.is_empty() {
            return Ok(());
        }
        for bucket in self.buckets.keys().copied().collect::<Vec<_>>() {
            let Some(state) = self.buckets.get_mut(&bucket) else { continue };
            let sealed = std::mem::take(&mut state.sealed);
            let (back, kept): (Vec<_>, Vec<_>) =
                sealed.into_iter().partition(|piece| piece.run.is_none_or(|run| young.contains(&run)));
            state.sealed = kept;
            if back.is_empty() {
                continue;
            }
            let live = state.live.take();
            let mut groups = live.map_or_else(|| self.fresh(), Ok)?;
            back.iter().try_for_each(|piece| self.merge(&mut groups, &piece.rows))?;
            if let Some(state) = self.buckets.get_mut(&bucket) {
                state.live = Some(groups);
            }
        }
        Ok(())
    }
}

impl Operator for Window {
    fn process(&mut self, batch: Batch, _emit: Emit<'_>) -> Result<(), OperatorError> {
        self.counters.records_in += batch.rows.num_rows() as u64;
        for (bucket, rows) in self.stretches(&batch.rows)? {
            let Some(bucket) = self.open_part(bucket) else {
                self.counters.late_dropped += rows.num_rows() as u64;
                continue;
            };
            let live = self.buckets.get_mut(&bucket).and_then(|state| state.live.take());
            let mut groups = live.map_or_else(|| self.fresh(), Ok)?;
            self.merge(&mut groups, &rows)?;
            self.buckets.entry(bucket).or_insert_with(|| BucketState::new(bucket)).live = Some(groups);
        }
        Ok(())
    }

    fn advance(&mut self, watermark: Timestamp, emit: Emit<'_>) -> Result<(), OperatorError> {
        let watermark = shift(watermark, self.spec.lag);
        // Restored buckets may be of windows that another subtask had fired already: these fire first.
        while let Some(start) = self.next_window(watermark) {
            self.fire(start, emit)?;
        }
        self.fired = self.fired.max(watermark);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<OperatorRuns>, OperatorError> {
        self.forget_unused_runs();
        self.compact()?;
        self.forget_unused_runs();
        let id = self.runs.next_id();
        let mut fresh = Vec::new();
        for (bucket, state) in &mut self.buckets {
            if let Some(live) = &mut state.live {
                state.sealed.extend(Self::seal(&self.spec, *bucket, live)?.map(|rows| Sealed { rows, run: None }));
            }
            if let Some(groups) = state.live.take()
                && self.spare.len() < MAX_SPARE
            {
                self.spare.push(groups);
            }
            for piece in state.sealed.iter_mut().filter(|piece| piece.run.is_none()) {
                piece.run = Some(id);
                fresh.push(piece.rows.clone());
            }
        }
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
        let mine = std::mem::replace(&mut self.fired, stored);
        for run in rest {
            let own = own_rows(run, &spec.partial, &spec.partial_keys(), self.place)
                .map_err(|message| spec.state_error(message))?;
            let id = own.whole.then(|| self.runs.next_id());
            let mut used = false;
            for rows in &own.rows {
                for (bucket, rows) in self.stretches(rows)? {
                    if let Some(bucket) = self.open_part(bucket) {
                        used = true;
                        let state = self.buckets.entry(bucket).or_insert_with(|| BucketState::new(bucket));
                        state.sealed.push(Sealed { rows, run: id });
                    }
                }
            }
            if let (Some(id), true) = (id, used) {
                self.runs.keep(id, run.clone());
            }
        }
        self.fired = self.fired.max(mine);
        Ok(None)
    }

    fn counters(&self) -> Option<OperatorCounters> {
        let mut counters = self.counters.clone();
        for state in self.buckets.values() {
            let sealed = state.sealed.iter().map(|piece| piece.rows.num_rows()).sum::<usize>();
            let bytes = state.sealed.iter().map(|piece| piece.rows.get_array_memory_size()).sum::<usize>();
            counters.state_keys += (state.live.as_ref().map_or(0, Groups::len) + sealed) as u64;
            counters.state_bytes += (state.live.as_ref().map_or(0, Groups::size) + bytes) as u64;
        }
        Some(counters)
    }
}
