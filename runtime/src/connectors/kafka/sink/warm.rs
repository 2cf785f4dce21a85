//! The next handle, made ready in the background while rows go into the one before: initialising takes tens of
//! milliseconds, and longer while brokers are away.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::Epoch;
use futures::FutureExt;
use rdkafka::config::ClientConfig;

use super::handle::{Failed, Handle};
use super::names::transactional_id;
use super::slots::Slots;
use crate::connectors::{Retry, WriterIdentity};
use crate::crashpoint;
use crate::tasks::{self, Task};
use crate::worker::StopSignal;

/// Between two tries to initialise an id: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Makes handles for one writer.
pub(super) struct Warm {
    pub(super) config: Arc<ClientConfig>,
    pub(super) prefix: String,
    topic: String,
    pub(super) identity: WriterIdentity,
    pub(super) stop: StopSignal,
    pub(super) slots: Slots,
    state: State,
    /// Failures in a row.
    tries: u32,
    pub(super) errors: u64,
}

enum State {
    Cold { not_before: Duration },
    Warming { slot: u32, task: Task<Result<Handle, Failed>> },
    Warm(Handle),
}

impl Warm {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        prefix: String,
        topic: String,
        identity: WriterIdentity,
        stop: StopSignal,
        slots: Slots,
    ) -> Self {
        let state = State::Cold { not_before: Duration::ZERO };
        Self { config, prefix, topic, identity, stop, slots, state, tries: 0, errors: 0 }
    }

    /// Goes on as far as it can without waiting. `committed`: all transactions up to this epoch are final.
    ///
    /// # Errors
    /// A refusal that waiting does not heal.
    pub(super) fn poll(&mut self, now: Duration, committed: Epoch) -> Result<(), Failed> {
        self.slots.settle(committed);
        if let State::Warming { slot, task } = &mut self.state
            && let Some(joined) = task.now_or_never()
        {
            let slot = *slot;
            let done = joined.unwrap_or_else(|panic| Err(Failed::new(panic.to_string(), Retry::Never)));
            self.state = match done {
                Ok(handle) => {
                    self.tries = 0;
                    State::Warm(handle)
                }
                Err(failed) if failed.retry == Retry::Never => return Err(failed),
                Err(failed) => {
                    tracing::warn!(sink = self.identity.sink, "{failed}; trying again");
                    self.slots.give_back(slot);
                    self.errors += 1;
                    let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(10)).min(LONGEST_PAUSE);
                    self.tries = self.tries.saturating_add(1);
                    State::Cold { not_before: now + pause }
                }
            };
        }
        if let State::Cold { not_before } = self.state
            && not_before <= now
            && let Some(slot) = self.slots.take()
        {
            self.state = State::Warming { slot, task: self.warm(slot) };
        }
        Ok(())
    }

    fn warm(&self, slot: u32) -> Task<Result<Handle, Failed>> {
        let id = transactional_id(&self.prefix, &self.identity, slot);
        let (config, topic, stop) = (Arc::clone(&self.config), self.topic.clone(), self.stop.clone());
        tasks::spawn_blocking(format!("initialise {id}"), move || {
            let injected = |error: crashpoint::Injected| Failed::new(error.to_string(), Retry::Backoff);
            crashpoint::hit("kafka.before_init").map_err(injected)?;
            let handle = Handle::start(&config, &topic, id, slot, &stop)?;
            crashpoint::hit("kafka.initialised").map_err(injected)?;
            Ok(handle)
        })
    }

    pub(super) fn take(&mut self) -> Option<Handle> {
        if !matches!(self.state, State::Warm(_)) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Cold { not_before: Duration::ZERO }) {
            State::Warm(handle) => Some(handle),
            State::Cold { .. } | State::Warming { .. } => None,
        }
    }

    /// Whether there is a next handle, or an id for one.
    pub(super) fn has_next(&self) -> bool {
        !matches!(self.state, State::Cold { .. }) || self.slots.has_free()
    }
}
