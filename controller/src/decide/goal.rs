//! Where to from here: what a Pipeline's pods should come to.

use api::pipeline::{OnDelete, Pipeline};
use api::report::{WorkerReport, WorkerState};

use super::delay::{Verdict, delay, settling_delay_ms};
use super::lives::{Ended, Life, Worker};
use crate::build::Configuration;
use crate::names::{self, Purpose};
use crate::observe::Observed;
use crate::status::Knowledge;
use crate::versions;

/// What is wanted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The pod with this number does what is wanted.
    Have(u64),
    /// One that failed by itself is replaced then.
    Wait { until_ms: u64 },
    /// A pod is to be made now.
    Replace { purpose: Purpose },
    /// The pod with this number has to go first.
    Stopping(u64),
    /// Nothing more is to be done until somebody changes something.
    Rest(Stop),
    /// A deleted Pipeline may go; with what is left undone.
    LetGo { left: Option<String> },
}

/// Why nothing runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Suspended,
    Finished,
    /// It will not go on by itself.
    Failed {
        reason: String,
        message: String,
    },
    /// The worker cannot run this manifest.
    Refused {
        message: String,
    },
}

/// A goal and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    pub goal: Goal,
    /// Nothing is to run any more: what is decided is still to become visible, and then this.
    pub then: Option<Stop>,
}

/// What the pipeline as a whole is to do.
enum Course {
    Run,
    /// Only what is decided is to become visible, and then this.
    Settle(Stop),
    Nothing(Stop),
}

pub(super) fn aim(
    observed: &Observed,
    configuration: &Configuration,
    workers: &[Worker<'_>],
    knowledge: &Knowledge,
) -> Aim {
    let scene = Scene { observed, hash: &configuration.hash, workers, knowledge };
    match scene.course() {
        Course::Run => {
            let goal = scene.run();
            let then = if let Goal::Rest(stop) = &goal { Some(stop.clone()) } else { None };
            Aim { goal, then }
        }
        Course::Settle(stop) => Aim { goal: scene.settle(stop.clone()), then: Some(stop) },
        Course::Nothing(stop) => Aim { goal: scene.rest(stop.clone()), then: Some(stop) },
    }
}

/// When a deletion waits no longer.
pub(super) fn deadline_ms(pipeline: &Pipeline) -> Option<u64> {
    let since = u64::try_from(pipeline.metadata.deletion_timestamp.as_ref()?.0.as_millisecond()).ok()?;
    Some(since.saturating_add(pipeline.spec.deletion_timeout.as_millis()))
}

struct Scene<'a> {
    observed: &'a Observed,
    hash: &'a str,
    workers: &'a [Worker<'a>],
    knowledge: &'a Knowledge,
}

impl Scene<'_> {
    fn newest(&self, purpose: Purpose) -> Option<&Worker<'_>> {
        self.workers.iter().rev().find(|worker| worker.purpose == purpose)
    }

    fn is_deleting(&self) -> bool {
        self.observed.pipeline.metadata.deletion_timestamp.is_some()
    }

    fn course(&self) -> Course {
        if self.is_deleting() || self.observed.pipeline.spec.suspend {
            return Course::Settle(Stop::Suspended);
        }
        let Some(worker) = self.newest(Purpose::Run).filter(|worker| worker.configuration == self.hash) else {
            return Course::Run;
        };
        let Some(ended) = worker.ended().filter(|ended| ended.disrupted.is_none()) else { return Course::Run };
        if let Some(unread) = &worker.unread {
            return Course::Settle(Stop::Failed {
                reason: versions::REASON.to_owned(),
                message: versions::ended(unread),
            });
        }
        let message = || worker.report.as_ref().and_then(|report| report.message.clone()).unwrap_or_default();
        match (ended.code, worker.state()) {
            (Some(0), Some(WorkerState::Finished)) => Course::Nothing(Stop::Finished),
            (Some(1), Some(WorkerState::Failed)) => {
                let reason = worker.report.as_ref().and_then(|report| report.reason.clone());
                let reason = reason.unwrap_or_else(|| "Failed".to_owned());
                Course::Settle(Stop::Failed { reason, message: message() })
            }
            (Some(2), _) => Course::Nothing(Stop::Refused { message: versions::refused(worker.report.as_ref()) }),
            (Some(3), _) if !self.workers.iter().any(|other| other.serial > worker.serial) => {
                // None of ours: somebody else runs on this store.
                Course::Nothing(Stop::Failed { reason: "FencedByForeign".to_owned(), message: message() })
            }
            // What it had decided is to become visible all the same.
            _ if worker.failed_by_itself() && self.verdict() == Verdict::Never => Course::Settle(given_up(ended)),
            _ => Course::Run,
        }
    }

    fn run(&self) -> Goal {
        let wanted = self.newest(Purpose::Run).filter(|worker| worker.configuration == self.hash);
        let is_wanted = |worker: &Worker<'_>| wanted.is_some_and(|wanted| wanted.serial == worker.serial);
        if let Some(other) = self.workers.iter().find(|worker| worker.may_work() && !is_wanted(worker)) {
            return Goal::Stopping(other.serial);
        }
        match wanted {
            Some(worker) if worker.life == Life::Leaving => Goal::Stopping(worker.serial),
            Some(worker) if worker.may_work() => Goal::Have(worker.serial),
            Some(worker) => self.again(worker),
            None => Goal::Replace { purpose: Purpose::Run },
        }
    }

    /// After a pod of the present configuration has ended or is lost.
    fn again(&self, worker: &Worker<'_>) -> Goal {
        let now = Goal::Replace { purpose: Purpose::Run };
        match worker.ended() {
            Some(ended) if worker.failed_by_itself() => self.after_delay(ended, now),
            Some(_) | None => now,
        }
    }

    fn after_delay(&self, ended: &Ended, now: Goal) -> Goal {
        match self.verdict() {
            Verdict::AfterMs(delay) => self.when(ended.at_ms.unwrap_or_default().saturating_add(delay), now),
            Verdict::Never => Goal::Rest(given_up(ended)),
        }
    }

    fn when(&self, until_ms: u64, now: Goal) -> Goal {
        if self.observed.now_ms >= until_ms { now } else { Goal::Wait { until_ms } }
    }

    /// After a commit-only pod that has ended, or is lost, and not everything is visible. However it ended: the same would
    /// come of another one at once. Given up never, as what is decided has to become visible.
    fn settle_again(&self, worker: &Worker<'_>) -> Goal {
        let now = Goal::Replace { purpose: self.settling() };
        let Some(ended) = worker.ended().filter(|ended| ended.disrupted.is_none()) else { return now };
        // Their serial numbers follow that of the run that they are made after.
        let run = self.newest(Purpose::Run).map_or(0, |run| run.serial);
        let before = worker.serial.saturating_sub(run).saturating_sub(1);
        let delay = settling_delay_ms(&self.observed.pipeline.spec.restart_policy, before);
        self.when(ended.at_ms.unwrap_or_default().saturating_add(delay), now)
    }

    /// What the restart policy says to the newest failure.
    fn verdict(&self) -> Verdict {
        let policy = &self.observed.pipeline.spec.restart_policy;
        // This failure is counted already.
        delay(policy, self.knowledge.restarts.since_reset.saturating_sub(1))
    }

    /// Nothing runs: not even an older pod whose successor came to an end before it.
    fn rest(&self, stop: Stop) -> Goal {
        match self.workers.iter().find(|worker| worker.may_work()) {
            Some(worker) => Goal::Stopping(worker.serial),
            None => Goal::Rest(stop),
        }
    }

    fn settle(&self, then: Stop) -> Goal {
        if let Some(left) = self.overdue() {
            return Goal::LetGo { left: Some(left) };
        }
        let is_at_work = |worker: &&Worker<'_>| worker.may_work();
        if let Some(worker) = self.workers.iter().filter(is_at_work).find(|worker| worker.purpose == Purpose::Run) {
            return Goal::Stopping(worker.serial);
        }
        if let Some(worker) = self.workers.iter().find(is_at_work) {
            return if worker.life == Life::Leaving {
                Goal::Stopping(worker.serial)
            } else {
                Goal::Have(worker.serial)
            };
        }
        if self.is_done() {
            return if self.is_deleting() { Goal::LetGo { left: self.kept() } } else { Goal::Rest(then) };
        }
        match self.workers.last().filter(|worker| worker.purpose == self.settling()) {
            Some(worker) => self.settle_again(worker),
            None => Goal::Replace { purpose: self.settling() },
        }
    }

    /// What a pod is for that runs nothing.
    fn settling(&self) -> Purpose {
        let may = self.is_to_delete() && self.owns_its_log() && !self.workers.iter().any(knows_no_deletion);
        if may { Purpose::Delete } else { Purpose::Commit }
    }

    fn is_to_delete(&self) -> bool {
        self.is_deleting() && self.observed.pipeline.spec.checkpoint.on_delete == OnDelete::Delete
    }

    /// Not so of one that goes on with the log of another Pipeline, which may still be there.
    fn owns_its_log(&self) -> bool {
        let own = names::uid(&self.observed.pipeline).replace('-', "");
        self.knowledge.log.is_none_or(|log| log.pipeline_id.to_string().replace('-', "") == own)
    }

    /// Checkpoints that were to be deleted and are not: by them a person may find out what became of lost output.
    fn kept(&self) -> Option<String> {
        let report = self.workers.last().and_then(|newest| newest.report.as_ref());
        let why = if !self.is_to_delete() {
            return None;
        } else if report.is_some_and(is_loss) {
            "a commit is proven lost".to_owned()
        } else if !self.owns_its_log() {
            "it went on with the log of another Pipeline".to_owned()
        } else if self.workers.iter().any(knows_no_deletion) {
            "the worker's image knows no `--purpose delete`".to_owned()
        } else {
            report.filter(|report| report.state == WorkerState::Fenced)?.message.clone().unwrap_or_default()
        };
        Some(format!("checkpoints are kept in spite of `onDelete: Delete`: {why}"))
    }

    /// Whether nothing is left to be made visible, nor to be deleted.
    fn is_done(&self) -> bool {
        if self.settling() != Purpose::Delete {
            return self.is_settled();
        }
        let Some(newest) = self.workers.last() else { return self.is_settled() };
        // A run that ended well has deleted nothing.
        newest.purpose == Purpose::Delete
            && newest.ended().is_some()
            && match newest.state() {
                Some(WorkerState::Settled | WorkerState::Finished) => self.is_settled(),
                // The log is somebody else's, who finishes what is decided in it.
                Some(WorkerState::Fenced) => true,
                Some(WorkerState::Failed) => newest.report.as_ref().is_some_and(is_loss),
                _ => newest.has_settled_in_other_words(),
            }
    }

    /// Whether everything that was decided is visible or proven lost, as the last words of the newest pod say. A pod that
    /// left none proves nothing.
    fn is_settled(&self) -> bool {
        let Some(newest) = self.workers.last() else {
            let made = self.observed.pipeline.status.as_ref().map_or(0, |status| status.workers.serial);
            return made == 0;
        };
        if newest.has_settled_in_other_words() {
            return true;
        }
        let Some(report) = newest.report.as_ref().filter(|_| newest.ended().is_some()) else { return false };
        match report.state {
            WorkerState::Settled | WorkerState::Finished | WorkerState::Stopped => report.pending_commits.is_empty(),
            // One that never came to read the log knows of nothing that is pending.
            WorkerState::Failed => {
                let has_read = report.log.is_some() && report.log == self.knowledge.log;
                (has_read && report.pending_commits.is_empty()) || is_loss(report)
            }
            // Nothing was claimed, by anybody: there is nothing of it.
            WorkerState::Refused => self.knowledge.log.is_none(),
            WorkerState::Starting
            | WorkerState::Recovering
            | WorkerState::Running
            | WorkerState::Restarting
            | WorkerState::Stopping
            | WorkerState::StoppedUndecided
            | WorkerState::Fenced => false,
        }
    }

    /// A deletion does not wait for ever: what it leaves behind.
    fn overdue(&self) -> Option<String> {
        if self.observed.now_ms < deadline_ms(&self.observed.pipeline)? || self.is_done() {
            return None;
        }
        let pending: u64 = self.knowledge.pending.iter().map(|pending| pending.committables).sum();
        // One that is at work goes on until it is collected.
        let checkpoints = if self.workers.iter().any(|worker| worker.purpose == Purpose::Delete) {
            "checkpoints may be deleted in part"
        } else if self.is_to_delete() {
            "checkpoints are not deleted"
        } else {
            "checkpoints are kept: `onceward commit` finishes them"
        };
        Some(format!(
            "deletionTimeout has passed with {pending} decided pieces of output known not to be visible; {checkpoints}"
        ))
    }
}

fn given_up(ended: &Ended) -> Stop {
    Stop::Failed {
        reason: "RestartLimitReached".to_owned(),
        message: format!("the restart policy allows no more; the last one ended with {}", ended.reason),
    }
}

/// Of an image that is older than deletion: it refuses the option without a word.
fn knows_no_deletion(worker: &Worker<'_>) -> bool {
    let is_silent = worker.report.is_none() && worker.unread.is_none();
    worker.purpose == Purpose::Delete && is_silent && worker.ended().is_some_and(|ended| ended.code == Some(2))
}

fn is_loss(report: &WorkerReport) -> bool {
    report.reason.as_deref() == Some("CommitLost")
}
