//! When a new status is worth a write: what is decided by it at once, what only counts now and then.

use api::pipeline::{
    AttemptRestarts, CheckpointStatus, Condition, PendingCommitStatus, Phase, PipelineStatus, Restarts,
};

/// Figures alone are worth a write this often.
pub const FIGURES_MS: u64 = 30_000;
/// Reasons, a bad and a good one, between which a condition may go to and fro with every epoch while a Pipeline runs: commits
/// of a target that takes long over each, checkpoints that fail now and then.
const TURNS: [[&str; 2]; 2] = [["CommitsPending", "NoPendingCommits"], ["CheckpointFailed", "CheckpointCompleted"]];

/// Whether a new status is worth a write now: every change at once but that of figures, those every 30 s.
/// `written_ms`: when this controller wrote the last one.
pub fn is_due(before: Option<&PipelineStatus>, after: &PipelineStatus, written_ms: Option<u64>, now_ms: u64) -> bool {
    let Some(before) = before else { return true };
    if before == after {
        return false;
    }
    let is_first = before.checkpoints.last_completed.is_none() && after.checkpoints.last_completed.is_some();
    is_first
        || without_figures(before) != without_figures(after)
        || written_ms.is_none_or(|written| now_ms.saturating_sub(written) >= FIGURES_MS)
}

/// Without what goes on changing while nothing new happens: checkpoints, tries, and the words of the last error.
fn without_figures(status: &PipelineStatus) -> PipelineStatus {
    let checkpoints = CheckpointStatus { restored_from: status.checkpoints.restored_from.clone(), ..<_>::default() };
    // Attempts within a pod may fail every second while a target is away.
    let restarts = Restarts {
        total: status.restarts.total.saturating_sub(status.restarts.attempts.total),
        attempts: AttemptRestarts::default(),
        last_time: None,
        last_reason: None,
        ..status.restarts.clone()
    };
    let is_running = status.phase == Some(Phase::Running);
    // They pend and are settled by turns, as the condition that tells of them.
    let pending = status.pending_commits.iter().filter(|_| !is_running).map(|pending| PendingCommitStatus {
        committables: 0,
        attempts: 0,
        last_error: None,
        ..pending.clone()
    });
    let without_turns = |condition: &Condition| {
        let turns = TURNS.iter().filter(|_| is_running).find(|turns| turns.contains(&condition.reason.as_str()));
        let plain = without_words(condition);
        if let Some([_, good]) = turns { at_its_best(plain, good) } else { plain }
    };
    PipelineStatus {
        checkpoints,
        restarts,
        log: None,
        pending_committables: 0,
        pending_commits: pending.collect(),
        conditions: status.conditions.iter().map(without_turns).collect(),
        ..status.clone()
    }
}

fn at_its_best(condition: Condition, good: &str) -> Condition {
    let (status, reason) = ("True".to_owned(), good.to_owned());
    Condition { status, reason, last_transition_time: String::new(), ..condition }
}

fn without_words(condition: &Condition) -> Condition {
    // Between two attempts, and in the next one: by turns, until one of them gets through.
    let reason = if condition.reason == "Restarting" { "Recovering" } else { &condition.reason };
    Condition { reason: reason.to_owned(), message: String::new(), ..condition.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN_MS: u64 = 1_000_000;

    fn status(change: impl FnOnce(&mut PipelineStatus)) -> PipelineStatus {
        let condition = |kind: &str, reason: &str| Condition {
            kind: kind.to_owned(),
            status: "False".to_owned(),
            reason: reason.to_owned(),
            message: "sink `out`: away".to_owned(),
            last_transition_time: "2026-01-01T10:00:00Z".to_owned(),
            observed_generation: 1,
        };
        let pending = PendingCommitStatus {
            sink: "out".to_owned(),
            attempt: 1,
            epoch: 7,
            committables: 3,
            since_time: "2026-01-01T10:00:00Z".to_owned(),
            attempts: 2,
            last_error: Some("away".to_owned()),
        };
        let mut status = PipelineStatus {
            pending_committables: 3,
            pending_commits: vec![pending],
            conditions: vec![
                condition("Ready", "Recovering"),
                condition("CommitsSettled", "CommitsPending"),
                condition("CheckpointHealthy", "CheckpointFailed"),
            ],
            ..PipelineStatus::default()
        };
        change(&mut status);
        status
    }

    fn running(change: impl FnOnce(&mut PipelineStatus)) -> PipelineStatus {
        status(|status| {
            status.phase = Some(Phase::Running);
            change(status);
        })
    }

    /// Makes it a condition in its good state, since a moment ago.
    fn mend(condition: &mut Condition, reason: &str) {
        (condition.status, condition.reason) = ("True".to_owned(), reason.to_owned());
        "2026-01-01T10:00:20Z".clone_into(&mut condition.last_transition_time);
    }

    fn due_after_ms(after: &PipelineStatus) -> u64 {
        due_between_ms(&status(|_| {}), after)
    }

    fn due_between_ms(before: &PipelineStatus, after: &PipelineStatus) -> u64 {
        let is_due = |ms: &u64| is_due(Some(before), after, Some(WRITTEN_MS), WRITTEN_MS + ms);
        (0..=60_000).step_by(1_000).find(is_due).unwrap_or(u64::MAX)
    }

    #[test]
    fn tries_and_their_words_are_told_every_thirty_seconds() {
        assert_eq!(due_after_ms(&status(|_| {})), u64::MAX, "nothing is new");
        let figures: [fn(&mut PipelineStatus); 5] = [
            |status| status.pending_commits[0].attempts += 1,
            |status| status.pending_commits[0].last_error = None,
            |status| (status.pending_commits[0].committables, status.pending_committables) = (2, 2),
            |status| status.conditions[1].message = "sink `out`: refused".to_owned(),
            |status| status.conditions[0].reason = "Restarting".to_owned(),
        ];
        for change in figures {
            assert_eq!(due_after_ms(&status(change)), FIGURES_MS);
        }
    }

    #[test]
    fn while_it_runs_commits_pend_and_settle_every_thirty_seconds() {
        let settle = |status: &mut PipelineStatus| {
            status.pending_commits.clear();
            mend(&mut status.conditions[1], "NoPendingCommits");
        };
        let pending = running(|_| {});
        assert_eq!(due_between_ms(&pending, &running(settle)), FIGURES_MS);
        assert_eq!(due_between_ms(&running(settle), &pending), FIGURES_MS);
        assert_eq!(due_between_ms(&pending, &running(|status| status.pending_commits[0].epoch += 1)), FIGURES_MS);
        let lost = running(|status| "CommitLost".clone_into(&mut status.conditions[1].reason));
        assert_eq!(due_between_ms(&pending, &lost), 0);
        let ended = status(|status| {
            settle(status);
            status.phase = Some(Phase::Finished);
        });
        assert_eq!(due_between_ms(&pending, &ended), 0);
    }

    #[test]
    fn while_it_runs_checkpoints_fail_and_complete_every_thirty_seconds() {
        let complete = |status: &mut PipelineStatus| mend(&mut status.conditions[2], "CheckpointCompleted");
        let (fails, completes) = (running(|_| {}), running(complete));
        assert_eq!(due_between_ms(&fails, &completes), FIGURES_MS);
        assert_eq!(due_between_ms(&completes, &fails), FIGURES_MS);
        assert_eq!(due_between_ms(&status(|_| {}), &status(complete)), 0, "it does not run");
        assert_eq!(due_between_ms(&status(complete), &status(|_| {})), 0, "it does not run");
        let ended = |status: &mut PipelineStatus| status.phase = Some(Phase::Finished);
        assert_eq!(due_between_ms(&completes, &status(ended)), 0);
        let none = running(|status| {
            let condition = &mut status.conditions[2];
            (condition.status, condition.reason) = ("Unknown".to_owned(), "NoCheckpointYet".to_owned());
        });
        for (before, after) in [(&none, &completes), (&none, &fails), (&completes, &none), (&fails, &none)] {
            assert_eq!(due_between_ms(before, after), 0, "the first one is news");
        }
    }

    #[test]
    fn what_pends_and_what_a_condition_says_is_told_at_once() {
        let news: [fn(&mut PipelineStatus); 5] = [
            |status| status.pending_commits.clear(),
            |status| status.pending_commits[0].epoch += 1,
            |status| status.conditions[1].status = "True".to_owned(),
            |status| status.conditions[0].reason = "PodNotStarting".to_owned(),
            |status| status.conditions[0].observed_generation = 2,
        ];
        for change in news {
            assert_eq!(due_after_ms(&status(change)), 0);
        }
    }
}
