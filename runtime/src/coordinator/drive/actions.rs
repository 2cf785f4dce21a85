//! Carries out what the protocol's machine asks for.

use std::time::Duration;

use api::control::{FailureKind, ToWorker};
use checkpoint::coordinator::{Action, CheckpointFailure, End};
use checkpoint::ids::{Attempt, Epoch};
use checkpoint::record::{DecisionId, Position};
use checkpoint::retention::Decision;

use super::{Asked, Running};
use crate::coordinator::error::CoordinatorError;
use crate::coordinator::manifests::part_names;
use crate::coordinator::{Ended, timing};
use crate::crashpoint;
use crate::run::RunEvent;

/// The end does not wait for it any longer.
const LAST_SWEEP: Duration = Duration::from_secs(10);

impl Running<'_> {
    /// `Some`: the attempt is over.
    pub(super) async fn carry_out(&mut self, action: Action) -> Result<Option<Ended>, CoordinatorError> {
        match action {
            Action::Log(request) => self.jobs.log(&self.log, request),
            Action::Begin { epoch, savepoint: _ } => self.begin(epoch).await?,
            Action::CheckpointFailed { epoch, failure, in_a_row } => self.failed(epoch, failure, in_a_row),
            Action::WriteManifest { epoch, manifest } => {
                crashpoint::hit("coordinator.all_acknowledged")?;
                let manifest = self.ledger.count(epoch, &manifest, self.context.clock.monotonic());
                let random = std::sync::Arc::clone(&self.context.random);
                self.jobs.write_manifest(&self.log, (self.attempt, epoch), manifest, random);
            }
            Action::Decided { epoch, at, savepoint } => self.decided(epoch, at, savepoint).await?,
            Action::Commit(order) => self.jobs.commit(&self.committers, order),
            Action::CommitsDone { decision } => self.commits_done(decision).await?,
            Action::Retain => self.jobs.retain(&self.log, self.attempt, self.context.setup.retain),
            Action::SavepointReady { at } => self.answer(at, true),
            Action::End(end) => {
                if matches!(end, End::Finished | End::Stopped) {
                    self.sweep_at_last().await;
                }
                return self.end(end).map(Some);
            }
        }
        Ok(None)
    }

    async fn begin(&mut self, epoch: Epoch) -> Result<(), CoordinatorError> {
        self.ledger.begin(epoch, self.context.clock.monotonic());
        if let Some(asked) = self.asked.as_mut() {
            asked.epoch.get_or_insert(epoch);
        }
        self.context.metrics.checkpoints.in_progress.set(1);
        self.tell(ToWorker::Checkpoint { attempt: self.attempt, epoch }).await?;
        crashpoint::hit("coordinator.barrier_sent")?;
        Ok(())
    }

    async fn tell(&mut self, message: ToWorker) -> Result<(), CoordinatorError> {
        if self.worker.send(message).await { Ok(()) } else { Err(CoordinatorError::WorkerGone) }
    }

    /// Whoever asked is told: of a checkpoint once it is decided, of a savepoint once it may be handed out.
    fn answer(&mut self, at: Position, is_savepoint: bool) {
        let Some(Asked { request, epoch: Some(epoch) }) = &self.asked else { return };
        if request.savepoint != is_savepoint {
            return;
        }
        self.context.requests.answered(request);
        self.context.observer.event(RunEvent::CheckpointAnswered {
            id: request.id.clone(),
            savepoint: is_savepoint,
            attempt: self.attempt,
            epoch: *epoch,
            handle: self.log.handle(at),
        });
        self.asked = None;
    }

    fn failed(&mut self, epoch: Epoch, failure: CheckpointFailure, consecutive: u32) {
        // The next one answers.
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.epoch == Some(epoch)) {
            asked.epoch = None;
        }
        let (result, reason) = match failure {
            CheckpointFailure::Timeout => ("timed_out", "not acknowledged by all tasks in time".to_owned()),
            CheckpointFailure::Declined { task } => {
                let who = self.tasks.iter().find(|(_, number)| **number == task).map(|(id, _)| id.clone());
                let who = who.map_or_else(String::new, |id| format!("{} {}: ", id.stage, id.subtask));
                ("failed", format!("{who}{}", self.ledger.take_declined().unwrap_or_else(|| "declined".to_owned())))
            }
            CheckpointFailure::ManifestNotWritten => ("failed", "the manifest could not be written".to_owned()),
        };
        let metrics = &self.context.metrics.checkpoints;
        metrics.total.with_label_values(&[result]).inc();
        metrics.consecutive_failures.set(i64::from(consecutive));
        metrics.in_progress.set(0);
        self.ledger.last_failure = format!("epoch {epoch}: {reason}");
        self.context.observer.event(RunEvent::CheckpointFailed { attempt: self.attempt, epoch, reason, consecutive });
    }

    async fn decided(&mut self, epoch: Epoch, at: Position, savepoint: bool) -> Result<(), CoordinatorError> {
        crashpoint::hit("coordinator.decided")?;
        self.tell(ToWorker::Decided { attempt: self.attempt, epoch }).await?;
        let now = self.context.clock.monotonic();
        let size = self.ledger.decided(epoch, now);
        let durations = self.ledger.timing.take().map(|timing| timing.decided(now)).unwrap_or_default();
        self.tell_metrics(epoch, size.state_bytes, size.written_bytes);
        timing::observe(&self.context.metrics.checkpoints, &durations);
        let manifest = &self.ledger.decided;
        let objects = self.ledger.manifest_name.take().into_iter().chain(part_names(manifest)).collect();
        self.jobs.decided(Decision { at, savepoint, objects });
        let handle = self.log.handle(at);
        self.ledger.handle = Some(handle.clone());
        let manifest = &self.ledger.decided;
        self.context.observer.event(RunEvent::CheckpointCompleted {
            attempt: self.attempt,
            epoch,
            slot: at.slot,
            handle,
            durations,
            size_bytes: size.state_bytes,
            written_bytes: size.written_bytes,
            committables: manifest.committables.len() as u64,
            owed: self.ledger.owed(),
            rows: size.rows,
            rows_in: manifest.rows_in,
        });
        if self.asked.as_ref().is_some_and(|asked| asked.epoch == Some(epoch)) {
            self.answer(at, false);
        }
        Ok(())
    }

    fn tell_metrics(&self, epoch: Epoch, size_bytes: u64, written_bytes: u64) {
        let metrics = &self.context.metrics.checkpoints;
        metrics.total.with_label_values(&["completed"]).inc();
        metrics.consecutive_failures.set(0);
        metrics.in_progress.set(0);
        let wall_seconds = self.context.clock.wall_ms() as f64 / 1_000.0;
        metrics.last_completed_timestamp_seconds.set(wall_seconds);
        metrics.last_completed_epoch.set(epoch.0 as i64);
        metrics.last_size_bytes.set(size_bytes as i64);
        metrics.written_bytes.inc_by(written_bytes);
        for (sink, count) in self.ledger.committables_by_sink() {
            self.context.metrics.commits.owes(sink, count, wall_seconds);
        }
    }

    async fn commits_done(&mut self, decision: DecisionId) -> Result<(), CoordinatorError> {
        crashpoint::hit("coordinator.all_committed")?;
        self.tell(ToWorker::Committed { attempt: self.attempt, epoch: decision.epoch }).await?;
        let now = self.context.clock.monotonic();
        let took = now.saturating_sub(self.ledger.decided_at);
        let metrics = &self.context.metrics;
        metrics.checkpoints.stage_duration_seconds.with_label_values(&["commit"]).observe(took.as_secs_f64());
        for (sink, _) in self.ledger.committables_by_sink() {
            metrics.commits.owes(sink, 0, 0.0);
            let latency = metrics.sink(sink).visible_latency;
            self.ledger.waits(now).iter().for_each(|wait| latency.observe(wait.as_secs_f64()));
        }
        let manifest = &self.ledger.decided;
        self.context.observer.event(RunEvent::CommitCompleted {
            attempt: decision.attempt,
            epoch: decision.epoch,
            committables: manifest.committables.len() as u64,
            rows: manifest.committables.iter().map(|committable| committable.rows).sum(),
            duration_us: took.as_micros() as u64,
        });
        Ok(())
    }

    /// Nobody sweeps behind the last attempt: once more, for what zombies have begun since the start or the last look.
    async fn sweep_at_last(&mut self) {
        if self.attempt == Attempt(1) {
            return;
        }
        tokio::select! {
            () = self.committers.sweep_all() => {}
            () = self.context.clock.sleep(LAST_SWEEP) => tracing::warn!("the last sweep took too long and was left"),
        }
    }

    fn end(&mut self, end: End) -> Result<Ended, CoordinatorError> {
        match end {
            End::Finished => {
                crashpoint::hit("coordinator.released")?;
                let (rows_in, rows_out) = (self.ledger.decided.rows_in, self.ledger.decided.rows_out);
                Ok(Ended::Finished { rows_in, rows_out })
            }
            End::Stopped => {
                crashpoint::hit("coordinator.released")?;
                Ok(Ended::Stopped { handle: self.ledger.handle.clone() })
            }
            End::Fenced { by } => Err(CoordinatorError::Fenced { by }),
            End::Failed { reason } => Err(self.failure.take().unwrap_or_else(|| CoordinatorError::Worker {
                stage: "worker".to_owned(),
                subtask: 0,
                reason,
                kind: FailureKind::Transient,
            })),
            End::CheckpointsFailed => {
                Err(CoordinatorError::CheckpointsFailed { last: std::mem::take(&mut self.ledger.last_failure) })
            }
            End::CommitBlocked => Err(CoordinatorError::CommitBlocked),
            End::BudgetExhausted => Err(CoordinatorError::BudgetExhausted),
            End::Lost(loss) => Err(self.committers.lost(&loss)),
            End::Broken(violation) => Err(violation.into()),
        }
    }
}
