//! What every subtask does alike: its operators, its outputs, and the fast half of a checkpoint.

use std::time::Duration;

use api::control::{FromWorker, StageTimes, TaskId};
use api::statistics::TaskCounters;
use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, OperatorId};
use tokio::sync::mpsc;

use crate::connectors::{Lag, SourceCounters};
use crate::crashpoint;
use crate::element::{Barrier, Batch, Timestamp};
use crate::operators::Chain;
use crate::worker::failure::TaskFailure;
use crate::worker::meter::Meter;
use crate::worker::outputs::Outputs;
use crate::worker::snapshot::Job;
use crate::worker::statistics::{Board, PUBLISH_INTERVAL};

/// One subtask of one stage.
pub(crate) struct Task {
    pub id: TaskId,
    pub attempt: Attempt,
    pub chain: Box<dyn Chain>,
    pub outputs: Outputs,
    pub jobs: mpsc::Sender<Job>,
    pub reports: mpsc::Sender<FromWorker>,
    pub meter: Meter,
    pub board: Board,
    pub published: Duration,
    pub watermark: Timestamp,
    pub ended: bool,
}

/// What the input of a subtask contributes to a snapshot.
pub(crate) struct Sealed {
    /// Time from the first barrier to the last.
    pub align: Duration,
    /// Positions or watermarks, encoded.
    pub encoded: (OperatorId, Bytes),
    /// Rows read from a source since the attempt began.
    pub rows_in: u64,
}

/// Counters that only the kind of input knows.
#[derive(Default)]
pub(crate) struct InputStatistics {
    pub source: Option<(String, SourceCounters)>,
    pub lag: Vec<Lag>,
    pub queued_bytes: u64,
}

impl Task {
    pub(crate) async fn process(&mut self, batch: Batch) -> Result<(), TaskFailure> {
        self.chain.process(batch, &mut self.outputs)?;
        self.send().await
    }

    pub(crate) async fn advance(&mut self, watermark: Timestamp) -> Result<(), TaskFailure> {
        self.watermark = self.watermark.max(watermark);
        self.chain.advance(watermark, &mut self.outputs)?;
        self.outputs.resume();
        self.send().await
    }

    /// Nobody waits for this subtask's event time from now on, so windows that it has rows of may fire: what the chain
    /// still holds must be there before.
    pub(crate) async fn idle(&mut self) -> Result<(), TaskFailure> {
        self.chain.flush(&mut self.outputs)?;
        self.outputs.idle();
        self.send().await
    }

    /// Says once that nothing but barriers will come from this subtask. Its counters are final and come before, so that
    /// a run that ends has told them.
    pub(crate) async fn end(&mut self, input: InputStatistics) -> Result<(), TaskFailure> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.publish(input);
        let counted = self.board.read_task(self.attempt, &self.id, self.meter.now());
        self.report(FromWorker::Statistics(counted)).await?;
        self.report(FromWorker::Ended { attempt: self.attempt, task: self.id.clone() }).await
    }

    /// Everything before the barrier is sent on, then the barrier itself: downstream aligns while this subtask is
    /// still busy with its own snapshot.
    pub(crate) async fn forward_barrier(&mut self, epoch: Epoch) -> Result<(), TaskFailure> {
        self.chain.flush(&mut self.outputs)?;
        self.send().await?;
        self.outputs.barrier(Barrier { attempt: self.attempt, epoch });
        self.send().await?;
        crashpoint::hit("worker.barrier_emitted")?;
        Ok(())
    }

    /// Seals state and sinks at the barrier that was just forwarded and hands them to the snapshot writer.
    ///
    /// Declined, with nothing sealed, when the writer is too far behind: rows go on into the open transactions and
    /// the next checkpoint covers them.
    pub(crate) async fn snapshot(&mut self, epoch: Epoch, sealed: Sealed) -> Result<(), TaskFailure> {
        let permit = match self.jobs.clone().try_reserve_owned() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(_)) => {
                return self.decline(epoch, "uploads of earlier checkpoints are still under way").await;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(TaskFailure::Closed),
        };
        if let Some(reason) = self.outputs.declines() {
            return self.decline(epoch, &reason).await;
        }
        let start = self.meter.now();
        let operators = self.chain.snapshot()?;
        let pre_commits = self.outputs.pre_commit(epoch)?;
        crashpoint::hit("worker.snapshotted")?;
        let snapshot = self.meter.now().saturating_sub(start);
        let times = StageTimes {
            align_us: sealed.align.as_micros() as u64,
            snapshot_us: snapshot.as_micros() as u64,
            ..StageTimes::default()
        };
        let Sealed { encoded, rows_in, .. } = sealed;
        permit.send(Job { epoch, times, operators, encoded, pre_commits, finished: self.ended, rows_in });
        Ok(())
    }

    pub(crate) async fn decline(&mut self, epoch: Epoch, reason: &str) -> Result<(), TaskFailure> {
        let (attempt, task, reason) = (self.attempt, self.id.clone(), reason.to_owned());
        self.report(FromWorker::Declined { attempt, epoch, task, reason }).await
    }

    /// Tells counters, unless that was done a moment ago.
    pub(crate) fn publish_at(&mut self, now: Duration, input: impl FnOnce() -> InputStatistics) {
        if now.saturating_sub(self.published) >= PUBLISH_INTERVAL {
            self.published = now;
            self.publish(input());
        }
    }

    pub(crate) fn publish(&self, input: InputStatistics) {
        let counters = TaskCounters {
            source: input.source,
            sinks: self.outputs.sink_counters(),
            operators: self.chain.counters(),
            lag: input.lag,
            watermark: self.watermark,
            queued_bytes: input.queued_bytes,
        };
        self.board.publish(&self.id, counters);
    }

    /// Sends what found no room, and tells how much was written.
    async fn send(&mut self) -> Result<(), TaskFailure> {
        self.meter.written(self.outputs.rows_written());
        self.outputs.send(&self.meter).await
    }

    async fn report(&mut self, report: FromWorker) -> Result<(), TaskFailure> {
        // Without a coordinator this attempt is about to be dropped; there is nobody to tell why.
        self.reports.send(report).await.map_err(|_| TaskFailure::Closed)
    }
}
