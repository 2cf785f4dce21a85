//! Barriers and watermarks of a subtask with several inputs, as a pure state machine.
//!
//! Every input passes every barrier, in epoch order, also after its end. An input that delivered the barrier of an
//! epoch waits until all others did: the snapshot then holds exactly what came before the barrier on every input.
//!
//! # Source
//! Carbone et al., Lightweight Asynchronous Snapshots for Distributed Dataflows, 2015.

use checkpoint::ids::Epoch;
use serde::{Deserialize, Serialize};

use crate::element::{Timestamp, Watermark};

/// What to do about a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Read nothing more from this input until the epoch is aligned.
    Wait,
    /// All inputs delivered it: take the snapshot, pass the barrier on, read all inputs again.
    Aligned(Epoch),
}

/// An input broke the order of barriers: a bug upstream, never to be papered over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input {input} delivered the barrier of epoch {delivered} while {expected} was expected")]
pub struct OutOfOrder {
    input: usize,
    delivered: Epoch,
    expected: Epoch,
}

/// The state of all inputs of one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    each: Vec<Input>,
    aligning: Option<Epoch>,
    last_aligned: Epoch,
    combined: Timestamp,
    idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Input {
    delivered: bool,
    watermark: Timestamp,
    idle: bool,
}

/// How far event time had come for one subtask at a barrier: part of its state.
///
/// Watermarks of single inputs are not: each upstream subtask says its own again, and after a change of the manifest an
/// input may be another one (or read anew) than the one that had come so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageWatermark {
    /// The highest watermark that the operators were told.
    pub combined: Timestamp,
}

impl Inputs {
    pub fn new(count: usize) -> Self {
        let input = Input { delivered: false, watermark: Timestamp::MIN, idle: false };
        Self { each: vec![input; count], aligning: None, last_aligned: Epoch(0), combined: Timestamp::MIN, idle: false }
    }

    /// Continues from a snapshot: what the operators were told is never taken back.
    pub fn restore(&mut self, told: &StageWatermark) {
        self.combined = self.combined.max(told.combined);
    }

    /// # Errors
    /// [`OutOfOrder`] when an input skips or repeats an epoch.
    pub fn barrier(&mut self, input: usize, epoch: Epoch) -> Result<Alignment, OutOfOrder> {
        let expected = self.aligning.unwrap_or(epoch);
        let stale = epoch <= self.last_aligned;
        match self.each.get_mut(input) {
            Some(state) if !state.delivered && !stale && epoch == expected => state.delivered = true,
            _ => return Err(OutOfOrder { input, delivered: epoch, expected: self.expected() }),
        }
        if self.each.iter().all(|input| input.delivered) {
            for input in &mut self.each {
                input.delivered = false;
            }
            self.aligning = None;
            self.last_aligned = epoch;
            return Ok(Alignment::Aligned(epoch));
        }
        self.aligning = Some(epoch);
        Ok(Alignment::Wait)
    }

    /// Takes a watermark of one input; returns the combined one when it moved, or when idleness began or ended.
    ///
    /// The combined watermark is the minimum over inputs that are neither idle nor ended, and never goes back.
    /// It is [`Watermark::END`] only when every input ended: an idle one may still come back.
    pub fn watermark(&mut self, input: usize, watermark: Watermark) -> Option<Watermark> {
        let state = self.each.get_mut(input)?;
        match watermark {
            Watermark::At(at) => {
                state.watermark = state.watermark.max(at);
                state.idle = false;
            }
            // An ended input cannot become idle.
            Watermark::Idle => state.idle = state.watermark != Timestamp::MAX,
        }
        let is_idle = self.all_live_are_idle();
        let was_idle = std::mem::replace(&mut self.idle, is_idle);
        if self.idle {
            return (!was_idle).then_some(Watermark::Idle);
        }
        let minimum = self.minimum();
        if minimum > self.combined || was_idle {
            self.combined = self.combined.max(minimum);
            return Some(Watermark::At(self.combined));
        }
        None
    }

    /// Every input ended: nothing but barriers will come.
    pub fn ended(&self) -> bool {
        self.each.iter().all(|input| input.watermark == Timestamp::MAX)
    }

    pub fn is_aligning(&self) -> bool {
        self.aligning.is_some()
    }

    pub fn combined(&self) -> Timestamp {
        self.combined
    }

    pub fn snapshot(&self) -> StageWatermark {
        StageWatermark { combined: self.combined }
    }

    fn expected(&self) -> Epoch {
        self.aligning.unwrap_or(self.last_aligned.next())
    }

    fn all_live_are_idle(&self) -> bool {
        !self.ended() && self.each.iter().all(|input| input.idle || input.watermark == Timestamp::MAX)
    }

    /// `MAX` when all ended; only asked for when some live input is not idle, or all ended.
    fn minimum(&self) -> Timestamp {
        let live = self.each.iter().filter(|input| !input.idle).map(|input| input.watermark);
        live.min().unwrap_or(self.combined)
    }
}

#[cfg(test)]
mod tests;
