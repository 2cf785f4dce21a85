//! Attempts one after the other, until the pipeline is done, cannot go on, or is stopped.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::LogIndex;
use checkpoint::paths;
use checkpoint::record::{Cause, DecisionId, bounded};
use checkpoint::recovery::Intent;

use super::{
    Employed, FailureReason, Outcome, RestartBudget, RunError, RunEvent, RunOptions, StartFrom, StopSignal, Verdict,
    Workers, retry_delay,
};
use crate::clock::Clock;
use crate::coordinator::{
    Context, CoordinatorError, Ended, Log, Next, Phase, Start, claim, compatibility, inspect, run_attempt,
};
use crate::metrics::RESTART_REASONS;
use crate::worker::{Environment, Plan, Rules, Statistics};

/// A worker whose tasks do not end within this time after their stop is dropped.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// A run: what it runs, and how it ends.
pub(super) struct Supervisor {
    pub(super) context: Arc<Context>,
    pub(super) workers: Arc<dyn Workers>,
    pub(super) plan: Arc<Plan>,
    pub(super) statistics: Statistics,
    pub(super) options: RunOptions,
    pub(super) stop: StopSignal,
}

/// How a series of attempts ended.
enum Series {
    Ended(Ended),
    /// The grace period of a stop is over, or there was nothing left that could be stopped.
    Cut,
}

/// What there is to do.
enum Begin {
    In(LogIndex, Intent),
    /// An earlier run has finished: nothing is claimed, so that looking again leaves no trace.
    Finished(Ended),
    /// Stopped before that was known.
    Cut,
}

impl Supervisor {
    /// The whole run.
    pub(super) async fn run(mut self) -> Result<Outcome, RunError> {
        let log = claim::current_log(&self.context).await.map_err(|error| refuse_or_fail(&error))?;
        let (log, intent) = match self.begin(log).await? {
            Begin::In(log, intent) => (log, intent),
            Begin::Finished(ended) => return Ok(self.outcome(ended)),
            Begin::Cut => return Ok(self.cut()),
        };
        let start = Start { log, cause: Cause::Start, intent, floor: None };
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
            Ended::Settled => (Outcome::Stopped { handle: None }, RunEvent::Stopped { handle: None }),
        };
        self.context.observer.event(event);
        outcome
    }

    fn cut(&self) -> Outcome {
        Outcome::StoppedUndecided { message: self.context.progress.remains() }
    }

    /// The log to run in and what to do there.
    async fn begin(&mut self, log: LogIndex) -> Result<Begin, RunError> {
        let reader = Log::new(Arc::clone(&self.context.store), log, Arc::clone(&self.context.clock));
        let newest = inspect::newest(&reader).await.map_err(|error| refuse_or_fail(&error))?;
        let intent = match (&self.options.start, &newest) {
            (StartFrom::Fresh, None) => Intent::Run,
            (StartFrom::Fresh, Some(_)) => return self.supersede(log).await,
            (StartFrom::Newest, _) => match &self.options.accept_loss {
                Some(loss) => Intent::AcceptLoss {
                    decision: DecisionId { attempt: loss.attempt, epoch: loss.epoch },
                    reason: bounded(&loss.reason),
                },
                None => Intent::Run,
            },
            (StartFrom::Rewind, _) => Intent::Rewind,
            (StartFrom::Handle(handle), _) => self.go_back(handle, log, newest.as_ref())?,
        };
        if let (Some(newest), Intent::Run) = (&newest, &intent) {
            if newest.finished {
                let (rows_in, rows_out) = (newest.manifest.rows_in, newest.manifest.rows_out);
                return Ok(Begin::Finished(Ended::AlreadyFinished { rows_in, rows_out }));
            }
            // Looked at before anything is claimed, so that a manifest that cannot go on leaves a running one alone.
            compatibility::check(&self.context.setup, &newest.manifest, newest.is_settled, &newest.claim)
                .map_err(|error| refuse_or_fail(&error))?;
        }
        Ok(Begin::In(log, intent))
    }

    /// Finishes what the current log has decided; the next log of the store path takes over.
    async fn supersede(&mut self, log: LogIndex) -> Result<Begin, RunError> {
        let start = Start { log, cause: Cause::CommitOnly, intent: Intent::CommitOnly, floor: None };
        match self.series(start).await? {
            Series::Cut => Ok(Begin::Cut),
            Series::Ended(_) => Ok(Begin::In(log.next(), Intent::Run)),
        }
    }

    fn go_back(&self, handle: &str, log: LogIndex, newest: Option<&inspect::Newest>) -> Result<Intent, RunError> {
        let refused = |message: String| Err(RunError::Refused { message });
        let Some((root, of, to)) = paths::parse_handle(handle) else {
            return refused(format!("`{handle}` is no handle; `onceward checkpoints` lists them"));
        };
        if root.trim_end_matches('/') != self.context.store.address("").trim_end_matches('/') || of != log {
            return refused(format!(
                "`{handle}` is not in the current log of this pipeline ({}{log}/); \
                 only its own checkpoints can be restored",
                self.context.store.address("")
            ));
        }
        match newest {
            Some(newest) if newest.at == to => Ok(Intent::Run),
            _ if self.options.accept_duplicates => Ok(Intent::GoBack { to }),
            _ => refused(format!(
                "`{handle}` is not the newest checkpoint: everything that became visible after it would appear twice; \
                 say `--accept-duplicates` if that is acceptable"
            )),
        }
    }

    /// Attempts until one ends as it was meant to.
    async fn series(&mut self, mut start: Start) -> Result<Series, RunError> {
        let mut budget = RestartBudget::new(self.context.setup.restart);
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
            let was_running = matches!(self.context.progress.phase(), Phase::Running { .. });
            self.context.progress.set(Phase::Waiting);
            if self.stop.is_set() {
                return Ok(Series::Cut);
            }
            if was_running && start.intent != Intent::CommitOnly {
                // Whatever was asked for at the start has been decided.
                start.intent = Intent::Run;
            }
            let pause = self.pause(&mut budget, &error, begun, counted)?;
            start.cause =
                if counted { Cause::Failure { reason: bounded(&error.to_string()) } } else { Cause::CommitBlocked };
            if !self.wait(&error, pause).await {
                return Ok(Series::Cut);
            }
        }
    }

    /// How long to wait before the next attempt.
    fn pause(
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
    async fn wait(&mut self, error: &CoordinatorError, pause: Duration) -> bool {
        self.context.observer.event(RunEvent::AttemptFailed {
            attempt: None,
            message: error.to_string(),
            retry_in_ms: pause.as_millis() as u64,
        });
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
            statistics: self.statistics.clone(),
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
fn refuse_or_fail(error: &CoordinatorError) -> RunError {
    let message = error.to_string();
    match error.next() {
        Next::Leave => RunError::Fenced { message },
        Next::Refuse => RunError::Refused { message },
        Next::Stop(reason) => RunError::Failed { reason, message },
        Next::Restart | Next::RestartUncounted => RunError::Failed { reason: FailureReason::Store, message },
    }
}
