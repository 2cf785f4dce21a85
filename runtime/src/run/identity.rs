//! Whose log a run may go on with, and how far that log must reach.

use std::sync::Arc;

use checkpoint::ids::{LogIndex, PipelineId};
use checkpoint::record::DecisionId;
use checkpoint::recovery::{Intent, Refusal};

use super::supervise::{Supervisor, refuse_or_fail};
use super::{Decided, RunError, RunEvent, StartFrom};
use crate::coordinator::inspect::{self, Seen};
use crate::coordinator::{CoordinatorError, Log, by_sink};

/// Whose the current log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Its own, nobody's yet, or it does not matter whose.
    Own,
    /// A pipeline's of another id.
    Another,
}

/// The newest decisions that are known outside of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor {
    /// The targets show output of it.
    visible: Option<DecisionId>,
    /// Whoever started this run has heard of it.
    told: Option<DecisionId>,
}

impl Floor {
    pub(super) fn newest(self) -> Option<DecisionId> {
        self.visible.max(self.told)
    }

    /// A refusal with what is known from where.
    pub(super) fn refuse(self, log: &Log, refusal: &Refusal) -> RunError {
        let refused = refuse_or_fail(&CoordinatorError::refused(log, refusal));
        match (refused, refusal) {
            (RunError::Failed { reason, message }, Refusal::BelowFloor { .. }) => {
                RunError::Failed { reason, message: format!("{message} ({})", self.describe()) }
            }
            (refused, _) => refused,
        }
    }

    fn describe(self) -> String {
        let name = |of: Option<DecisionId>| of.map_or("none".to_owned(), |of| format!("{}/{}", of.attempt, of.epoch));
        format!("newest checkpoint with visible output: {}, newest reported: {}", name(self.visible), name(self.told))
    }
}

impl Supervisor {
    /// The id that the log must have, if that matters.
    pub(super) fn identity(&self) -> Option<PipelineId> {
        self.options.identity.filter(|_| !matches!(self.options.start, StartFrom::Handle(_)))
    }

    /// What becomes of an intent in a log of `owner`.
    pub(super) async fn of_identity(
        &self,
        log: LogIndex,
        owner: Option<PipelineId>,
        intent: Intent,
    ) -> Result<(Intent, Whose), RunError> {
        let (Some(identity), Some(owner)) = (self.identity(), owner) else { return Ok((intent, Whose::Own)) };
        let refused = |what: &str| {
            let message = format!("the log {}{log}/ is of pipeline {owner}: {what}", self.context.store.address(""));
            Err(RunError::Refused { message })
        };
        let is_own = identity == owner;
        match &intent {
            Intent::Supersede if is_own => refused("a fresh start needs another identity"),
            Intent::Run | Intent::Supersede => {
                if is_own {
                    return Ok((intent, Whose::Own));
                }
                self.check_not_handed_over(log, identity).await?;
                Ok((Intent::Supersede, Whose::Another))
            }
            Intent::CommitOnly => Ok((intent, if is_own { Whose::Own } else { Whose::Another })),
            _ if is_own => Ok((intent, Whose::Own)),
            Intent::Rewind | Intent::AcceptLoss { .. } | Intent::ForceAbort { .. } | Intent::GoBack { .. } => {
                refused(&format!("nothing in it can be taken back or accepted by {identity}"))
            }
        }
    }

    /// A pipeline has one log. Once that was handed over it is not begun a second time: its attempts would be counted
    /// from 1 again, and what they write would have the names of before.
    async fn check_not_handed_over(&self, current: LogIndex, identity: PipelineId) -> Result<(), RunError> {
        // Bounded by the logs of the store.
        for earlier in (0..current.0).map(LogIndex) {
            let log = Log::new(Arc::clone(&self.context.store), earlier, Arc::clone(&self.context.clock));
            if inspect::pipeline(&log).await.map_err(|error| refuse_or_fail(&error))? == Some(identity) {
                return Err(handed_over(earlier, identity));
            }
        }
        Ok(())
    }

    /// As above, where its log is still the current one: whoever it was handed over to has not begun another yet.
    pub(super) fn check_goes_on(&self, log: &Log, whose: Whose, seen: &Seen) -> Result<(), RunError> {
        match self.identity() {
            Some(identity) if whose == Whose::Own && seen.is_superseded() => Err(handed_over(log.index, identity)),
            _ => Ok(()),
        }
    }

    /// The newest decision of the pipeline that is going to run that is known outside of its log. Targets are asked
    /// before the log is read, as a pipeline that runs goes on deciding: what is visible now is in the log by then.
    pub(super) async fn floor(&self, owner: Option<PipelineId>, intent: &Intent) -> Floor {
        let of = if *intent == Intent::Supersede { self.identity() } else { owner.or(self.identity()) };
        let Some(pipeline) = of.filter(|_| !self.options.accept_rewind) else { return Floor::default() };
        let mut visible = None;
        for sink in self.context.setup.sinks.values() {
            // A target that does not answer is told by its own check, if it is needed at all.
            visible = visible.max(sink.committer().newest_visible(pipeline).await.unwrap_or_default());
        }
        let told = self.options.floor.filter(|(of, _)| *of == pipeline).map(|(_, decision)| decision);
        Floor { visible, told }
    }

    /// A log that is begun holds nothing of what is known.
    pub(super) fn check_begun_anew(&self, log: &Log, floor: Floor) -> Result<(), RunError> {
        match floor.newest() {
            Some(known) if self.identity().is_some() => {
                Err(floor.refuse(log, &Refusal::BelowFloor { floor: known, newest: None }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn tell_of_log(&self, log: &Log, owner: Option<PipelineId>, seen: Option<&Seen>) {
        let (Some(pipeline_id), Some(seen)) = (owner, seen) else { return };
        let newest = seen.newest.as_ref();
        let owed = newest.filter(|newest| !newest.is_settled).map(|newest| by_sink(&newest.manifest));
        self.context.observer.event(RunEvent::LogRead {
            pipeline_id,
            log: log.index,
            attempt: seen.highest,
            slot: seen.newest_slot(),
            newest: newest.map(|newest| Decided {
                attempt: newest.decision.attempt,
                epoch: newest.decision.epoch,
                handle: log.handle(newest.at),
                size_bytes: newest.size_bytes(),
            }),
            owed: owed.unwrap_or_default(),
        });
    }
}

fn handed_over(log: LogIndex, identity: PipelineId) -> RunError {
    RunError::Fenced { message: format!("log {log} of pipeline {identity} was handed over to the one after it") }
}
