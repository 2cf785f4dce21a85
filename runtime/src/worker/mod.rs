//! One worker: runs all subtasks of an attempt and speaks with the coordinator by serialisable messages alone.
//!
//! A subtask is an async task that owns its operators, sinks and queue ends (`source_task`, `merge_task`); a second
//! one beside it makes its snapshots durable (`snapshot`). The first failure is reported, the rest idles until the
//! coordinator stops the attempt; nothing is aborted at its target here, only a later attempt may do that.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::control::{Deployment, FailureKind, FromWorker, TaskId, ToWorker};
use checkpoint::ids::{Attempt, Epoch, Subtask};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::connectors::{SinkConnector, SourceConnector};
use crate::dataflow::graph::Graph;
use crate::store::CheckpointStore;
use crate::tasks;
use crate::worker::deploy::{Deploy, Prepared, PreparedInput};
use crate::worker::parts::Parts;
use crate::worker::statistics::{Board, REPORT_INTERVAL};
use crate::worker::stop::Stopper;
pub(crate) use crate::worker::stop::stop_signal;
use crate::worker::trail::Trails;

pub use crate::worker::failure::TaskFailure;
pub use crate::worker::restore::{initial_source_snapshot, input_operator, source_operator};
pub use crate::worker::rules::Rules;
pub use crate::worker::stop::StopSignal;

pub mod alignment;
pub mod channel;
mod deploy;
mod failure;
mod merge_task;
mod meter;
mod outputs;
mod pacing;
pub mod parts;
mod restore;
pub mod rules;
mod size;
mod snapshot;
mod source_task;
mod statistics;
mod stop;
mod task;
#[cfg(test)]
mod tests;
mod trail;
mod wiring;

/// What is run: a graph and the connectors that it names. The same for every attempt of a manifest.
pub struct Plan {
    pub graph: Arc<Graph>,
    pub sources: BTreeMap<String, Arc<dyn SourceConnector>>,
    pub sinks: BTreeMap<String, Arc<dyn SinkConnector>>,
    pub max_parallelism: u32,
}

/// What a worker reaches the world through.
#[derive(Clone)]
pub struct Environment {
    pub store: Arc<dyn CheckpointStore>,
    pub clock: Arc<dyn Clock>,
    /// All of them, outside of tests.
    pub rules: Rules,
}

/// Runs attempts as the coordinator says, until `commands` is closed. All tasks are joined when it returns; when it is
/// dropped instead, they end at their next await.
pub async fn run(
    plan: Arc<Plan>,
    environment: Environment,
    mut commands: mpsc::Receiver<ToWorker>,
    reports: mpsc::Sender<FromWorker>,
) {
    let clock = Arc::clone(&environment.clock);
    let mut worker = Worker { plan, environment, reports, running: None };
    let mut statistics_due = clock.sleep(REPORT_INTERVAL);
    loop {
        let is_running = worker.running.is_some();
        let command = tokio::select! {
            biased;
            command = commands.recv() => command,
            () = &mut statistics_due, if is_running => {
                worker.report_statistics();
                statistics_due = clock.sleep(REPORT_INTERVAL);
                continue;
            }
            report = worker.watch() => {
                worker.report(report).await;
                continue;
            }
        };
        match command {
            Some(command) => worker.obey(command).await,
            None => break,
        }
    }
    worker.stop().await;
}

struct Worker {
    plan: Arc<Plan>,
    environment: Environment,
    reports: mpsc::Sender<FromWorker>,
    running: Option<Running>,
}

/// An attempt between `Deploy` and `Stop`.
struct Running {
    attempt: Attempt,
    board: Board,
    stopper: Stopper,
    stop: StopSignal,
    told: Told,
    trails: Trails,
    /// One for each source subtask.
    sources: Vec<mpsc::Sender<Epoch>>,
    /// Two for each subtask, and the deployment itself.
    tasks: FuturesUnordered<BoxFuture<'static, Step>>,
}

/// What an attempt shares with those who build it.
struct Beginning {
    board: Board,
    trails: Trails,
    told: Told,
    stop: StopSignal,
}

/// What the coordinator has said of this attempt's checkpoints; 0 before the first.
#[derive(Clone, Default)]
struct Told {
    /// The newest epoch that is decided.
    decided: watch::Sender<Epoch>,
    /// The newest one whose commits are all done.
    committed: watch::Sender<Epoch>,
}

/// What the end of one of an attempt's tasks means.
enum Step {
    /// All subtasks are restored.
    Prepared(Vec<Prepared>),
    Failed(TaskId, TaskFailure),
    /// Ended by a stop, or because a neighbour ended.
    Over,
}

impl Worker {
    async fn obey(&mut self, command: ToWorker) {
        match command {
            ToWorker::Deploy(deployment) => self.deploy(*deployment).await,
            ToWorker::Checkpoint { attempt, epoch } => self.request(attempt, epoch).await,
            ToWorker::Decided { attempt, epoch } => {
                if let Some(running) = self.running_attempt(attempt) {
                    running.told.decided.send_replace(epoch);
                }
            }
            ToWorker::Committed { attempt, epoch } => {
                if let Some(running) = self.running_attempt(attempt) {
                    running.told.committed.send_replace(epoch);
                }
            }
            ToWorker::Stop { attempt } => {
                if self.running_attempt(attempt).is_some() {
                    self.stop().await;
                }
                self.report(Some(FromWorker::Stopped { attempt })).await;
            }
        }
    }

    fn running_attempt(&mut self, attempt: Attempt) -> Option<&mut Running> {
        self.running.as_mut().filter(|running| running.attempt == attempt)
    }

    /// Begins to build an attempt; one that still runs is stopped first, an older one is ignored.
    async fn deploy(&mut self, deployment: Deployment) {
        if self.running.as_ref().is_some_and(|running| running.attempt >= deployment.attempt) {
            return;
        }
        self.stop().await;
        let (stopper, stop) = stop_signal();
        let told = Told::default();
        let (attempt, board, trails) = (deployment.attempt, Board::default(), Trails::default());
        let tasks = FuturesUnordered::new();
        let beginning =
            Beginning { board: board.clone(), trails: trails.clone(), told: told.clone(), stop: stop.clone() };
        tasks.push(self.prepare(deployment, beginning));
        self.running = Some(Running { attempt, board, stopper, stop, told, trails, sources: Vec::new(), tasks });
    }

    fn prepare(&self, deployment: Deployment, beginning: Beginning) -> BoxFuture<'static, Step> {
        let Beginning { board, trails, told, stop } = beginning;
        let (plan, environment, reports) = (Arc::clone(&self.plan), self.environment.clone(), self.reports.clone());
        let attempt = deployment.attempt;
        let preparing = tasks::spawn(format!("deploy attempt {attempt}"), async move {
            let parts = Parts::new(Arc::clone(&environment.store), deployment.log, attempt);
            let deploy = Deploy {
                plan: &plan,
                environment: &environment,
                deployment: &deployment,
                board,
                parts,
                reports,
                trails,
                told,
                stop: stop.clone(),
            };
            stop.unless_stopped(deploy.prepare()).await
        });
        Box::pin(async move {
            match preparing.await {
                Ok(Some(Ok(prepared))) => Step::Prepared(prepared),
                Ok(Some(Err((task, failure)))) => Step::Failed(task, failure),
                Ok(None) => Step::Over,
                Err(panic) => Step::Failed(TaskId { stage: "worker".into(), subtask: Subtask(0) }, panic.into()),
            }
        })
    }

    async fn request(&mut self, attempt: Attempt, epoch: Epoch) {
        let Some(running) = self.running_attempt(attempt) else { return };
        // A source that has ended for good is closed; its failure is reported on its own.
        let full = running
            .sources
            .iter()
            .any(|source| matches!(source.try_send(epoch), Err(mpsc::error::TrySendError::Full(_))));
        if full {
            let task = TaskId { stage: "worker".into(), subtask: Subtask(0) };
            let reason = "a source has not emitted a barrier for too many checkpoints".to_owned();
            self.report(Some(FromWorker::Failed { attempt, task, reason, kind: FailureKind::Transient })).await;
        }
    }

    /// The next thing that the running tasks have to say; pending while there are none.
    async fn watch(&mut self) -> Option<FromWorker> {
        let Some(running) = self.running.as_mut() else { return std::future::pending().await };
        let attempt = running.attempt;
        match running.tasks.next().await {
            None => std::future::pending().await,
            Some(Step::Over) => None,
            Some(Step::Failed(task, failure)) => {
                let failure = failure.among(&running.trails, &task);
                let (reason, kind) = (failure.to_string(), failure.kind());
                Some(FromWorker::Failed { attempt, task, reason, kind })
            }
            Some(Step::Prepared(prepared)) => {
                let tasks = prepared.iter().map(|task| task.id.clone()).collect();
                running.start(prepared);
                Some(FromWorker::Deployed { attempt, tasks })
            }
        }
    }

    async fn report(&mut self, report: Option<FromWorker>) {
        if let Some(report) = report {
            // Without a coordinator there is nobody to tell; `commands` is closed then, too.
            let _ = self.reports.send(report).await;
        }
    }

    /// Dropped when the line is full: a later message holds all that this one would have.
    fn report_statistics(&self) {
        if let Some(running) = &self.running {
            let statistics = running.board.read(running.attempt, self.environment.clock.monotonic());
            let _ = self.reports.try_send(FromWorker::Statistics(statistics));
        }
    }

    /// Ends all tasks and joins them.
    async fn stop(&mut self) {
        let Some(running) = self.running.as_mut() else { return };
        running.stopper.stop();
        running.sources.clear();
        while running.tasks.next().await.is_some() {}
        self.report_statistics();
        self.running = None;
    }
}

impl Running {
    fn start(&mut self, prepared: Vec<Prepared>) {
        for Prepared { id, input, writer, jobs } in prepared {
            let name = format!("{}-{}", id.stage, id.subtask);
            // The writer is not raced with the stop: it ends when its subtask does, with its pre-commit joined.
            let writing = tasks::spawn(format!("snapshots of {name}"), writer.run(jobs));
            self.watch(id.clone(), async move { writing.await.map_err(TaskFailure::from)? });
            let stop = self.stop.clone();
            let working = match input {
                PreparedInput::Source(source, requests) => {
                    self.sources.push(requests);
                    tasks::spawn(name, async move { stop.unless_stopped(source.run()).await })
                }
                PreparedInput::Merge(merge) => {
                    tasks::spawn(name, async move { stop.unless_stopped(merge.run()).await })
                }
            };
            self.watch(id, async move { working.await.map_err(TaskFailure::from)?.unwrap_or(Ok(())) });
        }
    }

    fn watch(&self, id: TaskId, ended: impl Future<Output = Result<(), TaskFailure>> + Send + 'static) {
        self.tasks.push(Box::pin(async move {
            match ended.await {
                Ok(()) | Err(TaskFailure::Closed) => Step::Over,
                Err(failure) => Step::Failed(id, failure),
            }
        }));
    }
}
