//! A running attempt: tasks are deployed, checkpoints are taken, decided and committed until the attempt ends.
//!
//! One loop owns the protocol's machine. Store and commit calls are futures beside it ([`jobs`]), so a slow target
//! never keeps an acknowledgement waiting, and the data path waits for none of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::control::{Acknowledgement, Deployment, FailureKind, FromWorker, TaskId, ToWorker};
use checkpoint::commit::CommitOutcome;
use checkpoint::coordinator::{Acknowledged, Coordinator, Event, Settings};
use checkpoint::ids::{Attempt, Epoch, PipelineId};
use checkpoint::record::{DecisionId, ManifestRef};
use checkpoint::recovery::Restored;
use futures::StreamExt;

use self::jobs::{Done, Jobs};
use self::ledger::Ledger;
use super::commit::Committers;
use super::error::CoordinatorError;
use super::log::Log;
use super::manifests::state_bytes;
use super::port::WorkerPort;
use super::progress::Phase;
use super::{Context, Ended, compatibility};
use crate::crashpoint;
use crate::run::{CheckpointRequest, RunEvent, StopSignal};
use crate::tasks;

mod actions;
mod jobs;
mod ledger;

/// A worker that does not stop within this time is left to itself: what it can touch carries its attempt.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What an attempt needs to run.
pub(super) struct Drive<'a> {
    context: &'a Arc<Context>,
    log: Log,
    committers: Committers,
    /// Who runs it.
    owner: (PipelineId, Attempt),
    worker: &'a mut dyn WorkerPort,
}

/// A deployed attempt.
struct Running<'a> {
    context: &'a Arc<Context>,
    log: Log,
    committers: Committers,
    worker: &'a mut dyn WorkerPort,
    attempt: Attempt,
    machine: Coordinator,
    tasks: HashMap<TaskId, u32>,
    jobs: Jobs,
    ledger: Ledger,
    /// Why the attempt is about to end, until the machine agrees.
    failure: Option<CoordinatorError>,
    asked: Option<Asked>,
}

/// A checkpoint that was asked for, and which one it becomes.
struct Asked {
    request: CheckpointRequest,
    epoch: Option<Epoch>,
}

/// What the loop woke up for.
enum Wake {
    Job(Result<Done, CoordinatorError>),
    Worker(Option<FromWorker>),
    Stop,
    Asked(CheckpointRequest),
    Tick,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        context: &'a Arc<Context>,
        log: Log,
        committers: Committers,
        owner: (PipelineId, Attempt),
        worker: &'a mut dyn WorkerPort,
    ) -> Self {
        Self { context, log, committers, owner, worker }
    }

    /// Runs to the attempt's end.
    ///
    /// # Errors
    /// Whatever ends the attempt early.
    pub(super) async fn run(
        mut self,
        restored: Restored,
        is_first: bool,
        stop: StopSignal,
    ) -> Result<Ended, CoordinatorError> {
        let (_, attempt) = self.owner;
        let ended = self.deploy_and_run(restored, is_first, stop).await;
        self.context.metrics.ready.set(0);
        let checkpoints = &self.context.metrics.checkpoints;
        if checkpoints.in_progress.get() > 0 {
            checkpoints.in_progress.set(0);
            checkpoints.total.with_label_values(&["aborted"]).inc();
        }
        stop_worker(self.context, self.worker, attempt).await;
        ended
    }

    async fn deploy_and_run(
        &mut self,
        restored: Restored,
        is_first: bool,
        mut stop: StopSignal,
    ) -> Result<Ended, CoordinatorError> {
        let (setup, (pipeline, attempt)) = (&self.context.setup, self.owner);
        let decided = restored.decision.epoch;
        self.context.progress.begins_after(restored.manifest.rows_in, restored.manifest.rows_out);
        self.context.progress.set(Phase::Running { attempt, decided, open_commits: 0, pending: None });
        if !is_first {
            compatibility::check_state(setup, &restored.manifest)?;
        }
        self.tell_of_restore(&restored, is_first);
        let snapshots = compatibility::snapshots(setup, &restored.manifest).await?;
        for (name, sink) in &setup.sinks {
            let sink = Arc::clone(sink);
            tasks::spawn_blocking(format!("prepare {name}"), move || sink.prepare()).await??;
        }
        crashpoint::hit("recovery.before_deploy")?;
        let deployment = Deployment {
            attempt,
            log: self.log.index,
            pipeline,
            parallelism: setup.parallelism,
            snapshot_parallelism: restored.manifest.parallelism,
            snapshots,
        };
        let tasks = self.deploy(deployment).await;
        let result = if tasks.is_ok() { "completed" } else { "failed" };
        self.context.metrics.checkpoints.restores.with_label_values(&[result]).inc();
        let tasks = tasks?;
        crashpoint::hit("coordinator.deployed")?;
        self.context.metrics.ready.set(1);
        self.context.observer.event(RunEvent::Running { attempt, tasks: tasks.len() as u32 });
        let settings = Settings {
            tasks: tasks.len() as u32,
            interval_ms: setup.interval.as_millis() as u64,
            timeout_ms: setup.timeout.as_millis() as u64,
            tolerable_failures: setup.tolerable_failures,
            ends_on_failure: false,
            parallelism: setup.parallelism,
            max_parallelism: setup.max_parallelism,
            operators: setup.operators.clone(),
        };
        let now = self.context.clock.monotonic();
        let ledger = Ledger::new(&restored, self.log.handle(restored.at), tasks.len(), now);
        let running = Running {
            context: self.context,
            log: self.log.clone(),
            committers: self.committers.clone(),
            worker: &mut *self.worker,
            attempt,
            machine: Coordinator::begin(Arc::new(settings), restored, now.as_millis() as u64),
            tasks: tasks.into_iter().zip(0..).collect(),
            jobs: Jobs::new(),
            ledger,
            failure: None,
            asked: None,
        };
        running.run(&mut stop).await
    }

    fn tell_of_restore(&self, restored: &Restored, is_first: bool) {
        let (_, attempt) = self.owner;
        let DecisionId { attempt: decided_by, epoch } = restored.decision;
        let (slot, handle, size_bytes) =
            (restored.at.slot, self.log.handle(restored.at), state_bytes(&restored.manifest));
        self.context.observer.event(if is_first {
            RunEvent::Begun { attempt, epoch, slot, handle, size_bytes }
        } else {
            RunEvent::Restored { attempt, decided_by, epoch, slot, handle, size_bytes }
        });
    }

    /// All tasks of the attempt, restored.
    async fn deploy(&mut self, deployment: Deployment) -> Result<Vec<TaskId>, CoordinatorError> {
        let ours = deployment.attempt;
        if !self.worker.send(ToWorker::Deploy(Box::new(deployment))).await {
            return Err(CoordinatorError::WorkerGone);
        }
        loop {
            match self.worker.recv().await {
                None => return Err(CoordinatorError::WorkerGone),
                Some(FromWorker::Deployed { attempt, tasks }) if attempt == ours => return Ok(tasks),
                Some(FromWorker::Failed { attempt, task, reason, kind }) if attempt == ours => {
                    return Err(worker_failed(task, reason, kind));
                }
                // Late words of an earlier attempt; this one's tasks cannot acknowledge before they are deployed.
                Some(_) => {}
            }
        }
    }
}

impl Running<'_> {
    async fn run(mut self, stop: &mut StopSignal) -> Result<Ended, CoordinatorError> {
        let mut is_stopping = false;
        if self.committers.needs_sweeping() {
            self.jobs.sweep(&self.committers, Arc::clone(&self.context.clock));
        }
        loop {
            let wake = self.wait(stop, is_stopping).await;
            let event = match wake {
                Wake::Job(done) => self.done(done?)?,
                Wake::Worker(message) => self.heard(message)?,
                Wake::Tick => Some(Event::Tick),
                Wake::Asked(request) => {
                    let event = if request.savepoint { Event::Savepoint } else { Event::Checkpoint };
                    self.asked = Some(Asked { request, epoch: None });
                    Some(event)
                }
                Wake::Stop => {
                    is_stopping = true;
                    crashpoint::hit("coordinator.stopping")?;
                    self.context.observer.event(RunEvent::Stopping { attempt: self.attempt });
                    Some(Event::Stop)
                }
            };
            let Some(event) = event else { continue };
            let now = self.context.clock.monotonic().as_millis() as u64;
            for action in self.machine.step(now, event) {
                if let Some(ended) = self.carry_out(action).await? {
                    return Ok(ended);
                }
            }
            self.tell_progress();
        }
    }

    async fn wait(&mut self, stop: &mut StopSignal, is_stopping: bool) -> Wake {
        let now = self.context.clock.monotonic();
        // Rounded up: a tick before its time would come to nothing.
        let pause = self.machine.wakes_at().map(|at| Duration::from_millis(at).saturating_sub(now));
        let clock = &self.context.clock;
        let tick = async {
            match pause {
                Some(Duration::ZERO) => (),
                Some(pause) => clock.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        // Answers first, time last: an acknowledgement that is there already is not late.
        tokio::select! {
            biased;
            Some(done) = self.jobs.running.next(), if !self.jobs.running.is_empty() => Wake::Job(done),
            message = self.worker.recv() => Wake::Worker(message),
            () = stop.wait(), if !is_stopping => Wake::Stop,
            request = self.context.requests.other_than(self.asked.as_ref().map(|asked| &asked.request)),
                if !is_stopping => Wake::Asked(request),
            () = tick => Wake::Tick,
        }
    }

    fn heard(&mut self, message: Option<FromWorker>) -> Result<Option<Event>, CoordinatorError> {
        let message = message.ok_or(CoordinatorError::WorkerGone)?;
        Ok(match message {
            FromWorker::Acknowledged(acknowledgement) if acknowledgement.attempt == self.attempt => {
                crashpoint::hit("coordinator.acknowledged")?;
                self.acknowledged(*acknowledgement)
            }
            FromWorker::Declined { attempt, epoch, task, reason } if attempt == self.attempt => {
                self.ledger.declined(reason);
                self.tasks.get(&task).map(|task| Event::Declined { epoch, task: *task })
            }
            FromWorker::Statistics(statistics) if statistics.attempt == self.attempt => {
                self.context.progress.counted(statistics);
                None
            }
            FromWorker::Ended { attempt, task } if attempt == self.attempt => {
                self.tasks.get(&task).map(|task| Event::Ended { task: *task })
            }
            FromWorker::Failed { attempt, task, reason, kind } if attempt == self.attempt => {
                let failure = worker_failed(task, reason, kind);
                let event = Event::Failed { reason: failure.to_string() };
                self.failure.get_or_insert(failure);
                Some(event)
            }
            // Words of another attempt, which must not touch this one.
            FromWorker::Acknowledged(_)
            | FromWorker::Declined { .. }
            | FromWorker::Ended { .. }
            | FromWorker::Statistics(_)
            | FromWorker::Failed { .. }
            | FromWorker::Deployed { .. }
            | FromWorker::Stopped { .. } => None,
        })
    }

    fn acknowledged(&mut self, acknowledgement: Acknowledgement) -> Option<Event> {
        let task = *self.tasks.get(&acknowledgement.task)?;
        self.ledger.acknowledged(task, &acknowledgement);
        Some(Event::Acknowledged(Acknowledged {
            epoch: acknowledgement.epoch,
            task,
            snapshots: acknowledgement.snapshots,
            committables: acknowledgement.committables.into_iter().map(Arc::new).collect(),
            finished: acknowledgement.finished,
        }))
    }

    fn done(&mut self, done: Done) -> Result<Option<Event>, CoordinatorError> {
        Ok(match done {
            Done::Event(event) => {
                if let Event::ManifestWritten { manifest: ManifestRef::Stored { name, .. }, .. } = &event {
                    self.ledger.manifest_name = Some(name.clone());
                }
                Some(event)
            }
            Done::Committed { event, sink } => {
                crashpoint::hit("coordinator.committed")?;
                self.context.metrics.commits.ended(&sink);
                self.committed(&event, sink);
                Some(event)
            }
            Done::Swept => {
                self.jobs.sweep(&self.committers, Arc::clone(&self.context.clock));
                None
            }
            Done::Retained(retention, result) => {
                self.jobs.retention = Some(*retention);
                if let Err(error) = result {
                    // Nothing depends on it: what remains is deleted after a later checkpoint.
                    tracing::warn!(%error, "older checkpoints could not be deleted");
                }
                None
            }
        })
    }

    /// One piece of the newest decision is done; whoever wants to know of sinks hears of the last one of each.
    fn committed(&mut self, event: &Event, sink: String) {
        if let Event::Committed {
            decision, outcome: CommitOutcome::Committed | CommitOutcome::AlreadyCommitted, ..
        } = event
            && self.ledger.committed(&sink)
        {
            let DecisionId { attempt, epoch } = *decision;
            self.context.observer.event(RunEvent::SinkCommitted { attempt, epoch, sink });
        }
    }

    fn tell_progress(&self) {
        let (decided, _) = self.machine.decided();
        self.context.progress.set(Phase::Running {
            attempt: self.attempt,
            decided: decided.epoch,
            open_commits: self.machine.open_commits(),
            pending: self.machine.pending(),
        });
    }
}

fn worker_failed(task: TaskId, reason: String, kind: FailureKind) -> CoordinatorError {
    CoordinatorError::Worker { stage: task.stage, subtask: task.subtask.0, reason, kind }
}

/// Ends all tasks without abort and waits until they are gone, so that the next attempt has the machine to itself.
async fn stop_worker(context: &Context, worker: &mut dyn WorkerPort, ours: Attempt) {
    let stopped = async {
        if !worker.send(ToWorker::Stop { attempt: ours }).await {
            return;
        }
        while let Some(message) = worker.recv().await {
            match message {
                FromWorker::Stopped { attempt } if attempt == ours => return,
                FromWorker::Statistics(last) if last.attempt == ours => context.progress.counted(last),
                _ => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = stopped => (),
        () = context.clock.sleep(STOP_PATIENCE) => {
            tracing::warn!(attempt = %ours, "the worker did not stop in time");
        }
    }
}
