//! The right to commit.

use crate::ids::{Attempt, Epoch};

/// Proof that an epoch was decided: the only key to `Committer::commit`. Only this crate can make one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitPermit {
    pub(crate) attempt: Attempt,
    pub(crate) epoch: Epoch,
}

impl CommitPermit {
    /// The `(attempt, epoch)` of the `Completed` record that decided it.
    pub fn decided_by(&self) -> (Attempt, Epoch) {
        (self.attempt, self.epoch)
    }
}
