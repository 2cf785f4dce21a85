//! The entry for whoever runs a pipeline: claim, recover, process, commit, and again after each failure that can heal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::{Attempt, Epoch, PipelineId};
use checkpoint::record::DecisionId;

use self::collect::collect;
use self::supervise::Supervisor;
use crate::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::coordinator::{Context, Progress};
use crate::metrics::{Metrics, MetricsServer};
use crate::page::{self, History};
use crate::secrets::Secrets;
use crate::store::CheckpointStore;

pub use api::control::FailureReason;
pub use assemble::{Assembled, assemble};
pub use event::{CommittableEnd, Decided, Durations, FormerOutput, Observer, RunEvent};
pub use requests::{CheckpointRequest, Control, Door, Requests};
pub use restart::{RestartBudget, Verdict, retry_delay};
pub use stop::{StopHandle, StopSignal, stop_channel};
pub use workers::{Employed, InProcess, Workers};

mod assemble;
mod begin;
mod collect;
mod event;
mod farewell;
mod identity;
mod requests;
mod restart;
mod stop;
mod supervise;
mod tell;
#[cfg(test)]
mod tests;
mod workers;

/// What the manifest does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    pub start: StartFrom,
    /// Going back further than one may re-emit visible output; said by the user to be acceptable.
    pub accept_duplicates: bool,
    /// The log may end before the floor that is known outside of it.
    pub accept_rewind: bool,
    /// Id of a log that is begun, instead of one that is drawn: a start that does not know whether the one before it has
    /// begun a log finds that one. A log of another id is finished with, as by [`StartFrom::Fresh`], and this one's
    /// begun. Not with [`StartFrom::Handle`]: the log that a handle names is gone on with whatever its id.
    pub identity: Option<PipelineId>,
    /// The newest decision that somebody has heard of, of the pipeline with this id: a log that ends before it has lost it.
    pub floor: Option<(PipelineId, DecisionId)>,
    pub accept_loss: Option<AcceptLoss>,
    /// How long a stop may take before the run ends undecided.
    pub grace: Duration,
    /// The folder of secrets, one folder each.
    pub secrets: PathBuf,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Who may ask for a checkpoint there; nobody without it.
    pub control: Option<Control>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            start: StartFrom::Newest,
            accept_duplicates: false,
            accept_rewind: false,
            identity: None,
            floor: None,
            accept_loss: None,
            grace: Duration::from_secs(25),
            secrets: PathBuf::from("secrets"),
            metrics: None,
            control: None,
        }
    }
}

/// Where a run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The newest checkpoint, or the beginning if there is none.
    #[default]
    Newest,
    /// The checkpoint with this handle.
    Handle(String),
    /// The one before the newest, after everything of the newest is proven aborted.
    Rewind,
    /// A new log under a new pipeline id, after the old one's commits are finished.
    Fresh,
    /// Nowhere: the commits of the newest checkpoint are finished, and what nobody decided is aborted. `always`: claims,
    /// and so fences whoever runs, even if the log says that nothing is owed and nobody is at work.
    CommitOnly { always: bool },
    /// Nowhere, and never again: as [`Self::CommitOnly`]; then the log is closed, and the state of all checkpoints but
    /// savepoints is deleted. `claimed`: the newest attempt that is known to be this pipeline's own. If anybody has run
    /// since, nothing is touched.
    Farewell { claimed: Attempt },
    /// Nowhere: decided output is aborted, the rest of its checkpoint committed.
    ForceAbort(ForceAbort),
}

/// Decided output that a person wants aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceAbort {
    pub decision: DecisionId,
    /// Places in the decision's list of committables.
    pub indices: Vec<u32>,
    pub reason: String,
}

/// A loss that a person has taken note of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLoss {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub reason: String,
}

/// A run that ended as it was meant to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every source has ended and everything is committed. Rows since the log began.
    Finished { rows_in: u64, rows_out: u64 },
    /// An earlier run has finished; nothing was done.
    AlreadyFinished { rows_in: u64, rows_out: u64 },
    /// Only the commits were to be finished, and they are.
    Settled { nothing_to_do: bool },
    /// Stopped as asked; everything up to the last checkpoint is committed.
    Stopped { handle: Option<String> },
    /// Stopped as asked, but the last checkpoint was not settled in time; nothing is lost.
    StoppedUndecided { message: String },
}

impl Outcome {
    /// 0, or 4 for a stop before the last checkpoint was settled.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Finished { .. } | Self::AlreadyFinished { .. } | Self::Settled { .. } | Self::Stopped { .. } => 0,
            Self::StoppedUndecided { .. } => 4,
        }
    }
}

/// A run that could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The pipeline failed; its state is intact.
    #[error("{message}")]
    Failed { reason: FailureReason, message: String },
    /// The manifest, or a change of it, or an option, cannot be run.
    #[error("{message}")]
    Refused { message: String },
    /// A newer run has taken over; this one has done nothing since.
    #[error("fenced: {message}")]
    Fenced { message: String },
}

impl RunError {
    /// 1 failed, 2 refused, 3 fenced.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Refused { .. } => 2,
            Self::Fenced { .. } => 3,
        }
    }
}

/// What a run reaches the world through: the machine's own, or a simulation's.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn CheckpointStore>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub workers: Arc<dyn Workers>,
}

/// Runs `pipeline` (paths resolved, validated) until it finishes, fails or is stopped.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    pipeline: &api::pipeline::Pipeline,
    options: RunOptions,
    observer: Arc<dyn Observer>,
    stop: StopSignal,
) -> Result<Outcome, RunError> {
    let assembled = assemble(pipeline, &Secrets::new(&options.secrets));
    let assembled = assembled.inspect_err(|error| tell_of_failure(observer.as_ref(), error))?;
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let store = assembled.store.open(Arc::clone(&clock), Arc::clone(&random));
    let store = store.map_err(|error| RunError::Refused { message: error.to_string() });
    let store = store.inspect_err(|error| tell_of_failure(observer.as_ref(), error))?;
    let world = World { store, clock, random, workers: Arc::new(InProcess) };
    run_in(world, assembled, options, observer, stop).await
}

/// As [`run`], in a world of the caller's choice. Dropping the future is a crash of the process: safe at any point.
///
/// # Errors
/// See [`RunError`].
pub async fn run_in(
    world: World,
    assembled: Assembled,
    options: RunOptions,
    observer: Arc<dyn Observer>,
    stop: StopSignal,
) -> Result<Outcome, RunError> {
    let ended = start(world, assembled, options, Arc::clone(&observer), stop).await;
    ended.inspect_err(|error| tell_of_failure(observer.as_ref(), error))
}

fn tell_of_failure(observer: &dyn Observer, error: &RunError) {
    let reason = match error {
        RunError::Failed { reason, .. } => Some(*reason),
        RunError::Refused { .. } | RunError::Fenced { .. } => None,
    };
    observer.event(RunEvent::Failed { reason, message: error.to_string(), exit_code: error.exit_code() });
}

async fn start(
    world: World,
    assembled: Assembled,
    options: RunOptions,
    observer: Arc<dyn Observer>,
    stop: StopSignal,
) -> Result<Outcome, RunError> {
    let Assembled { plan, setup, names, overview, store: _ } = assembled;
    let metrics_failed = |message| RunError::Failed { reason: FailureReason::Metrics, message };
    let metrics = Metrics::new(&names).map_err(|error| metrics_failed(error.to_string()))?;
    metrics.checkpoints.interval_seconds.set(setup.interval.as_secs_f64());
    metrics.checkpoints.timeout_seconds.set(setup.timeout.as_secs_f64());
    metrics.checkpoints.last_completed_timestamp_seconds.set(world.clock.wall_ms() as f64 / 1_000.0);
    let (progress, requests) = (Progress::default(), Requests::default());
    // Bound before anything is claimed; both end with the run.
    let (observer, _served) = match options.metrics {
        Some(address) => {
            let history = Arc::new(History::new(Arc::clone(&world.clock), observer));
            let observer: Arc<dyn Observer> = Arc::clone(&history) as Arc<dyn Observer>;
            let door = options.control.clone().map(|control| Door {
                control,
                requests: requests.clone(),
                clock: Arc::clone(&world.clock),
            });
            let page = page::router(overview, history);
            let server = MetricsServer::bind(address, metrics.clone(), Arc::clone(&observer), (door, page)).await;
            let server = server.map_err(|error| metrics_failed(crate::metrics::with_cause(&error)))?;
            (observer, Some((server, collect(metrics.clone(), progress.statistics()))))
        }
        None => (observer, None),
    };
    let World { store, clock, random, workers } = world;
    let _told = tell::tell(Arc::clone(&observer), progress.clone(), Arc::clone(&clock));
    let context = Context { setup, store, clock, random, observer, metrics, progress, requests };
    Supervisor { context: Arc::new(context), workers, plan, options, stop }.run().await
}
