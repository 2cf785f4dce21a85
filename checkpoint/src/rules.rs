//! The rules of the protocol as switches that only its own tests can turn.
//!
//! Every machine is generic over [`Rules`] and defaults to [`Shipped`], which has no state and keeps every rule, so
//! that a program cannot hold a machine in which one is off without naming a type of its own. The model turns them off
//! one at a time and must then find a violation: a rule whose absence nobody notices is not tested.

use std::fmt::Debug;
use std::hash::Hash;

/// One necessary rule each; its comment is what breaks without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A claimant seals earlier attempts.
    Seal,
    /// It seals all of them down to the first with a decision, not only the newest.
    SealAllEarlier,
    /// It seals attempts without a record too.
    SealNeverRan,
    /// It takes the newest decision from what it reads after sealing.
    ReadAfterSeal,
    /// An attempt is sealed when its highest record is `Sealed`; a seal in a hole below is none.
    SealIsHighest,
    /// A seal that is found counts only when a listing after the read shows it highest.
    ListAfterFoundSeal,
    /// Attempts below the newest decision are read from a listing made after the seal above them.
    ListBelowAgain,
    /// A missing record is damage only if nobody claimed later.
    HoleIsNotDamage,
    /// Newest attempt first.
    NewestFirst,
    /// A claim is one's own only with one's own nonce.
    ClaimNonce,
    /// After an unknown append the same bytes are sent again.
    SameBytes,
    /// After an unknown append the same slot is tried again.
    SameSlot,
    /// An append whose outcome is unknown has not failed.
    UnknownIsNotFailed,
    /// "Exists" is read before it is believed.
    ExistsIsRead,
    /// Committables of failed epochs are carried.
    CarryUndecided,
    /// A decision is sent, and sent again, only within the commit budget.
    WithinBudget,
    /// Everything is classified before the first commit.
    ClassifyFirst,
    /// Recovery commits before it aborts leftovers.
    CommitBeforeAbort,
    /// A decision is appended only when all commits of the one before are confirmed.
    CommitBeforeDecide,
    /// A loss stops the pipeline, now and at every later recovery.
    StopOnLoss,
    /// A loss is reported only after it stands in the reporter's own sequence.
    LossAfterAppend,
    /// A loss that an earlier attempt had recorded is recorded again before it is reported again.
    RecordLossAgain,
    /// A `Settled` ends the commits only by its outcome: a loss does not.
    SettledOutcome,
    /// A rewind goes on only when every committable of the epoch is proven aborted.
    RewindAborts,
    /// A rewind ends in a decision of its own.
    RewindDecides,
    /// What a rewind decided cannot be taken back to the epoch that it had aborted.
    RewindOnce,
    /// Going back to the newest decision is a plain start, which stops at a loss.
    BackToNewestIsRun,
    /// A log is handed over to the next one only when everything that it decided is settled.
    HandOverSettles,
    /// Nobody goes on in a log that was handed over.
    HandOverIsLast,
    /// A forced abort commits everything else of its epoch before it settles it.
    ForceCommitsRest,
    /// A forced abort is recorded as an accepted loss only when it is proven.
    ForceAbortsFirst,
    /// Retention keeps seals and the highest record of each attempt.
    KeepSeals,
    /// Retention keeps the two newest decisions.
    KeepTwoNewest,
}

/// Which rules hold.
#[doc(hidden)]
pub trait Rules: Clone + Debug + Eq + Hash {
    fn holds(&self, rule: Rule) -> bool;
}

/// All rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shipped;

impl Rules for Shipped {
    fn holds(&self, _: Rule) -> bool {
        true
    }
}
