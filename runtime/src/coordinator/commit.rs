//! What is asked of targets: classify, commit, abort. Tried for ever with the restart policy's delays, since decided
//! work is owed whatever happens; only what can never succeed ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::commit::{Classification, CommitOutcome, Order};
use checkpoint::ids::Attempt;
use checkpoint::manifest::Committable;
use checkpoint::record::Claim;
use checkpoint::recovery::{AbortOutcome, Loss};
use futures::future::BoxFuture;

use super::Context;
use super::error::CoordinatorError;
use crate::connectors::{Committer, Earlier, Retry, SinkConnector, SinkError};
use crate::crashpoint;
use crate::run::{RunEvent, retry_delay};

/// Pieces of a loss that its message names.
const MOST_NAMED: usize = 8;

/// The committers of all sinks that may hold something of this log, by sink name.
#[derive(Clone)]
pub(super) struct Committers {
    context: Arc<Context>,
    attempt: Attempt,
    /// Who may have left something open.
    earlier: Arc<Earlier>,
    current: Arc<BTreeMap<String, Arc<dyn Committer>>>,
    /// Former sinks, or former targets of a sink: nothing is committed there, only leftovers are aborted.
    former: Arc<Vec<(String, Arc<dyn Committer>)>>,
}

impl Committers {
    pub(super) fn new(context: &Arc<Context>, attempt: Attempt, claim: &Claim, earlier: &[(Attempt, Claim)]) -> Self {
        let committer = |sink: &Arc<dyn SinkConnector>| Arc::<dyn Committer>::from(sink.committer());
        let current = context.setup.sinks.iter().map(|(name, sink)| (name.clone(), committer(sink))).collect();
        let mut former = BTreeMap::new();
        for sink in earlier.iter().flat_map(|(_, claim)| &claim.sinks) {
            let same = |known: &checkpoint::record::SinkClaim| {
                (&known.name, &known.kind, &known.target) == (&sink.name, &sink.kind, &sink.target)
            };
            if !claim.sinks.iter().any(same)
                && let Some(connector) = (context.setup.former_sink)(sink)
            {
                former.insert((sink.name.clone(), sink.target.clone()), committer(&connector));
            }
        }
        let former = former.into_iter().map(|((name, _), committer)| (name, committer)).collect();
        Self {
            context: Arc::clone(context),
            attempt,
            earlier: Arc::new(Earlier::of(claim.pipeline, attempt, earlier.iter().map(|(at, claim)| (*at, claim)))),
            current: Arc::new(current),
            former: Arc::new(former),
        }
    }

    fn of(&self, sink: &str) -> Result<&Arc<dyn Committer>, CoordinatorError> {
        self.current.get(sink).ok_or_else(|| {
            CoordinatorError::Refused(format!("sink `{sink}` has decided output to commit, and is not in the manifest"))
        })
    }

    /// A committable in people's words.
    pub(super) fn describe(&self, committable: &Committable) -> String {
        match self.current.get(&committable.sink) {
            Some(committer) => committer.describe(committable),
            None => format!("{} rows of sink `{}`", committable.rows, committable.sink),
        }
    }

    /// The error that tells of a loss which stands in the log already.
    pub(super) fn lost(&self, loss: &Loss) -> CoordinatorError {
        let named: Vec<String> = loss.committables.iter().take(MOST_NAMED).map(|one| self.describe(one)).collect();
        let detail = match (named.is_empty(), &loss.reason) {
            (false, _) => format!("{} committables, among them {}", loss.committables.len(), named.join("; ")),
            (true, Some(reason)) => format!("{reason}; found by an earlier attempt"),
            (true, None) => "found by an earlier attempt".to_owned(),
        };
        CoordinatorError::Lost { decision: loss.decision, detail, rewind_may_help: loss.rewind_may_help }
    }

    /// Whether a process that is thought dead can still open something that holds readers up.
    pub(super) fn needs_sweeping(&self) -> bool {
        self.context.setup.sinks.keys().any(|sink| self.has_transactions(sink))
    }

    fn has_transactions(&self, sink: &str) -> bool {
        self.context.setup.sinks.get(sink).is_some_and(|sink| sink.transactional_ids().is_some())
    }

    /// As [`Self::abort_leftovers`], once and for those alone that hold readers up: a zombie may have opened more since.
    /// What does not answer is asked again at the next sweep.
    pub(super) async fn sweep(&self) {
        let those = self.current.iter().filter(|(sink, _)| self.has_transactions(sink));
        self.sweep_those(those).await;
    }

    /// As [`Self::sweep`], for every sink and every former target, since no later attempt may come: what a zombie has begun to write behind the
    /// start of this attempt holds nobody up, but would lie there for ever. It is dead whatever becomes of this attempt:
    /// what earlier ones have decided was committed before its first record.
    pub(super) async fn sweep_all(&self) {
        self.sweep_those(self.current.iter()).await;
        self.sweep_those(self.former.iter().map(|(sink, committer)| (sink, committer))).await;
    }

    async fn sweep_those(&self, those: impl Iterator<Item = (&String, &Arc<dyn Committer>)>) {
        for (sink, committer) in those {
            match committer.abort_leftovers(&self.earlier).await {
                Ok(0) => {}
                Ok(aborted) => {
                    tracing::warn!(
                        sink,
                        aborted,
                        "an earlier attempt that outlived the start of this one had begun more"
                    );
                    self.context.metrics.commits.total.with_label_values(&[sink.as_str(), "aborted"]).inc_by(aborted);
                }
                Err(error) => tracing::warn!(%error, "leftovers of earlier attempts could not be swept"),
            }
        }
    }

    /// What the target says of a committable.
    ///
    /// # Errors
    /// A target that can never answer.
    pub(super) async fn classify(&self, committable: &Committable) -> Result<Classification, CoordinatorError> {
        let committer = self.of(&committable.sink)?;
        let found = self.persist(&committable.sink, committable, || committer.classify(committable)).await?;
        self.note_expired(committable, found == Classification::Lost);
        Ok(found)
    }

    /// Only what can expire is told as such.
    fn note_expired(&self, committable: &Committable, is_lost: bool) {
        if is_lost && committable.expiry.is_some() {
            self.context.metrics.sink(&committable.sink).transactions_expired.inc();
        }
    }

    /// Makes a decided committable visible.
    ///
    /// # Errors
    /// A target that can never take it (other output is in the way): it stays decided.
    pub(super) async fn commit(&self, order: &Order) -> Result<CommitOutcome, CoordinatorError> {
        let committable = &order.committable;
        let committer = self.of(&committable.sink)?;
        let started = self.context.clock.monotonic();
        let outcome =
            self.persist(&committable.sink, committable, || committer.commit(&order.permit, committable)).await?;
        let metrics = &self.context.metrics.commits;
        let took = self.context.clock.monotonic().saturating_sub(started);
        metrics.duration_seconds.with_label_values(&[&committable.sink]).observe(took.as_secs_f64());
        let result = match outcome {
            CommitOutcome::Committed => "committed",
            CommitOutcome::AlreadyCommitted => "already_committed",
            CommitOutcome::Lost => "lost",
        };
        metrics.total.with_label_values(&[committable.sink.as_str(), result]).inc();
        self.note_expired(committable, outcome == CommitOutcome::Lost);
        Ok(outcome)
    }

    /// Takes a pre-committed committable back, for a rewind.
    ///
    /// # Errors
    /// A target that can never answer.
    pub(super) async fn abort(&self, committable: &Committable) -> Result<AbortOutcome, CoordinatorError> {
        let committer = self.of(&committable.sink)?;
        // It was classified a moment ago; whoever was entitled to commit it may have done so since.
        if self.classify(committable).await? == Classification::Committed {
            return Ok(AbortOutcome::Committed);
        }
        self.persist(&committable.sink, committable, || committer.abort(committable)).await?;
        if self.classify(committable).await? == Classification::Committed {
            return Ok(AbortOutcome::Committed);
        }
        self.context.metrics.commits.total.with_label_values(&[committable.sink.as_str(), "aborted"]).inc();
        Ok(AbortOutcome::Aborted)
    }

    /// Removes what attempts below this one left open, everywhere.
    ///
    /// # Errors
    /// A target that can never answer.
    pub(super) async fn abort_leftovers(&self) -> Result<(), CoordinatorError> {
        let all = self.current.iter().chain(self.former.iter().map(|(name, committer)| (name, committer)));
        for (sink, committer) in all {
            let what = leftovers(sink, self.attempt);
            let aborted = self.persist(sink, &what, || committer.abort_leftovers(&self.earlier)).await?;
            if aborted > 0 {
                self.context.observer.event(RunEvent::LeftoversAborted {
                    attempt: self.attempt,
                    sink: sink.clone(),
                    count: aborted,
                });
            }
            self.context.metrics.commits.total.with_label_values(&[sink.as_str(), "aborted"]).inc_by(aborted);
            crashpoint::hit("recovery.aborted")?;
        }
        Ok(())
    }

    /// Asks until there is an answer.
    async fn persist<'a, T>(
        &'a self,
        sink: &str,
        what: &Committable,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, SinkError>>,
    ) -> Result<T, CoordinatorError> {
        let mut tries = 0_u32;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.retry() == Retry::Never {
                return Err(error.into());
            }
            // Unbounded on purpose: what is decided must become visible; the pauses are bounded by the policy.
            tries = tries.saturating_add(1);
            let pause = retry_delay(self.context.setup.restart, tries, self.context.random.u64());
            self.context.metrics.commits.retries.with_label_values(&[sink]).inc();
            self.context.metrics.sink(sink).errors.inc();
            self.context.observer.event(RunEvent::CommitRetried {
                attempt: what.attempt,
                epoch: what.epoch,
                sink: sink.to_owned(),
                tries,
                message: error.to_string(),
                retry_in_ms: pause.as_millis() as u64,
            });
            self.context.clock.sleep(pause).await;
        }
    }
}

/// Stands for all leftovers of a sink in events.
fn leftovers(sink: &str, attempt: Attempt) -> Committable {
    Committable {
        sink: sink.to_owned(),
        writer: checkpoint::ids::Subtask(0),
        attempt,
        epoch: checkpoint::ids::Epoch(0),
        rows: 0,
        expiry: None,
        handle: String::new(),
    }
}
