//! What can go wrong and what must be seen to happen, by kind, and how often it did.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($(#[$about:meta])* $name:ident, $all:ident: $($kind:ident,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $name { $($kind,)* }
        pub(crate) const $all: &[$name] = &[$($name::$kind,)*];
    };
}

kinds! {
    /// Kinds of faults. Each must have happened over all seeds of a run.
    Fault, FAULTS:
    StoreErrorBefore,
    StoreLostReply,
    StoreLateWrite,
    StoreSlow,
    SlowUpload,
    PartOutage,
    CorruptRead,
    Damage,
    SourceFailure,
    TaskPanic,
    SinkWriteFailure,
    PreCommitFailure,
    CommitErrorBefore,
    CommitLostReply,
    CommitOutage,
    TargetLoss,
    Kill,
    Stop,
    Zombie,
    Rival,
    Rescale,
}

kinds! {
    /// Things that must have been seen to happen, or the faults were toothless.
    Seen, SEEN:
    Claimed,
    Restored,
    CheckpointCompleted,
    CheckpointFailed,
    CheckpointsGivenUp,
    CommitRetried,
    Committed,
    CommittedAgain,
    LeftoversAborted,
    Fenced,
    AttemptFailed,
    PanicCaught,
    PartStored,
    StoreUnavailable,
    CorruptionRefused,
    DamageRefused,
    Rewound,
    RewoundFromDamage,
    RewindRefused,
    LossReported,
    LossAccepted,
    StoppedSettled,
    StoppedUndecided,
    ResumedAfterStop,
    SplitIdle,
    SourceIdle,
}

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) seen: BTreeMap<Seen, u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (seen, count) in &other.seen {
            *self.seen.entry(*seen).or_default() += count;
        }
    }
}
