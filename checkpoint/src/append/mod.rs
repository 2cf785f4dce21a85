//! One append to one's own sequence, whatever the store answers.
//!
//! An unknown outcome or "exists" is read: the same bytes mean done, nothing means the same bytes are sent again,
//! `Sealed` means fenced, and anything else means that two programs believe to own one attempt: that must crash.
//! Until the outcome is known the attempt appends, fails, aborts and commits nothing else.

use std::sync::Arc;

use crate::ids::{Attempt, Nonce, Slot};
use crate::invariants::Violation;
use crate::log::{Reply, Request};
use crate::record::{Entry, Position, Record};
use crate::rules::{Rule, Rules, Shipped};

/// The only writer of an attempt's sequence. Made by a won claim, handed from recovery to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Appender<R = Shipped> {
    rules: R,
    attempt: Attempt,
    claim_nonce: Nonce,
    next: Slot,
    pending: Option<Pending>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    entry: Arc<Entry>,
    /// Milliseconds on the coordinator's clock; not sent at or after it.
    deadline: Option<u64>,
    reading: bool,
}

/// What an append came to, or needs next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Append {
    Ask(Request),
    Done(Position, Arc<Entry>),
    /// A later attempt owns the pipeline: leave, touch nothing.
    Fenced {
        by: Attempt,
    },
    /// Not known to be appended, and no longer allowed to be sent. The attempt ends; the next one seals the slot or
    /// finds the record, and either is final.
    Expired,
    /// Must crash.
    Broken(Violation),
}

impl<R: Rules> Appender<R> {
    pub(crate) fn of(rules: R, attempt: Attempt, claim_nonce: Nonce) -> Self {
        Self { rules, attempt, claim_nonce, next: Slot(0), pending: None }
    }

    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// The slot that the next append takes.
    pub fn next_slot(&self) -> Slot {
        self.next
    }

    /// An append's outcome is not known yet.
    pub fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    pub(crate) fn rules(&self) -> &R {
        &self.rules
    }

    /// Begins an append. `deadline`: sent, and sent again, only while `now` is below it.
    pub(crate) fn begin(&mut self, record: Record, deadline: Option<u64>, now: u64) -> Append {
        if self.pending.is_some() {
            return Append::Broken(Violation::AppendBeforeOutcome { attempt: self.attempt });
        }
        // Unique for each append: the claim's nonce is drawn at each process start, the slot is used once.
        let nonce = Nonce(self.claim_nonce.0.wrapping_add(1 + u128::from(self.next.0)));
        let entry = Arc::new(Entry { nonce, record });
        self.pending = Some(Pending { entry, deadline, reading: false });
        self.send(now)
    }

    /// Takes the store's answer to the last request.
    pub(crate) fn step(&mut self, reply: Reply, now: u64) -> Append {
        let at = Position { attempt: self.attempt, slot: self.next };
        let Some(pending) = &mut self.pending else {
            return Append::Broken(Violation::UnexpectedReply { at });
        };
        match (pending.reading, reply) {
            (false, Reply::Created) => self.done(at),
            (false, Reply::Exists) if !self.rules.holds(Rule::ExistsIsRead) => self.done(at),
            (false, Reply::Unknown) if !self.rules.holds(Rule::UnknownIsNotFailed) => {
                self.pending = None;
                Append::Expired
            }
            (false, Reply::Exists | Reply::Unknown) => self.read(at),
            (true, Reply::Unknown) => Append::Ask(Request::ReadSlot(at)),
            (true, Reply::Entry(None)) => self.send(now),
            (true, Reply::Entry(Some(found))) if found == pending.entry => self.done(at),
            (true, Reply::Entry(Some(found))) => match found.record {
                Record::Sealed { by } => Append::Fenced { by },
                Record::Completed(_) | Record::Settled(_) | Record::Released(_) => {
                    Append::Broken(Violation::ForeignRecord { at })
                }
            },
            (_, Reply::Created | Reply::Exists | Reply::Listed(_) | Reply::Claim(_)) | (false, Reply::Entry(_)) => {
                Append::Broken(Violation::UnexpectedReply { at })
            }
        }
    }

    fn send(&mut self, now: u64) -> Append {
        let at = Position { attempt: self.attempt, slot: self.next };
        let Some(pending) = &mut self.pending else {
            return Append::Broken(Violation::UnexpectedReply { at });
        };
        if self.rules.holds(Rule::WithinBudget) && pending.deadline.is_some_and(|deadline| now >= deadline) {
            self.pending = None;
            return Append::Expired;
        }
        if pending.reading && !self.rules.holds(Rule::SameBytes) {
            let nonce = Nonce(pending.entry.nonce.0.wrapping_add(1 << 64));
            pending.entry = Arc::new(Entry { nonce, record: pending.entry.record.clone() });
        }
        pending.reading = false;
        Append::Ask(Request::CreateSlot(at, pending.entry.clone()))
    }

    fn read(&mut self, at: Position) -> Append {
        if !self.rules.holds(Rule::SameSlot) {
            self.next = self.next.next();
            return self.send(0);
        }
        if let Some(pending) = &mut self.pending {
            pending.reading = true;
        }
        Append::Ask(Request::ReadSlot(at))
    }

    fn done(&mut self, at: Position) -> Append {
        match self.pending.take() {
            Some(pending) => {
                self.next = self.next.next();
                Append::Done(at, pending.entry)
            }
            None => Append::Broken(Violation::UnexpectedReply { at }),
        }
    }
}

#[cfg(test)]
mod tests;
