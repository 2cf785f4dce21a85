//! The slow half of a checkpoint in one subtask: state parts are uploaded and sinks flushed while processing goes on.
//!
//! One [`Writer`] for each subtask takes its snapshots one after the other, so that acknowledgements leave in epoch
//! order and each lists every committable before it. A snapshot that finds the writer too far behind is declined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::control::{Acknowledgement, FromWorker, StageTimes, TaskId};
use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, OperatorId};
use checkpoint::manifest::{Committable, OperatorSnapshot, StatePart};
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::connectors::PreCommit;
use crate::crashpoint;
use crate::state::{OperatorRuns, Run, ipc};
use crate::tasks;
use crate::worker::StopSignal;
use crate::worker::failure::TaskFailure;
use crate::worker::parts::{Part, PartName, Parts};
use crate::worker::rules::{Rule, Rules};

/// Snapshots of one subtask that may wait behind the one that is being written.
pub(crate) const WAITING_SNAPSHOTS: usize = 2;

/// What a subtask hands over at a barrier: sealed, but nothing durable yet.
pub(crate) struct Job {
    pub epoch: Epoch,
    pub times: StageTimes,
    pub operators: Vec<OperatorRuns>,
    /// State that is encoded already: source positions or watermarks.
    pub encoded: (OperatorId, Bytes),
    pub pre_commits: Vec<PreCommit>,
    pub finished: bool,
    /// Rows that this subtask's source has read since the attempt began.
    pub rows_in: u64,
}

/// Makes snapshots durable and acknowledges them.
pub(crate) struct Writer {
    pub task: TaskId,
    pub attempt: Attempt,
    pub parts: Parts,
    pub clock: Arc<dyn Clock>,
    pub reports: mpsc::Sender<FromWorker>,
    pub stop: StopSignal,
    /// The newest epoch known to be decided.
    pub decided: watch::Receiver<Epoch>,
    /// Committables that no decision is known for, oldest first. Bounded by the coordinator: after
    /// `tolerableFailedCheckpoints` failures in a row it ends the attempt.
    pub undecided: BTreeMap<Epoch, Vec<Committable>>,
    pub rules: Rules,
}

impl Writer {
    /// Works off `jobs` until their sender is gone.
    ///
    /// # Errors
    /// A sink that could not seal what it was given: the rows of that epoch are lost to this attempt, which must end.
    pub(crate) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Result<(), TaskFailure> {
        while let Some(job) = jobs.recv().await {
            if self.stop.is_stopped() {
                break;
            }
            self.work(job).await?;
        }
        Ok(())
    }

    async fn work(&mut self, job: Job) -> Result<(), TaskFailure> {
        let Job { epoch, mut times, operators, encoded, pre_commits, finished, rows_in } = job;
        let uploads = self.upload(epoch, operators, encoded);
        let seals = self.pre_commit(pre_commits);
        let ((snapshots, upload), (committables, pre_commit)) = futures::join!(uploads, seals);
        let committables = committables?;
        crashpoint::hit("worker.pre_committed")?;
        if !committables.is_empty() {
            self.undecided.insert(epoch, committables);
        }
        times.upload_us = upload.as_micros() as u64;
        times.pre_commit_us = pre_commit.as_micros() as u64;
        let task = self.task.clone();
        let report = match snapshots {
            Ok(snapshots) => {
                crashpoint::hit("worker.before_ack")?;
                let committables = self.undecided_committables(epoch);
                let attempt = self.attempt;
                let acknowledgement =
                    Acknowledgement { attempt, epoch, task, snapshots, committables, times, rows_in, finished };
                FromWorker::Acknowledged(Box::new(acknowledgement))
            }
            // Its committables stay undecided; the next acknowledgement lists them.
            Err(failure) if failure.declines() => {
                FromWorker::Declined { attempt: self.attempt, epoch, task, reason: failure.to_string() }
            }
            Err(failure) => return Err(failure),
        };
        // Without a coordinator nobody needs the report; this attempt is about to be dropped.
        self.reports.send(report).await.map_err(|_| TaskFailure::Closed)?;
        crashpoint::hit("worker.acked")?;
        Ok(())
    }

    /// Forgets what is decided. A decided epoch covers all committables up to it: they were all acknowledged with it.
    fn undecided_committables(&mut self, epoch: Epoch) -> Vec<Committable> {
        let decided = *self.decided.borrow();
        let oldest = if self.rules.hold(Rule::ListUndecided) { decided.next() } else { epoch };
        self.undecided = self.undecided.split_off(&oldest);
        self.undecided.values().flatten().cloned().collect()
    }

    async fn upload(
        &self,
        epoch: Epoch,
        operators: Vec<OperatorRuns>,
        encoded: (OperatorId, Bytes),
    ) -> (Result<Vec<OperatorSnapshot>, TaskFailure>, Duration) {
        let start = self.clock.monotonic();
        // A stop does not wait for the store; what is half written is an object that nobody refers to.
        let written = self.stop.unless_stopped(self.write_all(epoch, operators, encoded)).await;
        let written = written.unwrap_or(Err(TaskFailure::Closed));
        (written, self.clock.monotonic().saturating_sub(start))
    }

    async fn write_all(
        &self,
        epoch: Epoch,
        operators: Vec<OperatorRuns>,
        encoded: (OperatorId, Bytes),
    ) -> Result<Vec<OperatorSnapshot>, TaskFailure> {
        let subtask = self.task.subtask;
        let mut snapshots = Vec::with_capacity(operators.len() + 1);
        let (operator, body) = encoded;
        let name = PartName { operator: &operator, subtask, epoch, index: 0 };
        let part = self.parts.write(name, Part::new(body)).await?;
        snapshots.push(OperatorSnapshot { operator, subtask, parts: vec![part] });
        for OperatorRuns { operator, runs } in operators {
            let mut parts = Vec::with_capacity(runs.len());
            for (index, run) in runs.into_iter().enumerate() {
                let name = PartName { operator: &operator, subtask, epoch, index };
                parts.push(self.write_run(name, run).await?);
            }
            snapshots.push(OperatorSnapshot { operator, subtask, parts });
        }
        Ok(snapshots)
    }

    /// A run that is durable already is referred to, whichever checkpoint it was uploaded for.
    async fn write_run(&self, name: PartName<'_>, run: Run) -> Result<StatePart, TaskFailure> {
        if let Some(part) = run.part.get() {
            return Ok(part.clone());
        }
        let rows = Arc::clone(&run.rows);
        let encoding = tasks::spawn_blocking(format!("encode {}-{}", name.operator, name.subtask), move || {
            ipc::encode(&rows).map(|body| Part::new(body.into()))
        });
        let part = encoding.await?.map_err(|error| TaskFailure::State(error.to_string()))?;
        let part = self.parts.write(name, part).await?;
        crashpoint::hit("worker.part_uploaded")?;
        // Only this writer sets it; a second set could only be of the same run.
        let _ = run.part.set(part.clone());
        Ok(part)
    }

    /// Always joined, also by a stop: nothing of this attempt touches a target after it said that it stopped.
    async fn pre_commit(&self, pre_commits: Vec<PreCommit>) -> (Result<Vec<Committable>, TaskFailure>, Duration) {
        if pre_commits.is_empty() {
            return (Ok(Vec::new()), Duration::ZERO);
        }
        let start = self.clock.monotonic();
        let name = format!("pre-commit {}-{}", self.task.stage, self.task.subtask);
        let sealing = tasks::spawn_blocking(name, move || {
            let mut committables = Vec::new();
            for pre_commit in pre_commits {
                committables.extend(pre_commit()?);
            }
            Ok(committables)
        });
        let sealed = match sealing.await {
            Ok(sealed) => sealed.map_err(TaskFailure::Sink),
            Err(panic) => Err(panic.into()),
        };
        (sealed, self.clock.monotonic().saturating_sub(start))
    }
}
