//! Attempts one after the other, until the pipeline is done, cannot go on, or is stopped.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::{Attempt, LogIndex};
use checkpoint::record::{Cause, SinkClaim, bounded};
use checkpoint::recovery::Intent;

use super::begin::{Begin, Task};
use super::restart::{MAX_PANICS, Panics};
use super::{
    Employed, FailureReason, FormerOutput, Outcome, RestartBudget, RunError, RunEvent, RunOptions, StartFrom,
    StopSignal, Verdict, Workers, retry_delay,
};
use crate::clock::Clock;
use crate::coordinator::{Context, CoordinatorError, Ended, Log, Next, Phase, Start, inspect, run_attempt};
use crate::metrics::RESTART_REASONS;
use crate::worker::{Environment, Plan, Rules};

/// A worker whose tasks do not end within this time after their stop is dropped.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// A run: what it runs, and how it ends.
pub(super) struct Supervisor {
    pub(super) context: Arc<Context>,
    pub(super) workers: Arc<dyn Workers>,
    pub(super) plan: Arc<Plan>,
    pub(super) options: RunOptions,
    pub(super) stop: StopSignal,
}

/// How a series of attempts ended.
enum Series {
    Ended(Ended),
    /// The grace period of a stop is over, or there was nothing left that could be stopped.
    Cut,
}

impl Supervisor {
    /// The whole run.
    pub(super) async fn run(mut self) -> Result<Outcome, RunError> {
        let Task { log, intent, floor, identity } = match self.begin().await? {
            Begin::In(task) => task,
            Begin::Finished(ended) => return Ok(self.outcome(ended)),
            Begin::Cut => return Ok(self.cut()),
        };
        let cause = match &intent {
            Intent::CommitOnly => Cause::CommitOnly,
            Intent::ForceAbort { .. } => Cause::Forced,
            Intent::Run | Intent::Supersede | Intent::Rewind | Intent::AcceptLoss { .. } | Intent::GoBack { .. } => {
                Cause::Start
            }
        };
        let deletes = match self.options.start {
            StartFrom::Farewell { claimed } => Some(claimed),
            _ => None,
        };
        let cause = if deletes.is_some() { Cause::CommitOnly } else { cause };
        let start = Start { log, cause, intent, floor, identity, deletes };
        match self.series(start).await? {
            Series::Cut => Ok(self.cut()),
            Series::Ended(ended) => Ok(self.outcome(ended)),
        }
    }

    fn outcome(&self, ended: Ended) -> Outcome {
        let (outcome, event) = match ended {
            Ended::Finished { rows_in, rows_out } => {
                (Outcome::Finished { rows_in, rows_out }, RunEvent::Finished { rows_in, rows_out, already: false })
            }
            Ended::AlreadyFinished { rows_in, rows_out } => (
                Outcome::AlreadyFinished { rows_in, rows_out },
                RunEvent::Finished { rows_in, rows_out, already: true },
            ),
            Ended::Stopped { handle } => (Outcome::Stopped { handle: handle.clone() }, RunEvent::Stopped { handle }),
            Ended::Settled => (Outcome::Settled { nothing_to_do: false }, RunEvent::Settled { nothing_to_do: false }),
            Ended::NothingToSettle => {
                (Outcome::Settled { nothing_to_do: true }, RunEvent::Settled { nothing_to_do: true })
            }
        };
        self.context.observer.event(event);
        outcome
    }

    fn cut(&self) -> Outcome {
        let message = self.context.progress.remains();
        self.context.observer.event(RunEvent::StoppedUndecided { message: message.clone() });
        Outcome::StoppedUndecided { message }
    }

    /// Finishes what the current log has decided; the next log of the store path takes over.
    pub(super) async fn supersede(&mut self, log: LogIndex) -> Result<Begin, RunError> {
        let (cause, intent) = (Cause::CommitOnly, Intent::Supersede);
        let start = Start { log, cause, intent, floor: None, identity: None, deletes: None };
        match self.series(start).await? {
            Series::Cut => return Ok(Begin::Cut),
            Series::Ended(_) => {}
        }
        // Read again: a run that was still going has decided more until it was fenced.
        let reader = Log::new(Arc::clone(&self.context.store), log, Arc::clone(&self.context.clock));
        let settled = inspect::newest(&reader).await.map_err(|error| refuse_or_fail(&error))?;
        if let Some(inspect::Newest { claim, manifest, .. }) = settled {
            let kept = claim.sinks.into_iter().filter(|sink| sink.kind != "discard");
            self.context.observer.event(RunEvent::Superseded {
                pipeline_id: claim.pipeline,
                log,
                rows_out: manifest.rows_out,
                outputs: kept.map(|SinkClaim { name, target, .. }| FormerOutput { sink: name, target }).collect(),
            });
        }
        Ok(Begin::In(Task::fresh(log.next(), self.identity())))
    }

    /// Attempts until one ends as it was meant to.
    async fn series(&mut self, mut start: Start) -> Result<Series, RunError> {
        let mut budget = RestartBudget::new(self.context.setup.restart);
        let mut panics = Panics::default();
        // Bounded by the restart policy; attempts that wait for commits are not, since those are owed.
        loop {
            let begun = self.context.clock.monotonic();
            let (stop, grace) = (self.stop.clone(), self.options.grace);
            let ended = tokio::select! {
                // An end that is there already is not cut off.
                biased;
                ended = self.attempt(&start) => ended,
                () = grace_is_over(stop, grace, self.context.clock.as_ref()) => return Ok(Series::Cut),
            };
            let error = match ended {
                Ok(ended) => return Ok(Series::Ended(ended)),
                Err(error) => error,
            };
            let counted = match error.next() {
                Next::Restart => true,
                Next::RestartUncounted => false,
                Next::Leave | Next::Refuse | Next::Stop(_) => return Err(refuse_or_fail(&error)),
            };
            let phase = self.context.progress.phase();
            self.context.progress.set(Phase::Waiting);
            if self.stop.is_set() {
                return Ok(Series::Cut);
            }
            if panics.failed(error.panic(), phase.decided()) {
                return Err(RunError::Failed {
                    reason: FailureReason::Panic,
                    message: format!("{error} ({MAX_PANICS} times at the same checkpoint)"),
                });
            }
            if matches!(phase, Phase::Running { .. }) && !start.only_settles() {
                // Whatever was asked for at the start has been decided.
                start.intent = Intent::Run;
            }
            let pause = self.pause(&mut budget, &error, begun, counted)?;
            start.cause =
                if counted { Cause::Failure { reason: bounded(&error.to_string()) } } else { Cause::CommitBlocked };
            self.tell_of_pause(phase.attempt(), &error, counted, pause);
            if !self.wait(pause).await {
                return Ok(Series::Cut);
            }
        }
    }

    pub(super) fn tell_of_pause(
        &self,
        attempt: Option<Attempt>,
        error: &CoordinatorError,
        counted: bool,
        pause: Duration,
    ) {
        self.context.observer.event(RunEvent::AttemptFailed {
            attempt,
            message: error.to_string(),
            counted,
            retry_in_ms: pause.as_millis() as u64,
        });
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(
        &self,
        budget: &mut RestartBudget,
        error: &CoordinatorError,
        begun: Duration,
        counted: bool,
    ) -> Result<Duration, RunError> {
        let (now, random) = (self.context.clock.monotonic(), self.context.random.u64());
        let [failure, commit_blocked] = RESTART_REASONS;
        let reason = if counted { failure } else { commit_blocked };
        let verdict = if counted {
            budget.failed(now, now.saturating_sub(begun), random)
        } else {
            Verdict::Restart { after: retry_delay(self.context.setup.restart, 1, random) }
        };
        match verdict {
            Verdict::Restart { after } => {
                self.context.metrics.restarts.with_label_values(&[reason]).inc();
                Ok(after)
            }
            Verdict::GiveUp { reason } => Err(RunError::Failed {
                reason: FailureReason::RestartsExhausted,
                message: format!("{error} ({reason})"),
            }),
        }
    }

    /// `false`: stopped meanwhile.
    pub(super) async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.wait() => false,
            () = self.context.clock.sleep(pause) => true,
        }
    }

    /// One attempt with a worker of its own.
    async fn attempt(&self, start: &Start) -> Result<Ended, CoordinatorError> {
        let environment = Environment {
            store: Arc::clone(&self.context.store),
            clock: Arc::clone(&self.context.clock),
            rules: Rules::default(),
        };
        let Employed { mut port, mut worker } = self.workers.start(Arc::clone(&self.plan), environment);
        let ended = run_attempt(&self.context, start, port.as_mut(), &self.stop).await;
        drop(port);
        tokio::select! {
            biased;
            joined = &mut worker => if let Err(error) = joined {
                tracing::error!(%error, "the worker did not end as it should");
            },
            () = self.context.clock.sleep(JOIN_PATIENCE) => {
                tracing::warn!("the worker did not end in time and is dropped");
            }
        }
        ended
    }
}

/// Returns when a stop was asked for and its grace period has passed.
async fn grace_is_over(mut stop: StopSignal, grace: Duration, clock: &dyn Clock) {
    stop.wait().await;
    clock.sleep(grace).await;
}

/// What the user hears of an error that no restart follows.
pub(super) fn refuse_or_fail(error: &CoordinatorError) -> RunError {
    let message = error.to_string();
    match error.next() {
        Next::Leave => RunError::Fenced { message },
        Next::Refuse => RunError::Refused { message },
        Next::Stop(reason) => RunError::Failed { reason, message },
        Next::Restart | Next::RestartUncounted => RunError::Failed { reason: FailureReason::Store, message },
    }
}
