//! What is known of a pipeline's log: the highest of what workers say and of what was written down before.

use api::pipeline::{Floor, LogStatus, Restarts};
use api::report::{Checkpoints, CompletedCheckpoint, LogPosition, PendingCommit, RestoredCheckpoint};
use checkpoint::ids::{Attempt, Epoch, LogIndex, Slot};

use super::conditions::ms_of_rfc3339;
use crate::build::Configuration;
use crate::decide::{Goal, Worker};
use crate::observe::Observed;

/// Facts that outlive pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knowledge {
    pub log: Option<LogPosition>,
    /// The newest decision of that log.
    pub decided: Option<Floor>,
    pub checkpoints: Checkpoints,
    pub pending: Vec<PendingCommit>,
    pub restarts: Restarts,
}

impl Knowledge {
    pub fn of(observed: &Observed, workers: &[Worker<'_>]) -> Self {
        let mut knowledge = Self::written_down(observed);
        for worker in workers {
            let Some(report) = &worker.report else { continue };
            if let Some(position) = report.log {
                let is_newer = knowledge
                    .log
                    .is_none_or(|known| position.pipeline_id != known.pipeline_id || !known.is_newer_than(&position));
                // Of another pipeline only the newest pod is believed: it was told which one to be.
                let is_told = knowledge.log.is_none_or(|known| known.pipeline_id == position.pipeline_id)
                    || workers.last().is_some_and(|last| last.serial == worker.serial);
                if !(is_newer && is_told) {
                    continue;
                }
                if knowledge.log.is_some_and(|known| known.pipeline_id != position.pipeline_id) {
                    knowledge.decided = None;
                    knowledge.checkpoints = Checkpoints::default();
                }
                knowledge.log = Some(position);
                knowledge.pending.clone_from(&report.pending_commits);
            }
            knowledge.take(&report.checkpoints);
        }
        if workers.last().is_some_and(Worker::has_settled_in_other_words) {
            knowledge.pending.clear();
        }
        super::restarts::count(&mut knowledge.restarts, observed, workers);
        knowledge
    }

    /// Counts a pod that is replaced without having been seen to end, and one that has to go for what somebody changed or asked
    /// for.
    pub fn take_goal(
        &mut self,
        observed: &Observed,
        configuration: &Configuration,
        workers: &[Worker<'_>],
        goal: &Goal,
    ) {
        super::restarts::count_vanished(&mut self.restarts, observed, workers, goal);
        super::restarts::count_wanted(&mut self.restarts, &observed.pipeline, configuration, workers, goal);
    }

    fn take(&mut self, told: &Checkpoints) {
        if let Some(newest) = &told.newest {
            let decision = Floor { attempt: newest.attempt.0, epoch: newest.epoch.0 };
            if self.decided.is_none_or(|known| decision >= known) {
                self.decided = Some(decision);
                // Of a decision that it only read of, a worker knows neither when it was nor how long it took.
                let known = self.checkpoints.newest.take();
                let known = known.filter(|known| newest.time_ms == 0 && is_same(known, newest));
                self.checkpoints.newest = Some(known.unwrap_or_else(|| newest.clone()));
            }
        }
        if told.failed.is_some() {
            self.checkpoints.failed.clone_from(&told.failed);
        }
        if told.restored_from.is_some() {
            self.checkpoints.restored_from.clone_from(&told.restored_from);
        }
        self.checkpoints.consecutive_failures = told.consecutive_failures;
    }

    /// As the status has it.
    fn written_down(observed: &Observed) -> Self {
        let Some(status) = &observed.pipeline.status else { return Self::default() };
        let log = status.log.as_ref().and_then(|log| {
            let pipeline_id = log.pipeline_id.parse().ok()?;
            let (attempt, slot) = (Attempt(log.attempt), Slot(log.slot));
            Some(LogPosition { pipeline_id, log: LogIndex(log.log), attempt, slot })
        });
        let newest = status.checkpoints.last_completed.as_ref().map(|newest| CompletedCheckpoint {
            attempt: Attempt(newest.attempt),
            epoch: Epoch(newest.epoch),
            handle: newest.handle.clone(),
            time_ms: newest.completed_time.as_deref().and_then(ms_of_rfc3339).unwrap_or_default(),
            duration_ms: newest.duration_milliseconds,
            size_bytes: newest.size_bytes,
        });
        let failed = status.checkpoints.last_failed.as_ref().map(|failed| api::report::FailedCheckpoint {
            attempt: Attempt(failed.attempt),
            epoch: Epoch(failed.epoch),
            time_ms: ms_of_rfc3339(&failed.failed_time).unwrap_or_default(),
            reason: failed.message.clone(),
        });
        let restored_from = status.checkpoints.restored_from.as_ref().map(|restored| RestoredCheckpoint {
            attempt: Attempt(restored.attempt),
            epoch: Epoch(restored.epoch),
            handle: restored.handle.clone(),
        });
        let pending = status.pending_commits.iter().map(|pending| PendingCommit {
            sink: pending.sink.clone(),
            attempt: Attempt(pending.attempt),
            epoch: Epoch(pending.epoch),
            committables: pending.committables,
            since_ms: ms_of_rfc3339(&pending.since_time).unwrap_or_default(),
            tries: pending.attempts,
            last_error: pending.last_error.clone(),
        });
        let consecutive_failures = status.checkpoints.consecutive_failures;
        Self {
            log,
            decided: status.log.as_ref().and_then(|log| log.floor),
            checkpoints: Checkpoints { newest, failed, consecutive_failures, restored_from },
            pending: pending.collect(),
            restarts: status.restarts.clone(),
        }
    }

    /// `PIPELINE-ID/ATTEMPT/EPOCH`.
    pub fn floor(&self) -> Option<String> {
        let (log, decided) = (self.log?, self.decided?);
        Some(format!("{}/{}/{}", log.pipeline_id, decided.attempt, decided.epoch))
    }

    pub fn log_status(&self) -> Option<LogStatus> {
        let log = self.log?;
        Some(LogStatus {
            pipeline_id: log.pipeline_id.to_string(),
            log: log.log.0,
            attempt: log.attempt.0,
            slot: log.slot.0,
            floor: self.decided,
        })
    }
}

fn is_same(one: &CompletedCheckpoint, other: &CompletedCheckpoint) -> bool {
    (one.attempt, one.epoch) == (other.attempt, other.epoch)
}
