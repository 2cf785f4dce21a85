//! How far a run has come, for whoever has to end it early and say what remains.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::control::TaskId;
use api::statistics::{TaskStatistics, WorkerStatistics};
use checkpoint::ids::{Attempt, Epoch, LogIndex, Nonce};
use tokio::sync::watch;

use super::describe;

/// What the run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Between attempts.
    #[default]
    Waiting,
    Claiming,
    Recovering {
        attempt: Attempt,
    },
    Running {
        attempt: Attempt,
        decided: Epoch,
        open_commits: usize,
        pending: Option<Epoch>,
    },
}

/// Shared by a run and its attempts.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    phase: Arc<Mutex<Phase>>,
    claims: Arc<Mutex<Claims>>,
    /// Read and written since the log began, before the running attempt.
    rows_before: Arc<Mutex<(u64, u64)>>,
    statistics: watch::Sender<Statistics>,
}

/// The newest that the worker has told of each subtask of an attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) attempt: Attempt,
    pub(crate) tasks: BTreeMap<TaskId, TaskStatistics>,
}

impl Statistics {
    /// Rows read from sources and written to sinks.
    fn rows(&self) -> (u64, u64) {
        self.tasks.values().fold((0, 0), |(read, written), task| (read + task.rows_read, written + task.rows_written))
    }
}

/// Claims of one process.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// The first that this process has won in its log.
    first: Option<(LogIndex, Attempt)>,
    /// The newest that this process has won.
    won: Option<(LogIndex, Attempt)>,
    /// Of claims since then: they may stand in the log although nobody was told so. One for each try of the restart
    /// policy.
    tried: Vec<Nonce>,
}

impl Phase {
    /// The attempt that is at work, once it has its number.
    pub fn attempt(self) -> Option<Attempt> {
        match self {
            Self::Waiting | Self::Claiming => None,
            Self::Recovering { attempt } | Self::Running { attempt, .. } => Some(attempt),
        }
    }

    /// What it goes on from, once that is known.
    pub fn decided(self) -> Option<Epoch> {
        match self {
            Self::Waiting | Self::Claiming | Self::Recovering { .. } => None,
            Self::Running { decided, .. } => Some(decided),
        }
    }
}

impl Progress {
    pub fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begins_after(&self, rows_in: u64, rows_out: u64) {
        *self.rows_before.lock().unwrap_or_else(PoisonError::into_inner) = (rows_in, rows_out);
    }

    pub(crate) fn rows_before(&self) -> (u64, u64) {
        *self.rows_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counted(&self, statistics: WorkerStatistics) {
        self.statistics.send_modify(|told| {
            if told.attempt != statistics.attempt {
                *told = Statistics { attempt: statistics.attempt, tasks: BTreeMap::new() };
            }
            told.tasks.extend(statistics.tasks.into_iter().map(|task| (task.task.clone(), task)));
        });
    }

    /// Counters of the subtasks, as often as the worker tells them.
    pub(crate) fn statistics(&self) -> watch::Receiver<Statistics> {
        self.statistics.subscribe()
    }

    /// Rows read and written by `attempt`, as far as the worker has told.
    pub(crate) fn rows(&self, attempt: Attempt) -> (u64, u64) {
        let told = self.statistics.borrow();
        if told.attempt == attempt { told.rows() } else { (0, 0) }
    }

    pub(super) fn tries_claim(&self, nonce: Nonce) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).tried.push(nonce);
    }

    pub(super) fn won_claim(&self, log: LogIndex, attempt: Attempt) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let first = claims.first.filter(|(of, _)| *of == log).or(Some((log, attempt)));
        *claims = Claims { first, won: Some((log, attempt)), tried: Vec::new() };
    }

    /// Whether an earlier attempt of this process claimed `attempt`: all since its first one are its own, as it would
    /// have left if somebody else had come in between.
    pub(super) fn is_ours(&self, log: LogIndex, attempt: Attempt) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.first.is_some_and(|(of, first)| of == log && first <= attempt)
    }

    /// Whether a claim above those of this process was made by another one, which owns the log since.
    pub(super) fn is_rival(&self, log: LogIndex, attempt: Attempt, nonce: Nonce) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(claims.won, Some((of, won)) if of == log && won < attempt) && !claims.tried.contains(&nonce)
    }

    /// What the next run will have to do if this one ends now.
    pub fn remains(&self) -> String {
        match self.phase() {
            Phase::Waiting => {
                "no attempt was running; the next run goes on from the newest checkpoint and finishes its commits"
                    .into()
            }
            Phase::Claiming => "the log was being claimed; the next run goes on from the newest checkpoint".into(),
            Phase::Recovering { attempt } => {
                format!(
                    "attempt {attempt} was finishing the commits of the newest checkpoint; the next run finishes them"
                )
            }
            Phase::Running { attempt, decided, open_commits, .. } if open_commits > 0 => format!(
                "{} is decided and {open_commits} of its commits are not done; the next run finishes them",
                describe(attempt, decided)
            ),
            Phase::Running { attempt, decided, pending: Some(pending), .. } => format!(
                "{} was not decided; the next run does its work again from epoch {decided}",
                describe(attempt, pending)
            ),
            Phase::Running { decided, pending: None, .. } => {
                format!("no last checkpoint was begun; the next run goes on from epoch {decided}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogIndex = LogIndex(0);
    const NEXT_LOG: LogIndex = LogIndex(1);
    const OURS: Nonce = Nonce(1);
    const THEIRS: Nonce = Nonce(2);

    fn after_winning(attempt: u64) -> Progress {
        let progress = Progress::default();
        progress.tries_claim(OURS);
        progress.won_claim(LOG, Attempt(attempt));
        progress
    }

    #[test]
    fn a_process_that_has_won_nothing_has_no_rival() {
        let progress = Progress::default();
        progress.tries_claim(OURS);
        assert!(!progress.is_rival(LOG, Attempt(9), THEIRS), "whoever came before is to be taken over from");
    }

    #[test]
    fn a_claim_above_ones_own_with_a_foreign_nonce_is_a_rivals() {
        let progress = after_winning(3);
        assert!(progress.is_rival(LOG, Attempt(4), THEIRS));
        assert!(!progress.is_rival(LOG, Attempt(3), THEIRS), "the own number");
        assert!(!progress.is_rival(LOG, Attempt(2), THEIRS), "one that was taken over from");
        assert!(!progress.is_rival(NEXT_LOG, Attempt(4), THEIRS), "another log");
    }

    #[test]
    fn a_claim_above_ones_own_with_a_nonce_that_was_tried_is_ones_own() {
        let progress = after_winning(3);
        let tried = [Nonce(5), Nonce(6)];
        for nonce in tried {
            progress.tries_claim(nonce);
        }
        assert!(tried.iter().all(|nonce| !progress.is_rival(LOG, Attempt(4), *nonce)));
        assert!(progress.is_rival(LOG, Attempt(4), THEIRS));
    }

    #[test]
    fn nonces_of_claims_before_the_newest_won_one_are_forgotten() {
        let progress = after_winning(3);
        assert!(progress.is_rival(LOG, Attempt(4), OURS), "it stands at 3; nobody can have made 4 with it");
    }

    #[test]
    fn all_attempts_since_the_first_of_a_process_in_its_log_are_ones_own() {
        let progress = after_winning(3);
        progress.won_claim(LOG, Attempt(5));
        let ours = |log, attempt| progress.is_ours(log, Attempt(attempt));
        assert!(!ours(LOG, 2) && ours(LOG, 3) && ours(LOG, 4) && ours(LOG, 5) && !ours(NEXT_LOG, 5));
        progress.won_claim(NEXT_LOG, Attempt(1));
        assert!(ours(NEXT_LOG, 1) && !ours(LOG, 5), "a new log begins a new row");
    }
}
