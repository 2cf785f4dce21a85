//! First half of a windowed GROUP BY, before the exchange: rows of one window and key become one partial result.
//! It judges lateness (by the split's watermark, which travels with the batch) and holds nothing across a barrier.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;

use super::aggregate::{Aggregate, constant, pieces};
use super::groups::{Groups, Inputs};
use super::windows::{Bucket, Late, shift};
use super::{Emit, Operator, OperatorCounters, OperatorError};
use crate::element::{Batch, Timestamp};

/// Groups held before everything is emitted: bounds memory, and 64 Ki groups still fit a second-level cache.
const MAX_GROUPS: usize = 65_536;
/// Windows held before everything is emitted.
const MAX_WINDOWS: usize = 1_024;
/// Stretches of rows of one window in a batch up to which they are sliced, not gathered.
const MAX_STRETCHES: usize = 8;
/// Emptied group tables that are kept for reuse.
const MAX_SPARE: usize = 4;

pub(crate) struct Preaggregate {
    spec: Arc<Aggregate>,
    open: BTreeMap<Bucket, Groups>,
    spare: Vec<Groups>,
    counters: OperatorCounters,
}

impl Preaggregate {
    pub(crate) fn new(spec: Arc<Aggregate>) -> Self {
        let counters = OperatorCounters::new(&format!("{}/pre", spec.id));
        Self { spec, open: BTreeMap::new(), spare: Vec::new(), counters }
    }

    /// Counts `inputs`, all of the pane that starts at `pane_start`, in.
    fn add(&mut self, pane_start: Timestamp, late: Timestamp, inputs: &Inputs) -> Result<(), OperatorError> {
        let bucket = match self.spec.window.bucket(pane_start, late) {
            Ok(Some(bucket)) => bucket,
            Ok(None) => return Ok(()),
            Err(Late) => {
                self.counters.late_dropped += inputs.rows as u64;
                return Ok(());
            }
        };
        if self.spec.window.is_hop() && bucket.since > self.spec.window.first_window(pane_start) {
            // Late for some of its windows: counted once, and still part of the others.
            self.counters.late_dropped += inputs.rows as u64;
        }
        let groups = match self.open.entry(bucket) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => match self.spare.pop() {
                Some(groups) => entry.insert(groups),
                None => entry.insert(self.spec.groups()?),
            },
        };
        groups.update(inputs).map_err(|error| self.spec.failed(&error))
    }

    fn add_mixed(&mut self, times: &[i64], late: Timestamp, inputs: &Inputs) -> Result<(), OperatorError> {
        let window = self.spec.window;
        let mut stretches: Vec<(Timestamp, usize)> = Vec::new();
        for (row, time) in times.iter().enumerate() {
            let start = window.pane_start(*time);
            if stretches.last().is_none_or(|(last, _)| *last != start) {
                stretches.push((start, row));
            }
        }
        if stretches.len() <= MAX_STRETCHES {
            for (index, (start, from)) in stretches.iter().enumerate() {
                let to = stretches.get(index + 1).map_or(times.len(), |(_, to)| *to);
                self.add(*start, late, &inputs.slice(*from, to - from))?;
            }
            return Ok(());
        }
        let mut rows: BTreeMap<Timestamp, Vec<u32>> = BTreeMap::new();
        for (index, (start, from)) in stretches.iter().enumerate() {
            let to = stretches.get(index + 1).map_or(times.len(), |(_, to)| *to);
            rows.entry(*start).or_default().extend(*from as u32..to as u32);
        }
        for (start, rows) in rows {
            let taken = inputs.take(&UInt32Array::from(rows)).map_err(|error| self.spec.failed(&error))?;
            self.add(start, late, &taken)?;
        }
        Ok(())
    }

    fn emit_bucket(&mut self, bucket: Bucket, mut groups: Groups, emit: Emit<'_>) -> Result<(), OperatorError> {
        let count = groups.len();
        if count == 0 {
            return Ok(());
        }
        let mut columns = vec![constant(bucket.start, count)];
        if self.spec.window.is_hop() {
            columns.push(constant(bucket.since, count));
        }
        columns.extend(groups.take_states().map_err(|error| self.spec.failed(&error))?);
        if self.spare.len() < MAX_SPARE {
            self.spare.push(groups);
        }
        self.counters.records_out += count as u64;
        let rows = self.spec.partial_batch(columns)?;
        pieces(&rows).try_for_each(|rows| emit(Batch::from(rows)))
    }

    fn emit_all(&mut self, emit: Emit<'_>) -> Result<(), OperatorError> {
        while let Some((bucket, groups)) = self.open.pop_first() {
            self.emit_bucket(bucket, groups, emit)?;
        }
        Ok(())
    }
}

impl Operator for Preaggregate {
    fn process(&mut self, batch: Batch, emit: Emit<'_>) -> Result<(), OperatorError> {
        let spec = self.spec.clone();
        let times = spec.times(&batch.rows)?;
        if times.is_empty() {
            return Ok(());
        }
        let (min, max) = times.iter().fold((i64::MAX, i64::MIN), |(min, max), time| (min.min(*time), max.max(*time)));
        self.counters.records_in += times.len() as u64;
        let late = shift(batch.late_before, spec.lag);
        let inputs = spec.evaluate(&batch.rows)?;
        let first = spec.window.pane_start(min);
        if first == spec.window.pane_start(max) {
            self.add(first, late, &inputs)?;
        } else {
            self.add_mixed(times, late, &inputs)?;
        }
        let groups: usize = self.open.values().map(Groups::len).sum();
        if groups > MAX_GROUPS || self.open.len() > MAX_WINDOWS { self.emit_all(emit) } else { Ok(()) }
    }

    /// What the next operator must have before it may fire windows at `watermark`.
    fn advance(&mut self, watermark: Timestamp, emit: Emit<'_>) -> Result<(), OperatorError> {
        let watermark = shift(watermark, self.spec.lag);
        let window = self.spec.window;
        let ready: Vec<Bucket> =
            self.open.keys().copied().filter(|bucket| window.end(bucket.since) <= watermark).collect();
        for bucket in ready {
            if let Some(groups) = self.open.remove(&bucket) {
                self.emit_bucket(bucket, groups, emit)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, emit: Emit<'_>) -> Result<(), OperatorError> {
        self.emit_all(emit)
    }

    fn counters(&self) -> Option<OperatorCounters> {
        Some(self.counters.clone())
    }
}
