//! Commits that pend and are settled by turns, as with a target that takes long over every epoch: told once, not each time.

use api::pipeline::{Condition, Phase, PipelineStatus};

/// What has not changed for so long does not flap.
pub const QUIET_MS: u64 = 600_000;

const KIND: &str = "CommitsSettled";

/// What an event has told last of a running Pipeline's commits.
#[derive(Clone, Debug, Default)]
pub struct Flapping {
    told: Option<Condition>,
    /// What its status says, told or not, and since when.
    is_pending: bool,
    changed_ms: Option<u64>,
}

impl Flapping {
    /// Whether something was left untold that may have to be, if it stays.
    pub fn is_owing(&self) -> bool {
        self.is_pending && !self.told.as_ref().is_some_and(is_pending)
    }

    /// The older status as it was told, for the difference that events are made of. While the Pipeline runs, that commits pend
    /// is told at once after ten quiet minutes and otherwise once it has been so for that long; that they no longer do, at
    /// once, where the contrary was told. Called with each status that is written, and
    /// with the same one twice while something [is owing](Self::is_owing).
    #[must_use]
    pub fn as_told(&mut self, mut before: PipelineStatus, after: &PipelineStatus, now_ms: u64) -> PipelineStatus {
        let Some(new) = settled(after) else { return before };
        if self.changed_ms.is_none() {
            self.told = settled(&before).cloned();
            self.is_pending = self.told.as_ref().is_some_and(is_pending);
        }
        let is_calm = self.changed_ms.is_none_or(|changed| now_ms.saturating_sub(changed) >= QUIET_MS);
        if is_pending(new) != self.is_pending {
            (self.is_pending, self.changed_ms) = (is_pending(new), Some(now_ms));
        }
        let is_told = is_calm || !self.is_pending || after.phase != Some(Phase::Running);
        let known = if is_told { self.told.replace(new.clone()) } else { Some(new.clone()) };
        before.conditions.retain(|condition| condition.kind != KIND);
        before.conditions.extend(known);
        before
    }
}

fn settled(status: &PipelineStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == KIND)
}

fn is_pending(condition: &Condition) -> bool {
    condition.reason == "CommitsPending"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::events;

    const PENDING: &str = "CommitsPending";
    const SETTLED: &str = "CommitsSettled";

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
        fn after(&mut self, passed_ms: u64, phase: Phase, pends: bool) -> Vec<&'static str> {
            self.now_ms += passed_ms;
            let after = status(phase, pends);
            let before = self.flapping.as_told(std::mem::replace(&mut self.status, after.clone()), &after, self.now_ms);
            let told = events(&before, &after).into_iter().map(|told| told.reason);
            told.filter(|reason| [PENDING, SETTLED].contains(reason)).collect()
        }

        fn runs(&mut self, passed_ms: u64, pends: bool) -> Vec<&'static str> {
            self.after(passed_ms, Phase::Running, pends)
        }
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
}
