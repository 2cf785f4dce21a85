//! Drives the protocol's recovery: finish what was decided, clean up, learn where to go on from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use checkpoint::claim::Claimed;
use checkpoint::commit::Classification;
use checkpoint::ids::Attempt;
use checkpoint::manifest::{Committable, Manifest};
use checkpoint::record::DecisionId;
use checkpoint::recovery::{Action, Ending, Event, Intent, Recovery, Restored};

use super::Context;
use super::commit::Committers;
use super::error::CoordinatorError;
use super::log::Log;
use crate::crashpoint;
use crate::run::{CommittableEnd, RunEvent};
use crate::tasks;
use crate::worker::initial_source_snapshot;

/// Where recovery leads.
pub(super) enum Recovered {
    /// `is_first`: nothing was decided before, so nothing is restored.
    Go { restored: Box<Restored>, is_first: bool },
    /// An earlier run has finished.
    Finished,
    /// All commits are done, as was asked.
    Settled,
}

/// What recovery works with.
pub(super) struct Recoverer<'a> {
    pub(super) context: &'a Context,
    pub(super) log: &'a Log,
    pub(super) committers: &'a Committers,
    pub(super) attempt: Attempt,
}

impl Recoverer<'_> {
    /// From a won claim to a restorable state.
    ///
    /// # Errors
    /// Everything that keeps the pipeline from going on.
    pub(super) async fn run(
        &self,
        claimed: Claimed,
        intent: Intent,
        floor: Option<DecisionId>,
    ) -> Result<Recovered, CoordinatorError> {
        let (mut recovery, actions) = Recovery::begin(claimed, intent, floor);
        self.note_owed(&actions);
        let mut queue = VecDeque::from(actions);
        let (mut is_first, mut classified) = (false, false);
        while let Some(action) = queue.pop_front() {
            if let Action::Commit(_) = action
                && !std::mem::replace(&mut classified, true)
            {
                crashpoint::hit("recovery.classified")?;
            }
            is_first |= matches!(action, Action::ResolveFirst);
            if let Action::Classify { index: 0, .. } = action {
                self.begins(&queue);
            }
            let event = match action {
                Action::Done(ending) => return self.end(ending, is_first),
                action => self.carry_out(action).await?,
            };
            let now = self.context.clock.monotonic().as_millis() as u64;
            let actions = recovery.step(now, event);
            self.note_owed(&actions);
            queue.extend(actions);
        }
        // The machine always has a next action until it is done.
        Err(CoordinatorError::Refused("recovery came to no end".to_owned()))
    }

    /// Before a target is asked for the first time: it may never answer.
    fn note_owed(&self, actions: &[Action]) {
        let mut owed: BTreeMap<&str, u64> = BTreeMap::new();
        for action in actions {
            if let Action::Classify { committable, .. } = action {
                *owed.entry(&committable.sink).or_default() += 1;
            }
        }
        let wall_seconds = self.context.clock.wall_ms() as f64 / 1_000.0;
        for (sink, count) in owed {
            self.context.metrics.commits.owes(sink, count, wall_seconds);
        }
    }

    /// The first of all committables of the newest decision is about to be classified; the others are in `queue`.
    fn begins(&self, queue: &VecDeque<Action>) {
        let others = queue.iter().filter(|action| matches!(action, Action::Classify { .. })).count() as u64;
        self.context.observer.event(RunEvent::Recovering { attempt: self.attempt, committables: 1 + others });
    }

    fn ended(&self, committable: &Committable, end: CommittableEnd) {
        self.context.observer.event(RunEvent::RecoveryEnded {
            attempt: self.attempt,
            sink: committable.sink.clone(),
            rows: committable.rows,
            end,
            what: self.committers.describe(committable),
        });
    }

    async fn carry_out(&self, action: Action) -> Result<Event, CoordinatorError> {
        let random = self.context.random.as_ref();
        Ok(match action {
            Action::Log(request) => {
                let is_append = matches!(request, checkpoint::log::Request::CreateSlot(..));
                if is_append {
                    crashpoint::hit("recovery.before_append")?;
                }
                let reply = self.log.carry_out(request).await?;
                if is_append {
                    crashpoint::hit("recovery.appended")?;
                }
                Event::Log(reply)
            }
            Action::LoadManifest(reference) => Event::Manifest(Arc::new(self.log.read_manifest(&reference).await?)),
            Action::ResolveFirst => Event::Manifest(Arc::new(first_manifest(self.context).await?)),
            Action::WriteManifest { epoch, manifest, copy_parts } => {
                let mut manifest = manifest.as_ref().clone();
                if copy_parts {
                    manifest = self.log.copy_parts(self.attempt, manifest, random).await?;
                }
                Event::ManifestWritten(self.log.write_manifest(self.attempt, epoch, manifest, random).await?)
            }
            Action::Classify { index, committable } => {
                let classification = self.committers.classify(&committable).await?;
                if classification == Classification::Committed {
                    self.context.metrics.commits.ended(&committable.sink);
                    self.ended(&committable, CommittableEnd::AlreadyCommitted);
                }
                Event::Classified { index, classification }
            }
            Action::Commit(order) => {
                crashpoint::hit("recovery.before_commit")?;
                let outcome = self.committers.commit(&order).await?;
                crashpoint::hit("recovery.committed")?;
                self.context.metrics.commits.ended(&order.committable.sink);
                self.ended(&order.committable, outcome.into());
                Event::Committed { index: order.index, outcome }
            }
            Action::Abort { index, committable } => {
                crashpoint::hit("recovery.before_take_back")?;
                let outcome = self.committers.abort(&committable).await?;
                crashpoint::hit("recovery.taken_back")?;
                self.ended(&committable, outcome.into());
                Event::Aborted { index, outcome }
            }
            Action::AbortLeftovers { before: _ } => {
                crashpoint::hit("recovery.before_abort")?;
                self.committers.abort_leftovers().await?;
                Event::LeftoversAborted
            }
            Action::Done(_) => return Err(CoordinatorError::Refused("recovery is over".to_owned())),
        })
    }

    fn end(&self, ending: Ending, is_first: bool) -> Result<Recovered, CoordinatorError> {
        for sink in self.context.setup.sinks.keys() {
            self.context.metrics.commits.owes(sink, 0, 0.0);
        }
        match ending {
            Ending::Restore(restored) => Ok(Recovered::Go { restored, is_first }),
            Ending::Finished => Ok(Recovered::Finished),
            Ending::Settled => Ok(Recovered::Settled),
            Ending::Fenced { by } => Err(CoordinatorError::Fenced { by }),
            Ending::Lost(loss) => Err(self.committers.lost(&loss)),
            Ending::Refused(refusal) => Err(CoordinatorError::refused(self.log, &refusal)),
            Ending::Broken(violation) => Err(violation.into()),
        }
    }
}

/// What a new log begins with: resolved start positions and bounds, no state.
async fn first_manifest(context: &Context) -> Result<Manifest, CoordinatorError> {
    let setup = &context.setup;
    let mut snapshots = Vec::with_capacity(setup.sources.len());
    for (name, source) in &setup.sources {
        snapshots.push(first_snapshot(setup.parallelism, name, source).await?);
    }
    Ok(Manifest {
        operators: setup.operators.clone(),
        parallelism: setup.parallelism,
        max_parallelism: setup.max_parallelism,
        finished: false,
        rows_in: 0,
        rows_out: 0,
        snapshots,
        committables: Vec::new(),
    })
}

/// Start positions of a source that the log does not know yet.
///
/// # Errors
/// The source cannot be found or read.
pub(super) async fn first_snapshot(
    parallelism: u32,
    name: &str,
    source: &Arc<dyn crate::connectors::SourceConnector>,
) -> Result<checkpoint::manifest::OperatorSnapshot, CoordinatorError> {
    let source = Arc::clone(source);
    let splits = tasks::spawn_blocking(format!("resolve {name}"), move || source.resolve(parallelism)).await??;
    initial_source_snapshot(name, &splits).map_err(|error| {
        CoordinatorError::Source(crate::connectors::SourceError::Position {
            source_name: name.to_owned(),
            message: error.to_string(),
        })
    })
}
