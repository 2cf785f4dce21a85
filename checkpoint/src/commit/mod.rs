//! From decided to visible: the right to commit, and the order in which committables are committed.

use std::sync::Arc;

use crate::ids::{Attempt, Epoch};
use crate::manifest::Committable;
use crate::record::{DecisionId, Entry, Position, bounded};

/// Proof that an epoch was decided: the only key to `Committer::commit`. Only this crate can make one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitPermit {
    attempt: Attempt,
    epoch: Epoch,
}

impl CommitPermit {
    /// Called only with a decision that is known to stand in the log.
    pub(crate) fn of(decision: DecisionId) -> Self {
        Self { attempt: decision.attempt, epoch: decision.epoch }
    }

    /// The right to commit what a record decided, for whoever has read that record in the log: it may be used without
    /// a claim. None for a record that decides nothing.
    pub fn read(at: Position, entry: &Entry) -> Option<Self> {
        let completed = entry.completed()?;
        Some(Self::of(DecisionId { attempt: at.attempt, epoch: completed.epoch }))
    }

    /// The `(attempt, epoch)` of the `Completed` record that decided it.
    pub fn decided_by(&self) -> (Attempt, Epoch) {
        (self.attempt, self.epoch)
    }
}

/// What the target says of a committable before anything is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Classification {
    /// Still pre-committed: a commit will succeed.
    Prepared,
    Committed,
    /// Proven gone and not committed.
    Lost,
}

/// How a commit ended. Anything uncertain is no outcome: the caller asks the target again until it is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitOutcome {
    Committed,
    AlreadyCommitted,
    Lost,
}

/// An instruction to commit one committable; carried out, retried for ever, answered with its `index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub permit: CommitPermit,
    pub index: u32,
    pub committable: Arc<Committable>,
}

/// Pieces of a loss that its record names.
const MOST_NAMED: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Progress {
    Waiting,
    Ordered,
    Confirmed,
    Lost,
}

/// The commits of one decision: one path for the live pipeline and for recovery.
///
/// Within a writer of a sink they are ordered one after the other in pre-commit order; writers go side by side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commits {
    decision: DecisionId,
    items: Vec<(Arc<Committable>, Progress)>,
}

impl Commits {
    pub(crate) fn of(decision: DecisionId, committables: impl IntoIterator<Item = Arc<Committable>>) -> Self {
        Self { decision, items: committables.into_iter().map(|c| (c, Progress::Waiting)).collect() }
    }

    pub fn decision(&self) -> DecisionId {
        self.decision
    }

    pub(crate) fn committable(&self, index: u32) -> Option<&Arc<Committable>> {
        self.items.get(index as usize).map(|(committable, _)| committable)
    }

    /// What was classified as committed already needs no order; what is lost is never ordered.
    pub(crate) fn classified(&mut self, index: u32, classification: Classification) {
        if let Some((_, progress)) = self.items.get_mut(index as usize) {
            *progress = match classification {
                Classification::Prepared => Progress::Waiting,
                Classification::Committed => Progress::Confirmed,
                Classification::Lost => Progress::Lost,
            };
        }
    }

    /// All commits that may be ordered now: the first unfinished one of each writer.
    pub(crate) fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        for index in 0..self.items.len() {
            let (committable, progress) = &self.items[index];
            let waits_for_earlier = self.items[..index].iter().any(|(earlier, progress)| {
                matches!(progress, Progress::Waiting | Progress::Ordered)
                    && (&earlier.sink, earlier.writer) == (&committable.sink, committable.writer)
            });
            if *progress == Progress::Waiting && !waits_for_earlier {
                let (permit, committable) = (CommitPermit::of(self.decision), committable.clone());
                orders.push(Order { permit, index: index as u32, committable });
                self.items[index].1 = Progress::Ordered;
            }
        }
        orders
    }

    /// Takes an outcome into account; a repeated one changes nothing.
    pub(crate) fn ended(&mut self, index: u32, outcome: CommitOutcome) {
        if let Some((_, progress)) = self.items.get_mut(index as usize) {
            *progress = match outcome {
                CommitOutcome::Committed | CommitOutcome::AlreadyCommitted => Progress::Confirmed,
                CommitOutcome::Lost => Progress::Lost,
            };
        }
    }

    pub fn all_confirmed(&self) -> bool {
        self.items.iter().all(|(_, progress)| *progress == Progress::Confirmed)
    }

    /// Nothing waits or is under way any more.
    pub fn all_ended(&self) -> bool {
        self.items.iter().all(|(_, progress)| matches!(progress, Progress::Confirmed | Progress::Lost))
    }

    pub fn any_confirmed(&self) -> bool {
        self.items.iter().any(|(_, progress)| *progress == Progress::Confirmed)
    }

    /// Committables that are proven lost.
    pub fn lost(&self) -> Vec<Arc<Committable>> {
        self.items.iter().filter(|(_, p)| *p == Progress::Lost).map(|(committable, _)| committable.clone()).collect()
    }

    /// What is lost, for the record of it; None while nothing is. At most [`MOST_NAMED`] pieces are named.
    pub(crate) fn loss_in_words(&self) -> Option<String> {
        let lost = self.lost();
        let piece = |committable: &Arc<Committable>| {
            let Committable { rows, sink, epoch, writer, .. } = committable.as_ref();
            format!("{rows} rows of sink `{sink}` (writer {writer}, epoch {epoch})")
        };
        let named: Vec<_> = lost.iter().take(MOST_NAMED).map(piece).collect();
        let text = || format!("{} of {} committables: {}", lost.len(), self.items.len(), named.join("; "));
        (!lost.is_empty()).then(|| bounded(&text()))
    }

    /// The first committable without a final outcome.
    pub(crate) fn first_open(&self) -> Option<u32> {
        let open = |(_, p): &(Arc<Committable>, Progress)| matches!(p, Progress::Waiting | Progress::Ordered);
        self.items.iter().position(open).map(|index| index as u32)
    }

    pub(crate) fn is_any_ordered(&self) -> bool {
        self.items.iter().any(|(_, progress)| *progress == Progress::Ordered)
    }

    /// Committables without a final outcome.
    pub fn open(&self) -> usize {
        self.items.iter().filter(|(_, p)| matches!(p, Progress::Waiting | Progress::Ordered)).count()
    }
}

/// What a person may have committed of a decision without claiming its log: the committables of `wanted` (indices into
/// the manifest), and before each one what its writer pre-committed earlier, in the order in which they are to be
/// committed. `known`: what the targets say of all committables of the decision, in the manifest's order.
///
/// # Errors
/// [`ByHandError`]: then nothing may be committed.
pub fn by_hand(
    permit: &CommitPermit,
    committables: &[Arc<Committable>],
    known: &[Classification],
    wanted: &[u32],
) -> Result<Vec<Order>, ByHandError> {
    let is = |classification| known.contains(&classification);
    if known.len() != committables.len() {
        return Err(ByHandError::Unclassified);
    }
    if is(Classification::Lost) && !is(Classification::Committed) {
        return Err(ByHandError::NothingVisible);
    }
    let is_wanted = |index: usize, committable: &Committable| {
        wanted.iter().filter(|wanted| **wanted as usize >= index).any(|wanted| {
            committables
                .get(*wanted as usize)
                .is_some_and(|one| (&one.sink, one.writer) == (&committable.sink, committable.writer))
        })
    };
    let open = committables.iter().zip(known).enumerate().filter(|(_, (_, known))| **known == Classification::Prepared);
    let wanted = open.filter(|(index, (committable, _))| is_wanted(*index, committable));
    let order = |(index, (committable, _)): (usize, (&Arc<Committable>, _))| Order {
        permit: permit.clone(),
        index: index as u32,
        committable: committable.clone(),
    };
    Ok(wanted.map(order).collect())
}

/// Why nothing of a decision may be committed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByHandError {
    #[error("the targets were not asked about every committable")]
    Unclassified,
    /// Committing a part would take the way back: the epoch before may be restored without any loss.
    #[error("a part of the checkpoint is lost and nothing of it is visible")]
    NothingVisible,
}

#[cfg(test)]
mod tests;
