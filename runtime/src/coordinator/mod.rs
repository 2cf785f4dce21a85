//! One attempt from its claim to its end: drives the pure protocol over the store, the worker and the sinks.
//!
//! ```text
//! claim -> seal -> recover (classify, commit, abort leftovers) -> deploy -> checkpoints ... -> end
//! ```
//! Every decision is the protocol's ([`checkpoint`]); what is here carries requests out and brings answers back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::pipeline::RestartStrategy;
use checkpoint::claim::Depth;
use checkpoint::ids::{Attempt, LogIndex, PipelineId, Slot};
use checkpoint::manifest::{Manifest, OperatorPlan};
use checkpoint::record::{Cause, DecisionId, ManifestRef, SinkClaim};
use checkpoint::recovery::Intent;

pub use error::{CoordinatorError, Next};
pub use log::Log;
pub use port::{CAPACITY, ChannelPort, WorkerPort, channel_port};
pub(crate) use progress::Statistics;
pub use progress::{Phase, Progress};

use crate::clock::{Clock, Random};
use crate::connectors::{SinkConnector, SourceConnector};
use crate::metrics::Metrics;
use crate::run::{Decided, Observer, Requests, RunEvent, StopSignal};
use crate::store::CheckpointStore;

pub mod claim;
mod commit;
pub mod compatibility;
mod drive;
mod error;
pub mod inspect;
mod log;
mod manifests;
mod port;
mod progress;
mod recover;
mod retain;
#[cfg(test)]
mod tests;
mod timing;

/// What the coordinator knows of a pipeline: the same for every attempt.
pub struct Setup {
    pub sources: BTreeMap<String, Arc<dyn SourceConnector>>,
    pub sinks: BTreeMap<String, Arc<dyn SinkConnector>>,
    /// Everything that has state, sources too, with what that state depends on.
    pub operators: Vec<OperatorPlan>,
    pub parallelism: u32,
    pub max_parallelism: u32,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failed checkpoints in a row that an attempt survives.
    pub tolerable_failures: u32,
    pub retain: u32,
    pub restart: RestartStrategy,
    /// Names of sources and transforms whose state may be thrown away.
    pub drop_state_of: BTreeSet<String>,
    /// Makes the connector of a sink that a claim names and the manifest does not (any more); `None`: unknown kind, or
    /// nothing can be left there.
    pub former_sink: FormerSink,
}

/// See [`Setup::former_sink`].
pub type FormerSink = Arc<dyn Fn(&SinkClaim) -> Option<Arc<dyn SinkConnector>> + Send + Sync>;

/// What the coordinator reaches the world through.
pub struct Context {
    pub setup: Setup,
    pub store: Arc<dyn CheckpointStore>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub observer: Arc<dyn Observer>,
    pub metrics: Metrics,
    pub progress: Progress,
    pub requests: Requests,
}

/// Why and how an attempt begins.
#[derive(Clone, Debug)]
pub struct Start {
    pub log: LogIndex,
    pub cause: Cause,
    pub intent: Intent,
    /// The newest checkpoint that is known from elsewhere.
    pub floor: Option<DecisionId>,
    /// Whose log it must be; a log that is begun gets this id. None: whoever's it is, or one that is drawn.
    pub identity: Option<PipelineId>,
    /// Once everything is settled and the log is closed, the state of all checkpoints but savepoints is deleted; not if
    /// anybody has run since this attempt.
    pub deletes: Option<Attempt>,
}

/// An end as it was meant to be. Rows are counted since the log began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Finished {
        rows_in: u64,
        rows_out: u64,
    },
    AlreadyFinished {
        rows_in: u64,
        rows_out: u64,
    },
    Stopped {
        handle: Option<String>,
    },
    /// The commits are done, as was asked; nothing was run.
    Settled,
    /// Everything that was decided is known to be done and nobody may be at work: nothing was claimed.
    NothingToSettle,
}

impl Start {
    /// Nothing is to be run.
    pub fn only_settles(&self) -> bool {
        only_settles(&self.intent)
    }
}

/// Whether an intent ends with the commits.
pub fn only_settles(intent: &Intent) -> bool {
    match intent {
        Intent::CommitOnly | Intent::Supersede | Intent::ForceAbort { .. } => true,
        Intent::Run | Intent::Rewind | Intent::AcceptLoss { .. } | Intent::GoBack { .. } => false,
    }
}

/// Claims, recovers and runs one attempt with a worker of its own. Dropping the future is a crash of the attempt: safe
/// at any point, nothing is aborted.
///
/// # Errors
/// See [`CoordinatorError::next`] for what to do about one.
pub async fn run_attempt(
    context: &Arc<Context>,
    start: &Start,
    worker: &mut dyn WorkerPort,
    stop: &StopSignal,
) -> Result<Ended, CoordinatorError> {
    let log = Log::new(Arc::clone(&context.store), start.log, Arc::clone(&context.clock));
    context.progress.set(Phase::Claiming);
    let won = claim::claim(context, &log, (start.cause.clone(), start.identity), depth(&start.intent)).await?;
    let ended = recover_and_run(context, start, &log, won, (worker, stop)).await;
    match ended {
        Err(error) if matches!(error.next(), Next::Stop(_)) => match claim::rival(context, &log).await {
            // A fenced attempt may find its checkpoint deleted by its successor: that says nothing about the pipeline.
            Ok(Some(by)) => Err(CoordinatorError::Fenced { by }),
            Ok(None) | Err(_) => Err(error),
        },
        ended => ended,
    }
}

/// How far down the log an intent looks.
pub fn depth(intent: &Intent) -> Depth {
    match intent {
        Intent::Run
        | Intent::CommitOnly
        | Intent::Supersede
        | Intent::AcceptLoss { .. }
        | Intent::ForceAbort { .. } => Depth::Newest,
        Intent::Rewind => Depth::Previous,
        Intent::GoBack { to } => Depth::DownTo(*to),
    }
}

async fn recover_and_run(
    context: &Arc<Context>,
    start: &Start,
    log: &Log,
    won: claim::Won,
    (worker, stop): (&mut dyn WorkerPort, &StopSignal),
) -> Result<Ended, CoordinatorError> {
    let attempt = won.claimed.attempt();
    context.progress.set(Phase::Recovering { attempt });
    if let Some(claimed) = start.deletes {
        let earlier = won.earlier.iter().map(|(attempt, claim)| (*attempt, claim));
        if let Some(by) = has_run_since(claimed, earlier) {
            return Err(CoordinatorError::Fenced { by });
        }
    }
    let newest = newest_manifest(log, &won).await?;
    tell_of_log(context, log, &won, newest.as_ref());
    // An earlier attempt of this process has decided already: whatever was asked for is done, also if nobody was told.
    let is_done = won.claimed.newest().is_some_and(|(at, _)| context.progress.is_ours(log.index, at.attempt));
    let only_settles = start.only_settles();
    let intent = if is_done && !only_settles { Intent::Run } else { start.intent.clone() };
    if let Some((claim, manifest, is_settled)) = &newest {
        // Before anything is committed: a refusal leaves the log as the old manifest needs it.
        match intent {
            Intent::Run => compatibility::check(&context.setup, manifest, *is_settled, claim)?,
            Intent::CommitOnly
            | Intent::Supersede
            | Intent::Rewind
            | Intent::AcceptLoss { .. }
            | Intent::ForceAbort { .. }
            | Intent::GoBack { .. } => {
                compatibility::check_sinks(&context.setup, manifest, *is_settled, claim)?;
            }
        }
    }
    let committers = commit::Committers::new(context, attempt, &won.claim, &won.earlier);
    let recoverer = recover::Recoverer { context, log, committers: &committers, attempt };
    let recovered = recoverer.run(won.claimed, intent, start.floor).await?;
    let (restored, is_first) = match recovered {
        recover::Recovered::Go { restored, is_first } => (restored, is_first),
        recover::Recovered::Settled => {
            clear(log, attempt, start).await?;
            return Ok(Ended::Settled);
        }
        recover::Recovered::Finished => {
            clear(log, attempt, start).await?;
            let (rows_in, rows_out) = newest.map_or((0, 0), |(_, manifest, _)| (manifest.rows_in, manifest.rows_out));
            return Ok(Ended::AlreadyFinished { rows_in, rows_out });
        }
    };
    let drive = drive::Drive::new(context, log.clone(), committers, (won.claim.pipeline, attempt), worker);
    drive.run(*restored, is_first, stop.clone()).await
}

/// Deletes checkpoints if that was asked for. The log says by now that nobody goes on with it, so this can be done late, and
/// by whoever is fenced.
async fn clear(log: &Log, attempt: Attempt, start: &Start) -> Result<(), CoordinatorError> {
    if start.deletes.is_some() && start.intent == Intent::Supersede {
        delete_state(log, attempt).await?;
    }
    Ok(())
}

/// Deletes the state of all checkpoints but savepoints, of a log that is closed.
///
/// # Errors
/// The store; a record that cannot be read, and may be a savepoint.
pub(crate) async fn delete_state(log: &Log, attempt: Attempt) -> Result<(), CoordinatorError> {
    let objects = retain::Retention::default().clear(log, attempt).await?;
    tracing::info!(objects, "everything is settled: the state of all checkpoints but savepoints is deleted");
    Ok(())
}

/// Whether somebody has run after `claimed`: attempts that only settle do not count.
pub(crate) fn has_run_since<'a>(
    claimed: Attempt,
    mut claims: impl Iterator<Item = (Attempt, &'a checkpoint::record::Claim)>,
) -> Option<Attempt> {
    claims.find(|(attempt, claim)| *attempt > claimed && claim.cause != Cause::CommitOnly).map(|(attempt, _)| attempt)
}

/// What the log says, now that it is final.
fn tell_of_log(
    context: &Context,
    log: &Log,
    won: &claim::Won,
    newest: Option<&(checkpoint::record::Claim, Manifest, bool)>,
) {
    let decided = won.claimed.newest().zip(newest).map(|((at, completed), (_, manifest, _))| Decided {
        attempt: at.attempt,
        epoch: completed.epoch,
        handle: log.handle(at),
        size_bytes: manifests::state_bytes(manifest),
    });
    let owed = newest.filter(|(_, _, is_settled)| !is_settled).map(|(_, manifest, _)| by_sink(manifest));
    context.observer.event(RunEvent::LogRead {
        pipeline_id: won.claim.pipeline,
        log: log.index,
        attempt: won.claimed.attempt(),
        slot: Slot(0),
        newest: decided,
        owed: owed.unwrap_or_default(),
    });
}

/// Committables by sink.
pub(crate) fn by_sink(manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for committable in &manifest.committables {
        *counts.entry(committable.sink.clone()).or_default() += 1;
    }
    counts
}

/// The newest decision's claim and content, and whether it is known to be settled.
async fn newest_manifest(
    log: &Log,
    won: &claim::Won,
) -> Result<Option<(checkpoint::record::Claim, Manifest, bool)>, CoordinatorError> {
    let Some((at, completed)) = won.claimed.newest() else { return Ok(None) };
    let reference: ManifestRef = completed.manifest.clone();
    let decision = DecisionId { attempt: at.attempt, epoch: completed.epoch };
    let is_settled = won.claimed.history.iter().any(|found| inspect::settles(&found.entry, decision));
    let claim = log.claim(at.attempt).await?;
    Ok(Some((claim, log.read_manifest(&reference).await?, is_settled)))
}

/// For messages.
fn describe(attempt: Attempt, epoch: checkpoint::ids::Epoch) -> String {
    format!("checkpoint {attempt}/{epoch}")
}
