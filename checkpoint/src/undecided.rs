//! Pre-committed output that no decision covers yet. A task keeps one for itself and lists all of it in every
//! acknowledgement; the coordinator keeps one for each task. So a lost or late acknowledgement of a failed checkpoint
//! loses nothing: whatever is decided next decides all of it.

use std::sync::Arc;

use crate::ids::Epoch;
use crate::manifest::Committable;

/// Oldest epoch first, within an epoch in pre-commit order.
/// Bounded by the sinks: one that has no more transactions to open declines the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Undecided {
    committables: Vec<Arc<Committable>>,
}

impl Undecided {
    /// Adds what is not known yet. Committables up to `decided` are dropped: every task acknowledged the decided epoch,
    /// and each of those acknowledgements listed everything before it.
    pub fn merge(&mut self, committables: impl IntoIterator<Item = Arc<Committable>>, decided: Epoch) {
        for committable in committables {
            if committable.epoch > decided && !self.committables.contains(&committable) {
                self.committables.push(committable);
            }
        }
        // Stable, so that the order within an epoch stays as its writer listed it.
        self.committables.sort_by_key(|committable| committable.epoch);
    }

    /// `Completed(epoch)` stands in the log.
    pub fn decided(&mut self, epoch: Epoch) {
        self.committables.retain(|committable| committable.epoch > epoch);
    }

    pub fn list(&self) -> &[Arc<Committable>] {
        &self.committables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, Subtask};

    fn committable(epoch: u64, handle: &str) -> Arc<Committable> {
        Arc::new(Committable {
            sink: "out".to_owned(),
            writer: Subtask(0),
            attempt: Attempt(1),
            epoch: Epoch(epoch),
            rows: 1,
            expiry: None,
            handle: handle.to_owned(),
        })
    }

    fn handles(undecided: &Undecided) -> Vec<&str> {
        undecided.list().iter().map(|c| c.handle.as_str()).collect()
    }

    #[test]
    fn late_acknowledgement_of_a_failed_epoch_comes_before_newer_ones() {
        let mut undecided = Undecided::default();
        undecided.merge([committable(3, "c")], Epoch(0));
        undecided.merge([committable(1, "a"), committable(2, "b2"), committable(2, "b1")], Epoch(0));
        undecided.merge([committable(1, "a"), committable(3, "c")], Epoch(0));
        assert_eq!(handles(&undecided), ["a", "b2", "b1", "c"]);
    }

    #[test]
    fn decided_committables_do_not_come_back() {
        let mut undecided = Undecided::default();
        undecided.merge([committable(1, "a"), committable(2, "b")], Epoch(0));
        undecided.decided(Epoch(1));
        undecided.merge([committable(1, "a"), committable(2, "b")], Epoch(1));
        assert_eq!(handles(&undecided), ["b"]);
    }
}
