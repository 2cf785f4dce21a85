//! Counts and times of the checkpoints of an attempt: for people; no decision depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::control::Acknowledgement;
use checkpoint::ids::Epoch;
use checkpoint::manifest::Manifest;
use checkpoint::recovery::Restored;

use crate::coordinator::manifests::{part_names, state_bytes, stored_parts};
use crate::coordinator::timing::Timing;

/// What is known of the checkpoint in flight and the one decided last.
pub(super) struct Ledger {
    pub(super) timing: Option<Timing>,
    /// Handed to the store, not decided.
    pub(super) written: Option<(Epoch, Arc<Manifest>)>,
    pub(super) decided: Arc<Manifest>,
    pub(super) decided_at: Duration,
    /// Between these the records were read that the newest decision makes visible: the barrier of the decision before
    /// (or the attempt's start) and its own.
    read: (Duration, Duration),
    /// Rows read since the log began, before this attempt.
    rows_in_before: u64,
    /// Rows read by each task at its last acknowledgement, by epoch.
    rows_in: Vec<(Epoch, u64)>,
    known_parts: BTreeSet<String>,
    /// Of the checkpoint in flight, when its manifest is an object of its own.
    pub(super) manifest_name: Option<String>,
    /// Of the newest decision.
    pub(super) handle: Option<String>,
    pub(super) last_failure: String,
    /// Committables of the newest decision that are not done, by sink.
    open: BTreeMap<String, u64>,
    declined: Option<String>,
}

/// What a decided checkpoint consists of.
pub(super) struct Size {
    pub(super) state_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) rows: u64,
}

impl Ledger {
    pub(super) fn new(restored: &Restored, handle: String, tasks: usize, now: Duration) -> Self {
        let decided = Arc::clone(&restored.manifest);
        Self {
            timing: None,
            written: None,
            decided_at: Duration::ZERO,
            read: (now, now),
            rows_in_before: decided.rows_in,
            rows_in: vec![(Epoch(0), 0); tasks],
            known_parts: part_names(&decided).collect(),
            manifest_name: None,
            handle: Some(handle),
            decided,
            last_failure: String::new(),
            open: BTreeMap::new(),
            declined: None,
        }
    }

    pub(super) fn begin(&mut self, epoch: Epoch, now: Duration) {
        self.timing = Some(Timing::begin(epoch, now));
        self.declined = None;
    }

    pub(super) fn acknowledged(&mut self, task: u32, acknowledgement: &Acknowledgement) {
        if let Some(timing) = self.timing.as_mut().filter(|timing| timing.epoch == acknowledgement.epoch) {
            timing.acknowledged(&acknowledgement.times);
            if let Some(rows_in) = self.rows_in.get_mut(task as usize) {
                *rows_in = (acknowledgement.epoch, acknowledgement.rows_in);
            }
        }
    }

    pub(super) fn declined(&mut self, reason: String) {
        self.declined = Some(reason);
    }

    /// The reason of a refusal, once.
    pub(super) fn take_declined(&mut self) -> Option<String> {
        self.declined.take()
    }

    /// Fills in what the protocol leaves to the driver.
    pub(super) fn count(&mut self, epoch: Epoch, manifest: &Manifest, now: Duration) -> Manifest {
        if let Some(timing) = &mut self.timing {
            timing.all_acknowledged(now);
        }
        let rows_in = self.rows_in_before + self.rows_in.iter().map(|(_, rows)| rows).sum::<u64>();
        let rows = manifest.committables.iter().map(|committable| committable.rows).sum::<u64>();
        let counted = Manifest { rows_in, rows_out: self.decided.rows_out + rows, ..manifest.clone() };
        self.written = Some((epoch, Arc::new(counted.clone())));
        counted
    }

    /// Takes the decided checkpoint over.
    pub(super) fn decided(&mut self, epoch: Epoch, now: Duration) -> Size {
        if let Some((_, manifest)) = self.written.take().filter(|(written, _)| *written == epoch) {
            self.decided = manifest;
        }
        self.decided_at = now;
        self.open = self.committables_by_sink().into_iter().map(|(sink, count)| (sink.to_owned(), count)).collect();
        let barrier = self.timing.as_ref().map_or(now, |timing| timing.begun);
        self.read = (self.read.1, barrier);
        let parts: BTreeMap<&str, u64> = stored_parts(&self.decided).collect();
        let stored: u64 = parts.values().sum();
        let new: u64 =
            parts.iter().filter(|(name, _)| !self.known_parts.contains(**name)).map(|(_, length)| length).sum();
        let state_bytes = state_bytes(&self.decided);
        let written_bytes = state_bytes.saturating_sub(stored) + new;
        self.known_parts = parts.into_keys().map(str::to_owned).collect();
        let rows = self.decided.committables.iter().map(|committable| committable.rows).sum();
        Size { state_bytes, written_bytes, rows }
    }

    /// One of them is done; whether it was its sink's last.
    pub(super) fn committed(&mut self, sink: &str) -> bool {
        let Some(open) = self.open.get_mut(sink) else { return false };
        *open = open.saturating_sub(1);
        let is_last = *open == 0;
        if is_last {
            self.open.remove(sink);
        }
        is_last
    }

    /// By sink, as they were decided.
    pub(super) fn owed(&self) -> BTreeMap<String, u64> {
        self.open.clone()
    }

    /// How long records of the newest decision have waited by `now`, from reading on: at most and at least.
    pub(super) fn waits(&self, now: Duration) -> [Duration; 2] {
        [self.read.0, self.read.1].map(|since| now.saturating_sub(since))
    }

    /// Committables of the decision by sink.
    pub(super) fn committables_by_sink(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for committable in &self.decided.committables {
            *counts.entry(committable.sink.as_str()).or_default() += 1;
        }
        counts
    }
}
