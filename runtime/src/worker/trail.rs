//! How far sources had read at the barriers of an attempt: which rows are meant by a failure that comes after the batch
//! that caused it, when a broker refuses a record that it was sent a while ago.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::control::TaskId;
use checkpoint::ids::Epoch;

use crate::connectors::Reached;

/// Barriers of one subtask that are kept. Beyond them the newest gives way: what is told gets wider, not wrong.
const MOST_BARRIERS: usize = 32;
/// Splits that a message names.
const MOST_SPLITS: usize = 8;

/// The trails of all source subtasks of an attempt.
#[derive(Clone, Default)]
pub(crate) struct Trails {
    all: Arc<Mutex<BTreeMap<TaskId, Trail>>>,
}

struct Trail {
    source: String,
    /// Everything before it is decided: every target has acknowledged what came of it.
    decided: Vec<Reached>,
    barriers: VecDeque<(Epoch, Vec<Reached>)>,
    /// Where reading ended with a failure.
    end: Option<Vec<Reached>>,
}

impl Trails {
    /// A subtask of `source` begins to read.
    pub(crate) fn begin(&self, task: &TaskId, source: &str, decided: Vec<Reached>) {
        let trail = Trail { source: source.to_owned(), decided, barriers: VecDeque::new(), end: None };
        self.lock().insert(task.clone(), trail);
    }

    pub(crate) fn barrier(&self, task: &TaskId, epoch: Epoch, reached: Vec<Reached>) {
        if let Some(trail) = self.lock().get_mut(task) {
            if trail.barriers.len() >= MOST_BARRIERS {
                trail.barriers.pop_back();
            }
            trail.barriers.push_back((epoch, reached));
        }
    }

    pub(crate) fn decided(&self, task: &TaskId, epoch: Epoch) {
        if let Some(trail) = self.lock().get_mut(task) {
            while let Some((_, reached)) = trail.barriers.pop_front_if(|(barrier, _)| *barrier <= epoch) {
                trail.decided = reached;
            }
        }
    }

    pub(crate) fn end(&self, task: &TaskId, reached: Vec<Reached>) {
        if let Some(trail) = self.lock().get_mut(task) {
            trail.end = Some(reached);
        }
    }

    pub(crate) fn is_of_source(&self, task: &TaskId) -> bool {
        self.lock().contains_key(task)
    }

    /// Which rows `task` may have had in hand, up to the barrier of `epoch` if there is one: those that it has read itself
    /// since the newest decided checkpoint, or those of all sources.
    pub(crate) fn describe(&self, task: &TaskId, epoch: Option<Epoch>) -> String {
        let all = self.lock();
        let told: Vec<String> = match all.get(task) {
            Some(trail) => vec![trail.describe(epoch)],
            None => all.values().map(|trail| trail.describe(epoch)).collect(),
        };
        let more = told.len().saturating_sub(MOST_SPLITS);
        let mut text = told.into_iter().take(MOST_SPLITS).collect::<Vec<_>>().join("; ");
        if more > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "; and {more} more subtasks");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Trail>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trail {
    fn describe(&self, epoch: Option<Epoch>) -> String {
        let barrier = epoch.and_then(|epoch| self.barriers.iter().find(|(barrier, _)| *barrier == epoch));
        let to = barrier.map(|(_, reached)| reached).or(self.end.as_ref());
        let mut stretches = Vec::new();
        match to {
            Some(to) => {
                for Reached { split, next } in to {
                    let from = self.decided.iter().find(|from| from.split == *split).map(|from| &from.next);
                    match from {
                        Some(from) if from == next => {}
                        Some(from) => stretches.push(format!("{split} from {from} to before {next}")),
                        // It was added since then.
                        None => stretches.push(format!("{split} to before {next}")),
                    }
                }
            }
            None => {
                stretches.extend(self.decided.iter().map(|Reached { split, next }| format!("{split} from {next} on")));
            }
        }
        let more = stretches.len().saturating_sub(MOST_SPLITS);
        stretches.truncate(MOST_SPLITS);
        if more > 0 {
            stretches.push(format!("and {more} more"));
        }
        format!("source `{}`, {}", self.source, stretches.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::Subtask;

    use super::*;

    fn task(stage: &str) -> TaskId {
        TaskId { stage: stage.into(), subtask: Subtask(0) }
    }

    fn at(offsets: &[u64]) -> Vec<Reached> {
        let reached =
            |(index, offset): (usize, &u64)| Reached { split: format!("p{index}"), next: format!("{offset}") };
        offsets.iter().enumerate().map(reached).collect()
    }

    #[test]
    fn rows_are_those_since_the_decided_barrier_up_to_the_one_that_failed() {
        let (trails, source) = (Trails::default(), task("read"));
        trails.begin(&source, "orders", at(&[0, 5]));
        trails.barrier(&source, Epoch(1), at(&[10, 5]));
        trails.barrier(&source, Epoch(2), at(&[20, 5, 3]));
        trails.barrier(&source, Epoch(3), at(&[30, 6, 3]));
        trails.decided(&source, Epoch(1));
        let told = |epoch| trails.describe(&source, epoch);
        assert_eq!(told(Some(Epoch(2))), "source `orders`, p0 from 10 to before 20, p2 to before 3");
        assert_eq!(
            told(Some(Epoch(3))),
            "source `orders`, p0 from 10 to before 30, p1 from 5 to before 6, p2 to before 3"
        );
        assert_eq!(told(None), "source `orders`, p0 from 10 on, p1 from 5 on");
        trails.end(&source, at(&[31, 6, 3]));
        assert_eq!(told(None), "source `orders`, p0 from 10 to before 31, p1 from 5 to before 6, p2 to before 3");
    }

    #[test]
    fn who_reads_nothing_itself_is_told_of_every_source() {
        let trails = Trails::default();
        trails.begin(&task("a"), "orders", at(&[1]));
        trails.begin(&task("b"), "returns", at(&[2]));
        assert_eq!(
            trails.describe(&task("merge"), None),
            "source `orders`, p0 from 1 on; source `returns`, p0 from 2 on"
        );
        assert!(trails.is_of_source(&task("a")) && !trails.is_of_source(&task("merge")));
    }

    #[test]
    fn what_is_kept_and_told_is_bounded_and_never_too_narrow() {
        let (trails, source) = (Trails::default(), task("read"));
        trails.begin(&source, "orders", at(&[0; 20]));
        for epoch in 1..=100 {
            trails.barrier(&source, Epoch(epoch), at(&[epoch; 20]));
        }
        let told = trails.describe(&source, Some(Epoch(100)));
        assert!(told.starts_with("source `orders`, p0 from 0 to before 100, "), "{told}");
        assert!(told.ends_with("p7 from 0 to before 100, and 12 more"), "{told}");
        // The barrier of epoch 50 has given way: the one before it is taken, though more is decided.
        trails.decided(&source, Epoch(50));
        assert!(trails.describe(&source, Some(Epoch(100))).starts_with("source `orders`, p0 from 31 to before 100"));
    }
}
