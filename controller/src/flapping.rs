//! What comes and goes while a Pipeline runs: commits that pend, as with a target that takes long over every epoch, and
//! checkpoints that fail in a row. Told once, not each time.

use api::pipeline::{Condition, Phase, PipelineStatus};

use crate::events::WORTH_TELLING;

/// What has not changed for so long does not flap.
pub const QUIET_MS: u64 = 600_000;

const KIND: &str = "CommitsSettled";

/// What events have told last of a running Pipeline.
#[derive(Clone, Debug, Default)]
pub struct Flapping {
    commits: Turns<Condition>,
    /// Checkpoints that have failed in a row.
    failures: Turns<u32>,
}

impl Flapping {
    /// Whether something was left untold that may have to be, if it stays.
    pub fn is_owing(&self) -> bool {
        self.commits.is_owing() || self.failures.is_owing()
    }

    /// The older status as it was told, for the difference that events are made of. While the Pipeline runs, that commits pend,
    /// or that many checkpoints fail, is told at once after ten quiet minutes and otherwise once it has been so for that long;
    /// that it is over, at once, where the contrary was told. Called with each status that is written, and
    /// with the same one twice while something [is owing](Self::is_owing).
    #[must_use]
    pub fn as_told(&mut self, mut before: PipelineStatus, after: &PipelineStatus, now_ms: u64) -> PipelineStatus {
        let is_running = after.phase == Some(Phase::Running);
        if let Some(new) = settled(after) {
            let known = self.commits.known(settled(&before), new, is_running, now_ms);
            before.conditions.retain(|condition| condition.kind != KIND);
            before.conditions.extend(known);
        }
        let (old, new) = (before.checkpoints.consecutive_failures, after.checkpoints.consecutive_failures);
        let known = self.failures.known(Some(&old), &new, is_running, now_ms);
        before.checkpoints.consecutive_failures = known.unwrap_or_default();
        before
    }
}

/// What a status says that is good or bad.
trait Said: Clone {
    fn is_bad(&self) -> bool;
}

impl Said for Condition {
    fn is_bad(&self) -> bool {
        self.reason == "CommitsPending"
    }
}

impl Said for u32 {
    fn is_bad(&self) -> bool {
        *self >= WORTH_TELLING
    }
}

/// One thing that is good and bad by turns.
#[derive(Clone, Debug)]
struct Turns<T> {
    told: Option<T>,
    /// What the status says, told or not, and since when.
    is_bad: bool,
    changed_ms: Option<u64>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { told: None, is_bad: false, changed_ms: None }
    }
}

impl<T: Said> Turns<T> {
    fn is_owing(&self) -> bool {
        self.is_bad && !self.told.as_ref().is_some_and(T::is_bad)
    }

    /// What was told before `new`, which is told now; `new` itself where it is left untold.
    fn known(&mut self, before: Option<&T>, new: &T, is_running: bool, now_ms: u64) -> Option<T> {
        if self.changed_ms.is_none() {
            self.told = before.cloned();
            self.is_bad = before.is_some_and(T::is_bad);
        }
        let is_calm = self.changed_ms.is_none_or(|changed| now_ms.saturating_sub(changed) >= QUIET_MS);
        if new.is_bad() != self.is_bad {
            (self.is_bad, self.changed_ms) = (new.is_bad(), Some(now_ms));
        }
        let is_told = is_calm || !self.is_bad || !is_running;
        if is_told { self.told.replace(new.clone()) } else { Some(new.clone()) }
    }
}

fn settled(status: &PipelineStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == KIND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::events;

    const PENDING: &str = "CommitsPending";
    const SETTLED: &str = "CommitsSettled";
    const FAIL: &str = "CheckpointsFail";

    /// A Pipeline whose status is written again and again, as a controller does that may begin anew.
    struct Life {
        flapping: Flapping,
        status: PipelineStatus,
        now_ms: u64,
    }

    impl Life {
        fn new() -> Self {
            Self { flapping: Flapping::default(), status: status(Phase::Running, false), now_ms: 1_000_000 }
        }

        /// What is told of the next status, so long after the last one.
        fn next(&mut self, passed_ms: u64, after: &PipelineStatus) -> Vec<&'static str> {
            self.now_ms += passed_ms;
            let before = self.flapping.as_told(std::mem::replace(&mut self.status, after.clone()), after, self.now_ms);
            let told = events(&before, after).into_iter().map(|told| told.reason);
            told.filter(|reason| [PENDING, SETTLED, FAIL].contains(reason)).collect()
        }

        fn after(&mut self, passed_ms: u64, phase: Phase, pends: bool) -> Vec<&'static str> {
            self.next(passed_ms, &status(phase, pends))
        }

        fn runs(&mut self, passed_ms: u64, pends: bool) -> Vec<&'static str> {
            self.after(passed_ms, Phase::Running, pends)
        }

        /// It runs, and so many checkpoints have failed since one completed.
        fn fails(&mut self, passed_ms: u64, failures: u32) -> Vec<&'static str> {
            self.next(passed_ms, &failing(Phase::Running, failures))
        }
    }

    fn failing(phase: Phase, failures: u32) -> PipelineStatus {
        let mut status = status(phase, false);
        status.checkpoints.consecutive_failures = failures;
        status
    }

    fn status(phase: Phase, pends: bool) -> PipelineStatus {
        let (status, reason) = if pends { ("False", PENDING) } else { ("True", "NoPendingCommits") };
        let condition = Condition {
            kind: KIND.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: String::new(),
            observed_generation: 1,
        };
        PipelineStatus { phase: Some(phase), conditions: vec![condition], ..PipelineStatus::default() }
    }

    #[test]
    fn the_first_turn_is_told_and_those_behind_it_are_not() {
        let mut life = Life::new();
        assert_eq!(life.runs(0, true), [PENDING]);
        assert_eq!(life.runs(14_000, false), [SETTLED]);
        for _ in 0..100 {
            assert!(life.runs(30_000, true).is_empty());
            assert!(life.runs(30_000, false).is_empty());
        }
        assert_eq!(life.runs(QUIET_MS, true), [PENDING], "after ten quiet minutes it is news again");
    }

    #[test]
    fn what_lasts_is_told_in_the_end() {
        let mut life = Life::new();
        assert_eq!(life.runs(0, true), [PENDING]);
        assert_eq!(life.runs(14_000, false), [SETTLED]);
        assert!(!life.flapping.is_owing());
        assert!(life.runs(14_000, true).is_empty());
        assert!(life.runs(QUIET_MS - 1, true).is_empty() && life.flapping.is_owing());
        assert_eq!(life.runs(1, true), [PENDING]);
        assert!(life.runs(30_000, true).is_empty());
        assert_eq!(life.runs(30_000, false), [SETTLED], "the end of what was told is told at once");
        assert!(life.runs(30_000, false).is_empty());
    }

    #[test]
    fn of_one_that_does_not_run_all_is_told_at_once() {
        let mut life = Life::new();
        assert_eq!(life.runs(0, true), [PENDING]);
        assert_eq!(life.runs(14_000, false), [SETTLED]);
        assert!(life.runs(14_000, true).is_empty());
        assert_eq!(life.after(1, Phase::Failed, true), [PENDING], "left untold while it ran");
        assert_eq!(life.after(1, Phase::Failed, false), [SETTLED]);
    }

    #[test]
    fn a_controller_that_begins_anew_tells_what_is_known_no_second_time() {
        let mut life = Life::new();
        assert_eq!(life.runs(0, true), [PENDING]);
        life.flapping = Flapping::default();
        assert!(life.runs(14_000, true).is_empty());
        assert_eq!(life.runs(14_000, false), [SETTLED]);
    }

    #[test]
    fn many_failures_in_a_row_are_told_once() {
        let mut life = Life::new();
        assert!(life.fails(0, 2).is_empty(), "they are not many");
        assert_eq!(life.fails(30_000, 3), [FAIL]);
        assert!(life.fails(30_000, 33).is_empty());
        for _ in 0..100 {
            assert!(life.fails(30_000, 0).is_empty());
            assert!(life.fails(30_000, 5).is_empty());
            assert!(life.fails(30_000, 1).is_empty());
            assert!(life.fails(30_000, 3).is_empty());
        }
        assert!(life.fails(30_000, 0).is_empty());
        assert!(life.fails(QUIET_MS - 1, 3).is_empty());
        assert!(life.fails(30_000, 0).is_empty());
        assert_eq!(life.fails(QUIET_MS, 3), [FAIL], "after ten quiet minutes it is news again");
    }

    #[test]
    fn failures_that_last_are_told_in_the_end() {
        let mut life = Life::new();
        assert_eq!(life.fails(0, 3), [FAIL]);
        assert!(life.fails(30_000, 0).is_empty() && !life.flapping.is_owing());
        assert!(life.fails(30_000, 3).is_empty() && life.flapping.is_owing());
        assert!(life.fails(QUIET_MS - 1, 300).is_empty() && life.flapping.is_owing());
        assert_eq!(life.fails(1, 300), [FAIL]);
        assert!(life.fails(30_000, 315).is_empty() && !life.flapping.is_owing());
    }

    #[test]
    fn failures_of_one_that_does_not_run_are_told_at_once() {
        let mut life = Life::new();
        assert_eq!(life.fails(0, 3), [FAIL]);
        assert!(life.fails(30_000, 0).is_empty());
        assert!(life.fails(30_000, 3).is_empty());
        assert_eq!(life.next(1, &failing(Phase::Suspending, 4)), [FAIL], "left untold while it ran");
        assert!(life.next(1, &failing(Phase::Suspending, 0)).is_empty());
        assert_eq!(life.next(1, &failing(Phase::Suspending, 3)), [FAIL]);
    }

    #[test]
    fn commits_and_checkpoints_are_told_apart() {
        let mut life = Life::new();
        assert_eq!(life.fails(0, 3), [FAIL]);
        assert_eq!(life.runs(30_000, true), [PENDING]);
        assert_eq!(life.runs(30_000, false), [SETTLED]);
        assert!(life.fails(QUIET_MS - 60_000, 2).is_empty());
        assert_eq!(life.fails(30_000, 3), [FAIL], "ten minutes after the last of them, however lately commits pended");
        life.flapping = Flapping::default();
        assert!(life.fails(30_000, 4).is_empty(), "a controller that begins anew knows of them");
    }
}
