//! What sources have read between the barriers of an attempt: which rows are meant by a failure that comes after the batch
//! that caused it, when a broker refuses a record that it was sent a while ago.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::control::TaskId;
use checkpoint::ids::Epoch;

use crate::connectors::Stretch;

/// Barriers of one subtask that are kept. Beyond them the newest are told as one: what is told gets wider, not wrong.
const MOST_BARRIERS: usize = 32;
/// Splits that a message names.
const MOST_SPLITS: usize = 8;

/// The trails of all source subtasks of an attempt.
#[derive(Clone, Default)]
pub(crate) struct Trails {
    all: Arc<Mutex<BTreeMap<TaskId, Trail>>>,
}

/// Splits that were not read are not in it, so that it is as long as what was.
struct Trail {
    source: String,
    /// What was read before each barrier that is not decided, since the one before it. Every target has acknowledged what
    /// came of anything older.
    barriers: VecDeque<(Epoch, Vec<Stretch>)>,
    /// What was read until reading ended with a failure.
    end: Option<Vec<Stretch>>,
}

impl Trails {
    /// A subtask of `source` begins to read.
    pub(crate) fn begin(&self, task: &TaskId, source: &str) {
        let trail = Trail { source: source.to_owned(), barriers: VecDeque::new(), end: None };
        self.lock().insert(task.clone(), trail);
    }

    pub(crate) fn barrier(&self, task: &TaskId, epoch: Epoch, mut read: Vec<Stretch>) {
        if let Some(trail) = self.lock().get_mut(task) {
            let is_full = trail.barriers.len() >= MOST_BARRIERS;
            if let Some((_, before)) = trail.barriers.pop_back_if(|_| is_full) {
                read = joined(before.into_iter().chain(read));
            }
            trail.barriers.push_back((epoch, read));
        }
    }

    pub(crate) fn decided(&self, task: &TaskId, epoch: Epoch) {
        if let Some(trail) = self.lock().get_mut(task) {
            while trail.barriers.pop_front_if(|(barrier, _)| *barrier <= epoch).is_some() {}
        }
    }

    pub(crate) fn end(&self, task: &TaskId, read: Vec<Stretch>) {
        if let Some(trail) = self.lock().get_mut(task) {
            trail.end = Some(read);
        }
    }

    pub(crate) fn is_of_source(&self, task: &TaskId) -> bool {
        self.lock().contains_key(task)
    }

    /// Which rows `task` may have had in hand, up to the barrier of `epoch` if there is one: those that it has read itself
    /// since the newest decided checkpoint, or those of all sources.
    pub(crate) fn describe(&self, task: &TaskId, epoch: Option<Epoch>) -> String {
        let all = self.lock();
        let own = all.get(task);
        let trails: Vec<&Trail> = own.map_or_else(|| all.values().collect(), |own| vec![own]);
        let mut told: Vec<String> = trails.iter().flat_map(|trail| trail.describe(epoch)).collect();
        let more = told.len().saturating_sub(MOST_SPLITS);
        told.truncate(MOST_SPLITS);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        if trails.iter().any(|trail| trail.goes_on(epoch)) {
            let mut sources: Vec<String> = trails.iter().map(|trail| format!("`{}`", trail.source)).collect();
            sources.dedup();
            told.push(format!("and what was read of source {} since", sources.join(", ")));
        }
        told.join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Trail>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trail {
    fn has(&self, epoch: Epoch) -> bool {
        self.barriers.iter().any(|(barrier, _)| *barrier == epoch)
    }

    /// Whether more was read than can be told.
    fn goes_on(&self, epoch: Option<Epoch>) -> bool {
        !epoch.is_some_and(|epoch| self.has(epoch)) && self.end.is_none()
    }

    fn describe(&self, epoch: Option<Epoch>) -> Vec<String> {
        let last = epoch.filter(|epoch| self.has(*epoch));
        let barriers = self.barriers.iter().filter(|(barrier, _)| last.is_none_or(|last| *barrier <= last));
        let end = self.end.iter().filter(|_| last.is_none()).flatten();
        let stretches = joined(barriers.flat_map(|(_, read)| read).chain(end).cloned());
        let line =
            |Stretch { split, from, to }| format!("source `{}`, {split} from {from} to before {to}", self.source);
        stretches.into_iter().map(line).collect()
    }
}

/// One stretch for each split: of those that follow each other.
fn joined(stretches: impl Iterator<Item = Stretch>) -> Vec<Stretch> {
    let mut splits: BTreeMap<String, (String, String)> = BTreeMap::new();
    for Stretch { split, from, to } in stretches {
        match splits.get_mut(&split) {
            Some((_, until)) => *until = to,
            None => {
                splits.insert(split, (from, to));
            }
        }
    }
    splits.into_iter().map(|(split, (from, to))| Stretch { split, from, to }).collect()
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::Subtask;

    use super::*;

    fn task(stage: &str) -> TaskId {
        TaskId { stage: stage.into(), subtask: Subtask(0) }
    }

    fn read(split: u64, from: u64, to: u64) -> Stretch {
        Stretch { split: format!("p{split}"), from: from.to_string(), to: to.to_string() }
    }

    #[test]
    fn rows_are_those_since_the_decided_barrier_up_to_the_one_that_failed() {
        let (trails, source) = (Trails::default(), task("read"));
        trails.begin(&source, "orders");
        trails.barrier(&source, Epoch(1), vec![read(0, 0, 10)]);
        trails.barrier(&source, Epoch(2), vec![read(0, 10, 20), read(2, 0, 3)]);
        trails.barrier(&source, Epoch(3), vec![read(0, 20, 30), read(1, 5, 6)]);
        trails.decided(&source, Epoch(1));
        let told = |epoch| trails.describe(&source, epoch);
        let (first, second) = ("source `orders`, p0 from 10 to before", "source `orders`, p2 from 0 to before 3");
        let third = "source `orders`, p1 from 5 to before 6";
        assert_eq!(told(Some(Epoch(2))), format!("{first} 20, {second}"));
        assert_eq!(told(Some(Epoch(3))), format!("{first} 30, {third}, {second}"));
        assert_eq!(told(None), format!("{first} 30, {third}, {second}, and what was read of source `orders` since"));
        trails.end(&source, vec![read(0, 30, 31)]);
        assert_eq!(told(None), format!("{first} 31, {third}, {second}"));
    }

    #[test]
    fn who_reads_nothing_itself_is_told_of_every_source_that_was_read() {
        let trails = Trails::default();
        trails.begin(&task("a"), "orders");
        trails.begin(&task("b"), "returns");
        for idle in ["c", "d", "e", "f", "g", "h", "i", "j", "k"] {
            trails.begin(&task(idle), "returns");
        }
        trails.barrier(&task("b"), Epoch(1), vec![read(7, 2, 4)]);
        let told = trails.describe(&task("merge"), Some(Epoch(1)));
        assert!(told.starts_with("source `returns`, p7 from 2 to before 4"), "{told}");
        assert!(told.ends_with("and what was read of source `orders`, `returns` since"), "{told}");
        assert!(trails.is_of_source(&task("a")) && !trails.is_of_source(&task("merge")));
    }

    #[test]
    fn what_is_kept_and_told_is_bounded_and_never_too_narrow() {
        let (trails, source) = (Trails::default(), task("read"));
        trails.begin(&source, "orders");
        for epoch in 1..=100 {
            trails.barrier(&source, Epoch(epoch), (0..20).map(|split| read(split, epoch - 1, epoch)).collect());
        }
        let told = trails.describe(&source, Some(Epoch(100)));
        assert!(told.starts_with("source `orders`, p0 from 0 to before 100, "), "{told}");
        assert!(told.ends_with(", and 12 more"), "{told}");
        // The barriers from 32 on are told as one: it is not decided before its last.
        trails.decided(&source, Epoch(50));
        let told = trails.describe(&source, Some(Epoch(100)));
        assert!(told.starts_with("source `orders`, p0 from 31 to before 100"), "{told}");
        assert_eq!(trails.lock()[&source].barriers.len(), 1);
    }
}
