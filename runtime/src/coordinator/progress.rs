//! How far a run has come, for whoever has to end it early and say what remains.

use std::sync::{Arc, Mutex, PoisonError};

use checkpoint::ids::{Attempt, Epoch};

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
}

impl Progress {
    pub fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
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
