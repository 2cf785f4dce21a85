//! Records that are visible as they are written: at least once. A checkpoint waits until the brokers have all of them, so
//! none is lost; what was written after the newest checkpoint is written again after a failure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use checkpoint::ids::Epoch;

use super::Target;
use super::handle::Handle;
use super::rows::{Records, RowEncoder};
use crate::connectors::{PreCommit, SinkCounters, SinkError, SinkWriter};
use crate::element::Batch;
use crate::origin::Origin;
use crate::worker::StopSignal;

const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct PlainWriter {
    target: Arc<Target>,
    encoder: RowEncoder,
    handle: Arc<Handle>,
    stop: StopSignal,
    /// Records without room, and how many of them are gone.
    held: VecDeque<(Records, Option<Origin>, usize)>,
    /// Checkpoints that wait for what was offered: nothing is added meanwhile.
    flushing: Arc<AtomicUsize>,
    counters: SinkCounters,
}

impl PlainWriter {
    pub(super) fn new(target: Arc<Target>, encoder: RowEncoder, handle: Handle, stop: StopSignal) -> Self {
        Self {
            target,
            encoder,
            handle: Arc::new(handle),
            stop,
            held: VecDeque::new(),
            flushing: Arc::default(),
            counters: SinkCounters::default(),
        }
    }

    fn offer(&mut self) -> Result<(), SinkError> {
        if self.flushing.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        while let Some((records, origin, offered)) = self.held.front_mut() {
            let taken = self.handle.offer(&self.target.topic, records, origin.as_ref(), *offered);
            *offered += taken.map_err(|failed| self.target.unoffered(&self.handle, &failed))?;
            if *offered < records.len() {
                return Ok(());
            }
            self.held.pop_front();
        }
        Ok(())
    }
}

impl SinkWriter for PlainWriter {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let records = self.target.encode(&self.encoder, &batch.rows)?;
        self.counters.records += records.len() as u64;
        self.counters.bytes += records.bytes() as u64;
        self.held.push_back((records, batch.origin.clone(), 0));
        self.offer()
    }

    fn room(&mut self) -> Result<Option<Duration>, SinkError> {
        self.handle.poll(Duration::ZERO).map_err(|failed| self.target.rejected(&failed, None))?;
        self.offer()?;
        Ok((!self.held.is_empty()).then_some(PAUSE))
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        self.flushing.fetch_add(1, Ordering::AcqRel);
        let (target, handle) = (Arc::clone(&self.target), Arc::clone(&self.handle));
        let (stop, flushing) = (self.stop.clone(), Arc::clone(&self.flushing));
        Ok(Box::new(move || {
            target.flush(&handle, epoch, &stop)?;
            flushing.fetch_sub(1, Ordering::AcqRel);
            Ok(Vec::new())
        }))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
}
