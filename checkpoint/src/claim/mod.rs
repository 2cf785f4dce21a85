//! Becoming the pipeline's only owner: claim, seal everyone before, and only then look what was decided.
//!
//! ```text
//! list -> create <max+1>/claim -> list (a higher one: leave)
//!      -> for each earlier attempt, newest first, down to the first that holds a decision:
//!             read its highest record -> create Sealed one above -> list again (higher: once more) -> read downwards
//! ```
//! The drive loop:
//! ```text
//! let (mut claiming, mut request) = Claiming::begin(claim, Depth::Newest);
//! loop {
//!     match claiming.step(store.carry_out(request)) {
//!         ClaimStep::Ask(next) => request = next,
//!         ClaimStep::Claimed(claimed) => break claimed,
//!         ClaimStep::Outrun { by } => leave with exit code 3,
//!         ClaimStep::Refused(error) => stop,
//!     }
//! }
//! ```
//! It ends: each round of sealing one attempt repeats only if that attempt has appended in between.

use std::sync::Arc;

use crate::append::Appender;
use crate::ids::{Attempt, Slot};
use crate::log::{Listing, Reply, Request};
use crate::record::{Claim, Completed, Entry, Position, Record};
use crate::rules::{Rule, Rules, Shipped};

/// How far down the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Depth {
    /// To the newest decision: a plain start.
    Newest,
    /// To the one before it: a rewind.
    Previous,
    /// To the decision that stands here: going back on demand.
    DownTo(Position),
}

/// A record of an earlier attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    pub at: Position,
    pub entry: Arc<Entry>,
}

/// A won claim: all attempts that could still decide are sealed, so `history` is final.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claimed<R = Shipped> {
    pub(crate) appender: Appender<R>,
    /// Newest first, ending with the decision that [`Depth`] asked for, if it exists.
    pub history: Vec<Found>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum ClaimStep<R = Shipped> {
    Ask(Request),
    Claimed(Claimed<R>),
    /// Somebody else claimed at the same time or later: leave, and do not retry in this process.
    Outrun {
        by: Attempt,
    },
    Refused(ClaimError),
}

/// The log is not what the protocol leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClaimError {
    #[error("record {}/{} is missing although nothing newer allows its deletion: the store lost data", at.attempt, at.slot)]
    Missing { at: Position },
    #[error("the store answered something that was not asked")]
    UnexpectedReply,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    FirstList,
    Creating,
    ReadingClaim,
    SecondList,
    ReadingTop {
        of: Attempt,
        slot: Slot,
    },
    Sealing {
        of: Attempt,
        slot: Slot,
    },
    ReadingSeal {
        of: Attempt,
        slot: Slot,
    },
    ListingAgain {
        of: Attempt,
        sealed: Slot,
    },
    Scanning {
        of: Attempt,
        slot: Slot,
    },
    /// A record is missing; only if nobody claimed later is that damage.
    ListingForHole {
        missing: Position,
    },
    Ended,
}

/// The claim in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claiming<R = Shipped> {
    rules: R,
    claim: Arc<Claim>,
    depth: Depth,
    me: Attempt,
    listing: Listing,
    stage: Stage,
    /// Attempts from here down were sealed by the attempt whose decision was found.
    decided: bool,
    history: Vec<Found>,
}

impl Claiming {
    /// The machine and its first request.
    pub fn begin(claim: Arc<Claim>, depth: Depth) -> (Self, Request) {
        Self::begin_under(Shipped, claim, depth)
    }
}

impl<R: Rules> Claiming<R> {
    #[doc(hidden)]
    pub fn begin_under(rules: R, claim: Arc<Claim>, depth: Depth) -> (Self, Request) {
        let machine = Self {
            rules,
            claim,
            depth,
            me: Attempt(0),
            listing: Listing::default(),
            stage: Stage::FirstList,
            decided: false,
            history: Vec::new(),
        };
        (machine, Request::List)
    }

    /// The number claimed; 0 before the first listing.
    pub fn attempt(&self) -> Attempt {
        self.me
    }

    /// Takes the store's answer to the last request.
    pub fn step(&mut self, reply: Reply) -> ClaimStep<R> {
        match (self.stage.clone(), reply) {
            (Stage::FirstList, Reply::Listed(listing)) => {
                self.me = listing.highest_attempt().unwrap_or_default().next();
                self.ask(Stage::Creating, Request::CreateClaim(self.me, self.claim.clone()))
            }
            (Stage::Creating, Reply::Created) => self.ask(Stage::SecondList, Request::List),
            (Stage::Creating, Reply::Exists | Reply::Unknown) | (Stage::ReadingClaim, Reply::Unknown) => {
                self.ask(Stage::ReadingClaim, Request::ReadClaim(self.me))
            }
            (Stage::ReadingClaim, Reply::Claim(None)) => {
                self.ask(Stage::Creating, Request::CreateClaim(self.me, self.claim.clone()))
            }
            (Stage::ReadingClaim, Reply::Claim(Some(found))) => {
                if found == self.claim || !self.rules.holds(Rule::ClaimNonce) {
                    self.ask(Stage::SecondList, Request::List)
                } else {
                    self.stage = Stage::Ended;
                    ClaimStep::Outrun { by: self.me }
                }
            }
            (
                Stage::FirstList | Stage::SecondList | Stage::ListingAgain { .. } | Stage::ListingForHole { .. },
                Reply::Unknown,
            ) => ClaimStep::Ask(Request::List),
            (Stage::SecondList, Reply::Listed(listing)) => match listing.highest_attempt() {
                Some(by) if by > self.me => {
                    self.stage = Stage::Ended;
                    ClaimStep::Outrun { by }
                }
                Some(_) | None => {
                    self.listing = listing;
                    self.continue_below(self.me)
                }
            },
            (stage, reply) => self.seal_step(&stage, reply),
        }
    }

    fn seal_step(&mut self, stage: &Stage, reply: Reply) -> ClaimStep<R> {
        match (stage, reply) {
            (&Stage::ReadingTop { of, slot }, Reply::Entry(found)) => match found {
                // The listing is older than this read: the slot may have been deleted since, and the hole sealed by
                // another claimant while the attempt went on above it. Only a listing after the read tells.
                Some(entry) if entry.is_sealed() && self.rules.holds(Rule::ListAfterFoundSeal) => {
                    self.sealed_at(of, slot)
                }
                Some(entry) if entry.is_sealed() => self.scan(of),
                Some(_) => self.seal_at(of, slot.next()),
                // Deleted since the listing: that attempt has gone on.
                None => self.ask(Stage::ListingAgain { of, sealed: slot }, Request::List),
            },
            (&Stage::ReadingTop { of, slot } | &Stage::Scanning { of, slot }, Reply::Unknown) => {
                ClaimStep::Ask(read(of, slot))
            }
            (&Stage::Sealing { of, slot }, Reply::Created) => self.sealed_at(of, slot),
            (&Stage::Sealing { of, slot }, Reply::Exists | Reply::Unknown)
            | (&Stage::ReadingSeal { of, slot }, Reply::Unknown) => {
                self.ask(Stage::ReadingSeal { of, slot }, read(of, slot))
            }
            (&Stage::ReadingSeal { of, slot }, Reply::Entry(found)) => match found {
                None => self.seal_at(of, slot),
                Some(entry) if entry.is_sealed() => self.sealed_at(of, slot),
                Some(_) => self.seal_at(of, slot.next()),
            },
            (&Stage::ListingAgain { of, sealed }, Reply::Listed(listing)) => self.listed_again(of, sealed, &listing),
            (&Stage::Scanning { of, slot }, Reply::Entry(found)) => self.scanned(of, slot, found),
            (&Stage::ListingForHole { missing }, Reply::Listed(listing)) => {
                self.stage = Stage::Ended;
                // A later attempt has sealed this one already, and its retention deleted what this one looked for.
                match listing.highest_attempt() {
                    Some(by) if by > self.me && self.rules.holds(Rule::HoleIsNotDamage) => ClaimStep::Outrun { by },
                    Some(_) | None => ClaimStep::Refused(ClaimError::Missing { at: missing }),
                }
            }
            (_, _) => {
                self.stage = Stage::Ended;
                ClaimStep::Refused(ClaimError::UnexpectedReply)
            }
        }
    }

    fn ask(&mut self, stage: Stage, request: Request) -> ClaimStep<R> {
        self.stage = stage;
        ClaimStep::Ask(request)
    }

    /// Goes on with the newest attempt below `above`.
    fn continue_below(&mut self, above: Attempt) -> ClaimStep<R> {
        let Some(of) = self.next_below(above) else { return self.finish() };
        let top = self.listing.slots(of).last().copied();
        let first = self.listing.before(self.me) == Some(of);
        let seal = !self.decided
            && self.rules.holds(Rule::Seal)
            && (self.rules.holds(Rule::SealAllEarlier) || first)
            && (self.rules.holds(Rule::SealNeverRan) || top.is_some());
        match top {
            _ if !seal => self.scan(of),
            None => self.seal_at(of, Slot(0)),
            Some(slot) => self.ask(Stage::ReadingTop { of, slot }, read(of, slot)),
        }
    }

    fn next_below(&self, above: Attempt) -> Option<Attempt> {
        if self.rules.holds(Rule::NewestFirst) {
            return self.listing.before(above);
        }
        let after = if above == self.me { Attempt(0) } else { above };
        self.listing.attempts.iter().map(|(attempt, _)| *attempt).find(|of| *of > after && *of < self.me)
    }

    fn seal_at(&mut self, of: Attempt, slot: Slot) -> ClaimStep<R> {
        // Any seal will do: it needs no nonce of its own, so the claim's serves.
        let entry = Entry { nonce: self.claim.nonce, record: Record::Sealed { by: self.me } };
        let at = Position { attempt: of, slot };
        self.ask(Stage::Sealing { of, slot }, Request::CreateSlot(at, Arc::new(entry)))
    }

    fn sealed_at(&mut self, of: Attempt, slot: Slot) -> ClaimStep<R> {
        self.ask(Stage::ListingAgain { of, sealed: slot }, Request::List)
    }

    fn listed_again(&mut self, of: Attempt, sealed: Slot, listing: &Listing) -> ClaimStep<R> {
        let top = listing.slots(of).last().copied();
        if self.rules.holds(Rule::ReadAfterSeal) {
            // Everything below is as new as the seal, too: if a decision is found here, this attempt had sealed what
            // lies below before it, but perhaps after the listing that this claim began with.
            let is_fresh = |attempt: Attempt| attempt == of || self.rules.holds(Rule::ListBelowAgain);
            for (attempt, known) in self.listing.attempts.iter_mut().filter(|(attempt, _)| is_fresh(*attempt)) {
                *known = listing.slots(*attempt).to_vec();
            }
        }
        match top {
            // The seal closed a hole that retention had left: the attempt went on above it.
            Some(top) if top > sealed && self.rules.holds(Rule::SealIsHighest) => {
                self.ask(Stage::ReadingTop { of, slot: top }, read(of, top))
            }
            Some(top) if top == sealed || !self.rules.holds(Rule::SealIsHighest) => self.scan(of),
            // Seals and highest records are never deleted.
            Some(_) | None => self.look_for_reason(of, sealed),
        }
    }

    /// Reads an attempt's records downwards from the highest.
    fn scan(&mut self, of: Attempt) -> ClaimStep<R> {
        match self.listing.slots(of).last().copied() {
            Some(slot) => self.ask(Stage::Scanning { of, slot }, read(of, slot)),
            None => self.continue_below(of),
        }
    }

    fn scanned(&mut self, of: Attempt, slot: Slot, found: Option<Arc<Entry>>) -> ClaimStep<R> {
        let at = Position { attempt: of, slot };
        match found {
            Some(entry) => {
                self.decided |= entry.completed().is_some();
                self.history.push(Found { at, entry });
                if self.is_deep_enough(at) {
                    return self.finish();
                }
            }
            None if self.tolerates_holes() => {}
            None => return self.look_for_reason(of, slot),
        }
        let below = self.listing.slots(of).iter().rev().copied().find(|s| *s < slot);
        let has_hole = slot.0 > 0 && below.is_none_or(|below| below.next() != slot);
        if has_hole && !self.tolerates_holes() {
            return self.look_for_reason(of, Slot(slot.0 - 1));
        }
        match below {
            Some(slot) => self.ask(Stage::Scanning { of, slot }, read(of, slot)),
            None => self.continue_below(of),
        }
    }

    /// Retention leaves no hole above the second newest decision.
    fn tolerates_holes(&self) -> bool {
        matches!(self.depth, Depth::DownTo(_)) && self.decided || !self.rules.holds(Rule::ReadAfterSeal)
    }

    fn is_deep_enough(&self, at: Position) -> bool {
        let decisions = self.history.iter().filter(|found| found.entry.completed().is_some()).count();
        match self.depth {
            Depth::Newest => decisions >= 1,
            Depth::Previous => decisions >= 2,
            Depth::DownTo(goal) => decisions >= 1 && at <= goal,
        }
    }

    fn look_for_reason(&mut self, attempt: Attempt, slot: Slot) -> ClaimStep<R> {
        self.ask(Stage::ListingForHole { missing: Position { attempt, slot } }, Request::List)
    }

    fn finish(&mut self) -> ClaimStep<R> {
        self.stage = Stage::Ended;
        let appender = Appender::of(self.rules.clone(), self.me, self.claim.nonce);
        ClaimStep::Claimed(Claimed { appender, history: std::mem::take(&mut self.history) })
    }
}

impl<R: Rules> Claimed<R> {
    pub fn attempt(&self) -> Attempt {
        self.appender.attempt()
    }

    /// The decisions that were read, newest first.
    pub fn decisions(&self) -> impl Iterator<Item = (Position, &Completed)> {
        self.history.iter().filter_map(|found| found.entry.completed().map(|completed| (found.at, completed)))
    }

    /// The newest decision: what a plain start restores from.
    pub fn newest(&self) -> Option<(Position, &Completed)> {
        self.decisions().next()
    }
}

fn read(attempt: Attempt, slot: Slot) -> Request {
    Request::ReadSlot(Position { attempt, slot })
}

#[cfg(test)]
mod tests;
