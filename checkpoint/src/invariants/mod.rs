//! Predicates that every reachable state satisfies. They run in production too, in pairs: before a decision is written
//! and after one is read. A broken one must crash: a crash is recoverable, a wrong commit is not.

use crate::ids::{Attempt, Epoch};
use crate::manifest::Manifest;
use crate::record::{DecisionId, Position};

/// Something that cannot happen, happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    #[error("record {}/{} is neither this process's own nor a seal: two programs own one attempt", at.attempt, at.slot)]
    ForeignRecord { at: Position },
    #[error("the store answered something that was not asked for {}/{}", at.attempt, at.slot)]
    UnexpectedReply { at: Position },
    #[error("attempt {attempt} began an append before the outcome of the last one was known")]
    AppendBeforeOutcome { attempt: Attempt },
    #[error("attempt {attempt} decides epoch {epoch} with a committable of attempt {foreign}")]
    ForeignCommittable { attempt: Attempt, epoch: Epoch, foreign: Attempt },
    #[error("epoch {epoch} decides a committable of epoch {found}, outside of ({decided}, {epoch}]")]
    CommittableOutOfRange { epoch: Epoch, decided: Epoch, found: Epoch },
    #[error("epoch {epoch} decides a committable of sink `{sink}` twice or out of order")]
    CommittableOutOfOrder { epoch: Epoch, sink: String },
    #[error("epoch {} follows epoch {}", next.epoch, last.epoch)]
    EpochNotIncreasing { last: DecisionId, next: DecisionId },
    #[error("epoch {epoch} would be decided while {open} commits of the one before are not confirmed")]
    UnconfirmedCommits { epoch: Epoch, open: usize },
}

/// What `Completed(epoch)` of `attempt` may decide: only committables of this attempt, from epochs after the one
/// decided last, each once, within a writer in pre-commit order.
///
/// # Errors
/// The first [`Violation`].
pub fn check_decidable(manifest: &Manifest, next: DecisionId, decided: Epoch) -> Result<(), Violation> {
    let DecisionId { attempt, epoch } = next;
    for (index, committable) in manifest.committables.iter().enumerate() {
        if committable.attempt != attempt {
            return Err(Violation::ForeignCommittable { attempt, epoch, foreign: committable.attempt });
        }
        let found = committable.epoch;
        if found <= decided || found > epoch {
            return Err(Violation::CommittableOutOfRange { epoch, decided, found });
        }
        let earlier = manifest.committables.get(..index).unwrap_or_default();
        let writer = |c: &&crate::manifest::Committable| (&c.sink, c.writer) == (&committable.sink, committable.writer);
        let out_of_order = earlier.iter().rev().find(writer).is_some_and(|last| last.epoch > found);
        if out_of_order || earlier.contains(committable) {
            return Err(Violation::CommittableOutOfOrder { epoch, sink: committable.sink.clone() });
        }
    }
    Ok(())
}

/// Decisions increase along a log by position and by epoch alike.
///
/// # Errors
/// [`Violation::EpochNotIncreasing`].
pub fn check_order(last: DecisionId, next: DecisionId) -> Result<(), Violation> {
    if next.epoch > last.epoch && next.attempt >= last.attempt {
        Ok(())
    } else {
        Err(Violation::EpochNotIncreasing { last, next })
    }
}

#[cfg(test)]
mod tests;
