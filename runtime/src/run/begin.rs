//! What a run has to do, and whether it can: found out by reading alone, before anything is claimed. Whoever is running
//! is left alone by a start that comes to nothing.

use std::sync::Arc;

use checkpoint::ids::{LogIndex, PipelineId};
use checkpoint::manifest::Manifest;
use checkpoint::paths;
use checkpoint::record::{DecisionId, Position, bounded};
use checkpoint::recovery::{Intent, Refusal, foresee};

use super::identity::{Floor, Whose};
use super::supervise::{Supervisor, refuse_or_fail};
use super::{FailureReason, ForceAbort, RestartBudget, RunError, StartFrom};
use crate::connectors::{Classification, Retry, SinkConnector, SinkError};
use crate::coordinator::inspect::{self, Newest, Seen};
use crate::coordinator::{CoordinatorError, Ended, Log, Next, claim, compatibility, depth};
use crate::store::probe::{ProbeError, probe};
use crate::tasks;

/// What there is to do.
pub(super) enum Begin {
    In(Task),
    /// An earlier run has finished: nothing is claimed, so that looking again leaves no trace.
    Finished(Ended),
    /// Stopped before that was known.
    Cut,
}

/// Where to run, and what for.
pub(super) struct Task {
    pub(super) log: LogIndex,
    pub(super) intent: Intent,
    /// The newest decision that must be in the log, unless a person waived it.
    pub(super) floor: Option<DecisionId>,
    /// Whose log it must be.
    pub(super) identity: Option<PipelineId>,
}

impl Task {
    /// A log that holds nothing yet.
    pub(super) fn fresh(log: LogIndex, identity: Option<PipelineId>) -> Self {
        Self { log, intent: Intent::Run, floor: None, identity }
    }
}

/// Why nothing can begin.
pub(super) enum Stuck {
    /// For good.
    Ended(RunError),
    /// As long as the store does not answer.
    Unanswered(CoordinatorError),
}

impl From<RunError> for Stuck {
    fn from(error: RunError) -> Self {
        Self::Ended(error)
    }
}

impl From<CoordinatorError> for Stuck {
    fn from(error: CoordinatorError) -> Self {
        match (error.next(), &error) {
            (Next::Restart, CoordinatorError::Store(_)) => Self::Unanswered(error),
            _ => Self::Ended(refuse_or_fail(&error)),
        }
    }
}

impl Supervisor {
    /// Looks and judges. A store that is reached over a network and does not answer is waited for, as the restart policy
    /// says: nothing is claimed yet.
    pub(super) async fn begin(&mut self) -> Result<Begin, RunError> {
        let mut budget = RestartBudget::new(self.context.setup.restart);
        // Bounded by the restart policy.
        loop {
            let begun = self.context.clock.monotonic();
            let error = match self.look().await {
                Ok(begin) => return Ok(begin),
                Err(Stuck::Unanswered(error)) if self.context.store.is_remote() => error,
                Err(Stuck::Unanswered(error)) => return Err(refuse_or_fail(&error)),
                Err(Stuck::Ended(error)) => return Err(error),
            };
            let pause = self.pause(&mut budget, &error, begun, true)?;
            self.tell_of_pause(None, &error, true, pause);
            if !self.wait(pause).await {
                return Ok(Begin::Cut);
            }
        }
    }

    async fn look(&mut self) -> Result<Begin, Stuck> {
        let log = claim::current_log(&self.context).await?;
        let reader = Log::new(Arc::clone(&self.context.store), log, Arc::clone(&self.context.clock));
        let owner = inspect::pipeline(&reader).await?;
        if let StartFrom::Farewell { claimed } = self.options.start {
            return self.look_back(&reader, owner, claimed).await;
        }
        let intent = self.intent(log)?;
        let (intent, whose) = self.of_identity(log, owner, intent).await?;
        let floor = self.floor(owner, &intent).await;
        let seen = inspect::look(&reader, depth(&intent)).await?;
        self.tell_of_log(&reader, owner, seen.as_ref());
        let Some(seen) = seen else { return self.begin_first(&reader, intent, floor).await };
        let is_elsewhere = whose == Whose::Another || (self.identity().is_some() && seen.is_superseded());
        if intent == Intent::CommitOnly && is_elsewhere {
            // Nothing of this pipeline is owed here: whoever it is that runs is left alone.
            return Ok(Begin::Finished(Ended::NothingToSettle));
        }
        self.check_goes_on(&reader, whose, &seen)?;
        if (intent == Intent::Run || whose == Whose::Another) && seen.is_superseded() {
            // A fresh start that died before it had a log of its own: finish what it began.
            self.check_begun_anew(&reader, floor)?;
            if !self.check_world(None).await? {
                return Ok(Begin::Cut);
            }
            return Ok(Begin::In(Task::fresh(log.next(), self.identity())));
        }
        let intent = match (intent, &seen.newest) {
            // Going back to the newest is going on from it.
            (Intent::GoBack { to }, Some(newest)) if newest.at == to => Intent::Run,
            (intent, _) => intent,
        };
        if let (Intent::Run, Some(newest)) = (&intent, seen.newest.as_ref().filter(|newest| newest.finished)) {
            let (rows_in, rows_out) = (newest.manifest.rows_in, newest.manifest.rows_out);
            return Ok(Begin::Finished(Ended::AlreadyFinished { rows_in, rows_out }));
        }
        if self.options.start == (StartFrom::CommitOnly { always: false }) && is_all_done(&seen) {
            return Ok(Begin::Finished(Ended::NothingToSettle));
        }
        self.check_log(&reader, &seen, &intent, floor).await?;
        if !self.check_world(seen.newest.as_ref()).await? {
            return Ok(Begin::Cut);
        }
        match intent {
            Intent::Supersede => Ok(self.supersede(log).await?),
            Intent::GoBack { .. } if !self.options.accept_duplicates => Err(RunError::Refused {
                message: "it is not the newest checkpoint: everything that became visible after it would appear \
                          twice; say `--accept-duplicates` if that is acceptable"
                    .to_owned(),
            }
            .into()),
            intent => Ok(Begin::In(Task { log, intent, floor: floor.newest(), identity: self.identity() })),
        }
    }

    /// In a store that holds no log.
    async fn begin_first(&mut self, log: &Log, intent: Intent, floor: Floor) -> Result<Begin, Stuck> {
        self.check_begun_anew(log, floor)?;
        if !self.check_world(None).await? {
            return Ok(Begin::Cut);
        }
        match intent {
            Intent::Run | Intent::Supersede => Ok(Begin::In(Task::fresh(log.index, self.identity()))),
            Intent::CommitOnly => Ok(Begin::Finished(Ended::NothingToSettle)),
            Intent::Rewind | Intent::AcceptLoss { .. } | Intent::ForceAbort { .. } | Intent::GoBack { .. } => {
                Err(RunError::Refused { message: Refusal::NothingDecided.to_string() }.into())
            }
        }
    }

    /// What the options ask for.
    fn intent(&self, log: LogIndex) -> Result<Intent, RunError> {
        Ok(match (&self.options.start, &self.options.accept_loss) {
            (StartFrom::Newest, None) => Intent::Run,
            (StartFrom::CommitOnly { .. }, None) => Intent::CommitOnly,
            (StartFrom::ForceAbort(ForceAbort { decision, indices, reason }), None) => {
                Intent::ForceAbort { decision: *decision, indices: indices.clone(), reason: bounded(reason) }
            }
            (StartFrom::Newest, Some(loss)) => Intent::AcceptLoss {
                decision: DecisionId { attempt: loss.attempt, epoch: loss.epoch },
                reason: bounded(&loss.reason),
            },
            (_, Some(_)) => {
                let message = "a loss is accepted by going on from the newest checkpoint: not together with a rewind, \
                               an older checkpoint, or a fresh start";
                return Err(RunError::Refused { message: message.to_owned() });
            }
            (StartFrom::Fresh | StartFrom::Farewell { .. }, None) => Intent::Supersede,
            (StartFrom::Rewind, None) => Intent::Rewind,
            (StartFrom::Handle(handle), None) => Intent::GoBack { to: self.parse_handle(handle, log)? },
        })
    }

    fn parse_handle(&self, handle: &str, log: LogIndex) -> Result<Position, RunError> {
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
        Ok(to)
    }

    /// Targets that cannot be written, or are gone although decided output may wait there; a store that is unfit. `false`:
    /// stopped while it waited for one.
    pub(super) async fn check_world(&mut self, newest: Option<&Newest>) -> Result<bool, Stuck> {
        let newest = newest.filter(|newest| !newest.is_settled);
        let owed =
            |sink: &str| newest.is_some_and(|newest| newest.manifest.committables.iter().any(|c| c.sink == sink));
        let sinks = self.context.setup.sinks.iter();
        let sinks: Vec<_> = sinks.map(|(name, sink)| (name.clone(), Arc::clone(sink), owed(name))).collect();
        for (name, sink, is_owed) in sinks {
            if !self.check_sink(&sink, is_owed).await? {
                return Ok(false);
            }
            let timeout = sink.transaction_timeout().unwrap_or_default();
            self.context.metrics.sink(&name).transaction_timeout_seconds.set(timeout.as_secs_f64());
        }
        match probe(self.context.store.as_ref(), self.context.random.as_ref()).await {
            Ok(()) => Ok(true),
            Err(ProbeError::Unreachable(error)) => Err(CoordinatorError::Store(error).into()),
            Err(error @ ProbeError::Unfit { .. }) => {
                Err(RunError::Failed { reason: FailureReason::Store, message: error.to_string() }.into())
            }
        }
    }

    /// A system that is reached over a network and does not answer is waited for, as the restart policy says; whatever a
    /// person must mend is told at once. `false`: stopped meanwhile.
    async fn check_sink(&mut self, sink: &Arc<dyn SinkConnector>, is_owed: bool) -> Result<bool, RunError> {
        // What is not going to be written to need not be fit for it: a commit waits for a target that is away.
        let is_written = !matches!(
            self.options.start,
            StartFrom::CommitOnly { .. } | StartFrom::Farewell { .. } | StartFrom::ForceAbort(_)
        );
        let mut budget = RestartBudget::new(self.context.setup.restart);
        // Bounded by the restart policy.
        loop {
            let begun = self.context.clock.monotonic();
            let checked = Arc::clone(sink);
            let checking = tasks::spawn_blocking(format!("check {}", sink.target()), move || {
                let present = if is_owed { checked.check_present() } else { Ok(()) };
                present.and_then(|()| if is_written { checked.check() } else { Ok(()) })
            });
            let checked = checking
                .await
                .map_err(|panic| RunError::Failed { reason: FailureReason::Panic, message: panic.to_string() })?;
            let error = match checked {
                Ok(()) => return Ok(true),
                Err(error) if matches!(error, SinkError::Remote { retry: Retry::Backoff, .. }) => error,
                Err(error) => return Err(cannot_heal(&error)),
            };
            let error = error.into();
            let pause = self.pause(&mut budget, &error, begun, true)?;
            self.tell_of_pause(None, &error, true, pause);
            if !self.wait(pause).await {
                return Ok(false);
            }
        }
    }

    /// Everything that a claim would come to refuse, as far as it is known by now.
    pub(super) async fn check_log(&self, log: &Log, seen: &Seen, intent: &Intent, floor: Floor) -> Result<(), Stuck> {
        if *intent == Intent::Supersede {
            self.check_begun_anew(log, floor)?;
        }
        let known = floor.newest().filter(|_| *intent != Intent::Supersede);
        if let Some(refusal) = foresee(seen.history.clone(), intent.clone(), known) {
            return Err(floor.refuse(log, &refusal).into());
        }
        let Some(newest) = &seen.newest else { return Ok(()) };
        if *intent == Intent::Rewind && self.is_visible(&newest.manifest).await {
            let refusal = Refusal::RewindOfCommitted { decision: newest.decision };
            return Err(RunError::Refused { message: refusal.to_string() }.into());
        }
        Ok(self.check_manifest(log, seen, newest, intent).await?)
    }

    /// Whether the manifest fits what it would go on from.
    async fn check_manifest(
        &self,
        log: &Log,
        seen: &Seen,
        newest: &Newest,
        intent: &Intent,
    ) -> Result<(), CoordinatorError> {
        let setup = &self.context.setup;
        compatibility::check_sinks(setup, &newest.manifest, newest.is_settled, &newest.claim)?;
        match intent {
            Intent::CommitOnly | Intent::Supersede | Intent::ForceAbort { .. } => Ok(()),
            Intent::Run | Intent::AcceptLoss { .. } => compatibility::check_state(setup, &newest.manifest),
            Intent::Rewind | Intent::GoBack { .. } => {
                let base = seen.history.last().and_then(|found| found.entry.completed());
                let Some(base) = base else { return Ok(()) };
                compatibility::check_state(setup, &log.read_manifest(&base.manifest).await?)
            }
        }
    }

    /// Whether some output of a decision can be seen already. What a target does not answer now, recovery asks again.
    async fn is_visible(&self, manifest: &Manifest) -> bool {
        for committable in &manifest.committables {
            let Some(sink) = self.context.setup.sinks.get(&committable.sink) else { continue };
            if matches!(sink.committer().classify(committable).await, Ok(Classification::Committed)) {
                return true;
            }
        }
        false
    }
}

/// Whether the commits of the newest decision are known to be done, and the newest attempt has left by itself.
fn is_all_done(seen: &Seen) -> bool {
    let is_settled = |newest: &Newest| newest.is_settled || newest.manifest.committables.is_empty();
    !seen.may_be_running() && seen.newest.as_ref().is_none_or(is_settled)
}

fn cannot_heal(error: &SinkError) -> RunError {
    RunError::Failed { reason: FailureReason::CannotHeal, message: error.to_string() }
}
