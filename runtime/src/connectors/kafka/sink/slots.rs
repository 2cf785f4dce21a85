//! Which of a writer's transactional ids may be used next. An id whose last transaction may still be open is never taken:
//! initialising it would abort that transaction.

use std::time::Duration;

use checkpoint::ids::Epoch;

/// The ids of one writer in one attempt, by number.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// How many have come free since the beginning.
    freed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The how-manieth to come free.
    Free { nth: u64 },
    /// Being initialised, warm, or open.
    Taken,
    /// Pre-committed for this epoch: free once the commits of it, or of a later one, are done.
    Sealed {
        epoch: Epoch,
        /// When its transaction began.
        since: Duration,
    },
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Self { slots: vec![Slot::Free { nth: 0 }; count as usize], freed: 0 }
    }

    /// Everything that was sealed up to `epoch` has a final outcome.
    pub(super) fn settle(&mut self, epoch: Epoch) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Sealed { epoch: sealed, .. } if *sealed <= epoch) {
                self.freed += 1;
                *slot = Slot::Free { nth: self.freed };
            }
        }
    }

    pub(super) fn has_free(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Free { .. }))
    }

    /// The one that has been free for longest: one whose transaction ended a moment ago may still be being completed by its
    /// coordinator.
    pub(super) fn take(&mut self) -> Option<u32> {
        let free = (0..).zip(&self.slots).filter_map(|(number, slot)| match slot {
            Slot::Free { nth } => Some((*nth, number)),
            Slot::Taken | Slot::Sealed { .. } => None,
        });
        let (_, number) = free.min()?;
        self.set(number, Slot::Taken);
        Some(number)
    }

    /// It was taken and nothing was written under it.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.freed += 1;
        self.set(slot, Slot::Free { nth: self.freed });
    }

    pub(super) fn seal(&mut self, slot: u32, epoch: Epoch, since: Duration) {
        self.set(slot, Slot::Sealed { epoch, since });
    }

    /// When the oldest transaction began that waits for its end.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let since = |slot: &Slot| match slot {
            Slot::Sealed { since, .. } => Some(*since),
            Slot::Free { .. } | Slot::Taken => None,
        };
        self.slots.iter().filter_map(since).min()
    }

    fn set(&mut self, slot: u32, to: Slot) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            *slot = to;
        }
    }
}

/// Ids that a writer needs so that as many checkpoints in a row may fail as are tolerated: each failed one keeps its id
/// until a later decision is committed, and the same number may be waiting for those commits. One is open, one warm.
pub(super) fn slots_needed(tolerable_failures: u32) -> u32 {
    tolerable_failures.saturating_add(1).saturating_mul(2).saturating_add(2).min(MOST_SLOTS)
}

/// Each id costs the coordinator memory for days.
const MOST_SLOTS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_open_transaction_is_told_until_its_commit() {
        let mut slots = Slots::new(2);
        assert_eq!((slots.take(), slots.take(), slots.oldest()), (Some(0), Some(1), None));
        slots.seal(0, Epoch(5), Duration::from_secs(9));
        slots.seal(1, Epoch(6), Duration::from_secs(7));
        assert_eq!(slots.oldest(), Some(Duration::from_secs(7)));
        slots.settle(Epoch(6));
        assert_eq!(slots.oldest(), None);
    }

    #[test]
    fn a_sealed_id_is_free_only_after_the_commits_of_its_epoch() {
        let mut slots = Slots::new(2);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some(0), Some(1), None));
        slots.seal(0, Epoch(5), Duration::ZERO);
        slots.settle(Epoch(4));
        assert!(!slots.has_free());
        slots.settle(Epoch(6));
        assert_eq!(slots.take(), Some(0), "a later decision covers it");
        slots.give_back(1);
        assert_eq!(slots.take(), Some(1));
    }

    #[test]
    fn ids_are_taken_in_turn() {
        let mut slots = Slots::new(3);
        let mut taken = vec![];
        for epoch in 1..=6 {
            let slot = slots.take().unwrap_or(u32::MAX);
            slots.seal(slot, Epoch(epoch), Duration::ZERO);
            slots.settle(Epoch(epoch));
            taken.push(slot);
        }
        assert_eq!(taken, [0, 1, 2, 0, 1, 2], "never the one that was settled last");
    }

    #[test]
    fn as_many_ids_as_the_design_asks_for() {
        assert_eq!(slots_needed(0), 4);
        assert_eq!(slots_needed(3), 10);
        assert_eq!(slots_needed(u32::MAX), MOST_SLOTS);
    }

    proptest! {
        #[test]
        fn no_id_is_taken_while_its_transaction_may_be_open(
            steps in prop::collection::vec((0_u8..4, 0_u64..6), 0..200), count in 1_u32..6,
        ) {
            let mut slots = Slots::new(count);
            // Slot and the epoch that it was sealed for, if it was.
            let mut open: Vec<(u32, Option<u64>)> = Vec::new();
            let (mut epoch, mut settled) = (1, 0);
            for (step, by) in steps {
                match step {
                    0 => if let Some(slot) = slots.take() {
                        prop_assert!(open.iter().all(|(other, _)| *other != slot));
                        open.push((slot, None));
                    } else {
                        prop_assert_eq!(open.len(), count as usize);
                    },
                    1 => {
                        epoch += 1;
                        if let Some((slot, sealed)) = open.iter_mut().find(|(_, sealed)| sealed.is_none()) {
                            slots.seal(*slot, Epoch(epoch), Duration::ZERO);
                            *sealed = Some(epoch);
                        }
                    }
                    2 => if let Some(at) = open.iter().position(|(_, sealed)| sealed.is_none()) {
                        slots.give_back(open.remove(at).0);
                    },
                    _ => {
                        settled = (settled + by).min(epoch);
                        slots.settle(Epoch(settled));
                        open.retain(|(_, sealed)| sealed.is_none_or(|sealed| sealed > settled));
                    }
                }
            }
        }
    }
}
