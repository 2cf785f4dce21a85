//! Records that are visible as they are written: at least once. A checkpoint waits until the brokers have all of them, so
//! none is lost; what was written after the newest checkpoint is written again after a failure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use checkpoint::ids::Epoch;

use super::Target;
use super::handle::{Handle, Offered};
use super::rows::{Records, RowEncoder};
use crate::connectors::{PreCommit, SinkCounters, SinkError, SinkWriter};
use crate::worker::StopSignal;

const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct PlainWriter {
    target: Arc<Target>,
    encoder: RowEncoder,
    handle: Arc<Handle>,
    stop: StopSignal,
    /// Records without room, and how many of them are gone.
    held: VecDeque<(Records, usize)>,
    /// A checkpoint waits for what was offered: nothing is added meanwhile.
    is_flushing: Arc<AtomicBool>,
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
            is_flushing: Arc::default(),
            counters: SinkCounters::default(),
        }
    }

    fn offer(&mut self) -> Result<(), SinkError> {
        if self.is_flushing.load(Ordering::Acquire) {
            return Ok(());
        }
        while let Some((records, offered)) = self.held.front_mut() {
            while *offered < records.len() {
                let (key, value) = records.get(*offered);
                match self.handle.offer(&self.target.topic, key, value) {
                    Ok(Offered::Taken) => *offered += 1,
                    Ok(Offered::Full) => return Ok(()),
                    Err(failed) => return Err(self.target.refused(&failed)),
                }
            }
            self.held.pop_front();
        }
        Ok(())
    }
}

impl SinkWriter for PlainWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        let records = self.target.encode(&self.encoder, rows)?;
        self.counters.records += records.len() as u64;
        self.counters.bytes += records.bytes() as u64;
        self.held.push_back((records, 0));
        self.offer()
    }

    fn room(&mut self) -> Result<Option<Duration>, SinkError> {
        self.handle.poll(Duration::ZERO).map_err(|failed| self.target.rejected(&failed, None))?;
        self.offer()?;
        Ok((!self.held.is_empty()).then_some(PAUSE))
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        self.is_flushing.store(true, Ordering::Release);
        let (target, handle) = (Arc::clone(&self.target), Arc::clone(&self.handle));
        let (stop, is_flushing) = (self.stop.clone(), Arc::clone(&self.is_flushing));
        Ok(Box::new(move || {
            target.flush(&handle, epoch, &stop)?;
            is_flushing.store(false, Ordering::Release);
            Ok(Vec::new())
        }))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
}
