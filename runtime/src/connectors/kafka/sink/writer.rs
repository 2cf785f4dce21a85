//! Rows of one subtask into one open transaction after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use checkpoint::ids::Epoch;
use tokio::runtime;

use super::Target;
use super::handle::Handle;
use super::rows::{Records, RowEncoder};
use super::seal::Sealing;
use super::warm::Warm;
use crate::connectors::{PreCommit, SinkCounters, SinkError, SinkWriter, WriterContext};
use crate::element::Batch;
use crate::origin::Origin;

/// How long to wait for room in librdkafka's queue, or for a handle.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a barrier holds the data path up so that what waits for company is sent.
const URGED: Duration = Duration::from_millis(1);

pub(super) struct KafkaWriter {
    target: Arc<Target>,
    context: WriterContext,
    encoder: RowEncoder,
    warm: Warm,
    open: Option<Open>,
    /// The transaction that was sealed last, for as long as brokers may not have all of it.
    sealed: Weak<Open>,
    /// Records without room, oldest first: what one input element produced at most.
    held: VecDeque<Held>,
    counters: SinkCounters,
}

/// A transaction that takes records.
pub(super) struct Open {
    pub(super) handle: Handle,
    /// On the attempt's clock, taken before the first record was offered.
    pub(super) start: Option<Duration>,
    pub(super) records: u64,
}

struct Held {
    records: Records,
    origin: Option<Origin>,
    /// Records of it that are gone.
    offered: usize,
}

impl KafkaWriter {
    pub(super) fn new(target: Arc<Target>, context: WriterContext, encoder: RowEncoder, warm: Warm) -> Self {
        let counters = SinkCounters::default();
        Self { target, context, encoder, warm, open: None, sealed: Weak::new(), held: VecDeque::new(), counters }
    }

    /// Another producer's records could overtake those that are still on their way, and keys would lose their order: a
    /// broker that comes back hears first of whoever asks first (docs/decisions/0205).
    fn is_overtaking(&mut self) -> Result<bool, SinkError> {
        let Some(sealed) = self.sealed.upgrade() else { return Ok(false) };
        sealed.handle.poll(Duration::ZERO).map_err(|failed| self.target.rejected(&failed, None))?;
        if sealed.handle.in_flight() > 0 {
            return Ok(true);
        }
        self.sealed = Weak::new();
        Ok(false)
    }

    /// Offers what is held, until there is no room.
    fn offer(&mut self) -> Result<(), SinkError> {
        if self.held.is_empty() || self.is_overtaking()? {
            return Ok(());
        }
        while let Some(held) = self.held.front_mut() {
            if self.open.is_none() {
                self.open = self.warm.take().map(|handle| Open { handle, start: None, records: 0 });
            }
            let Some(open) = &mut self.open else { return Ok(()) };
            let start = *open.start.get_or_insert_with(|| self.context.clock.monotonic());
            open.start = Some(start);
            let Held { records, origin, offered } = held;
            let taken = open.handle.offer(&self.target.topic, records, origin.as_ref(), *offered);
            let taken = taken.map_err(|failed| self.target.unoffered(&open.handle, &failed))?;
            *offered += taken;
            open.records += taken as u64;
            if *offered < records.len() {
                return Ok(());
            }
            self.held.pop_front();
        }
        Ok(())
    }

    fn poll_warm(&mut self) -> Result<(), SinkError> {
        let committed = *self.context.committed.borrow();
        let now = self.context.clock.monotonic();
        let polled = self.warm.poll(now, committed);
        self.counters.errors = self.warm.errors;
        polled.map_err(|failed| self.target.failed(&failed))
    }
}

impl SinkWriter for KafkaWriter {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let records = self.target.encode(&self.encoder, &batch.rows)?;
        self.counters.records += records.len() as u64;
        self.counters.bytes += records.bytes() as u64;
        self.held.push_back(Held { records, origin: batch.origin.clone(), offered: 0 });
        self.offer()
    }

    fn room(&mut self) -> Result<Option<Duration>, SinkError> {
        self.poll_warm()?;
        if let Some(open) = &self.open {
            open.handle.poll(Duration::ZERO).map_err(|failed| self.target.rejected(&failed, None))?;
        }
        self.offer()?;
        Ok((!self.held.is_empty()).then_some(PAUSE))
    }

    fn declines(&mut self) -> Option<String> {
        let written = self.open.as_ref().is_some_and(|open| open.records > 0);
        (written && !self.warm.has_next())
            .then(|| "every transactional id of this writer waits for the commits of an earlier checkpoint".to_owned())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        // A transaction without records goes on: the broker has not heard of it.
        let Some(open) = self.open.take_if(|open| open.records > 0) else { return Ok(Box::new(|| Ok(Vec::new()))) };
        self.warm.slots.seal(open.handle.slot, epoch, open.start.unwrap_or_default());
        let sealing = Sealing {
            target: Arc::clone(&self.target),
            identity: self.context.identity.clone(),
            stop: self.context.stop.clone(),
            runtime: runtime::Handle::current(),
        };
        let open = Arc::new(open);
        // Rows wait for it: not until a slow checkpoint before this one lets the seal begin.
        open.handle.urge(URGED);
        self.sealed = Arc::downgrade(&open);
        Ok(Box::new(move || sealing.seal(&open, epoch).map(|committable| vec![committable])))
    }

    fn counters(&self) -> SinkCounters {
        let begun = self.open.as_ref().filter(|open| open.records > 0).and_then(|open| open.start);
        let oldest = self.warm.slots.oldest().into_iter().chain(begun).min();
        let clock = &self.context.clock;
        let age_ms = |since: Duration| clock.monotonic().saturating_sub(since).as_millis() as u64;
        SinkCounters {
            open_since_ms: oldest.map(|since| clock.wall_ms().saturating_sub(age_ms(since))),
            ..self.counters
        }
    }
}
