//! What every subtask does alike: its operators, its outputs, and the fast half of a checkpoint.

use std::sync::Arc;
use std::time::Duration;

use api::control::{FromWorker, StageTimes, TaskId};
use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, OperatorId};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::connectors::SourceCounters;
use crate::crashpoint;
use crate::element::{Barrier, Batch, Timestamp};
use crate::operators::Chain;
use crate::worker::failure::TaskFailure;
use crate::worker::outputs::Outputs;
use crate::worker::snapshot::Job;
use crate::worker::statistics::{PUBLISH_INTERVAL, Statistics, TaskStatistics};

/// One subtask of one stage.
pub(crate) struct Task {
    pub id: TaskId,
    pub attempt: Attempt,
    pub chain: Box<dyn Chain>,
    pub outputs: Outputs,
    pub jobs: mpsc::Sender<Job>,
    pub reports: mpsc::Sender<FromWorker>,
    pub clock: Arc<dyn Clock>,
    pub statistics: Statistics,
    pub published: Duration,
    pub watermark: Timestamp,
    pub ended: bool,
    /// When this subtask was built, and how long it has waited for input since.
    pub began: Duration,
    pub idle: Duration,
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
    pub queued_bytes: usize,
}

impl Task {
    pub(crate) async fn process(&mut self, batch: Batch) -> Result<(), TaskFailure> {
        self.chain.process(batch, &mut self.outputs)?;
        Ok(self.outputs.send(&*self.clock).await?)
    }

    pub(crate) async fn advance(&mut self, watermark: Timestamp) -> Result<(), TaskFailure> {
        self.watermark = self.watermark.max(watermark);
        self.chain.advance(watermark, &mut self.outputs)?;
        self.outputs.resume();
        Ok(self.outputs.send(&*self.clock).await?)
    }

    pub(crate) async fn idle(&mut self) -> Result<(), TaskFailure> {
        self.outputs.idle();
        Ok(self.outputs.send(&*self.clock).await?)
    }

    /// Says once that nothing but barriers will come from this subtask.
    pub(crate) async fn end(&mut self) -> Result<(), TaskFailure> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.report(FromWorker::Ended { attempt: self.attempt, task: self.id.clone() }).await
    }

    /// Everything before the barrier is sent on, then the barrier itself: downstream aligns while this subtask is
    /// still busy with its own snapshot.
    pub(crate) async fn forward_barrier(&mut self, epoch: Epoch) -> Result<(), TaskFailure> {
        self.chain.flush(&mut self.outputs)?;
        self.outputs.send(&*self.clock).await?;
        self.outputs.barrier(Barrier { attempt: self.attempt, epoch });
        self.outputs.send(&*self.clock).await?;
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
        let start = self.clock.monotonic();
        let operators = self.chain.snapshot()?;
        let pre_commits = self.outputs.pre_commit(epoch)?;
        crashpoint::hit("worker.snapshotted")?;
        let snapshot = self.clock.monotonic().saturating_sub(start);
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

    /// Notes that input was waited for since `start`.
    pub(crate) fn waited_since(&mut self, start: Duration) {
        self.idle += self.clock.monotonic().saturating_sub(start);
    }

    pub(crate) fn publish(&self, input: InputStatistics) {
        let (idle, backpressure) = (self.idle, self.outputs.backpressure());
        let busy = self.clock.monotonic().saturating_sub(self.began + idle + backpressure);
        let statistics = TaskStatistics {
            source: input.source,
            sinks: self.outputs.sink_counters(),
            operators: self.chain.counters(),
            busy,
            idle,
            backpressure,
            watermark: self.watermark,
            queued_bytes: input.queued_bytes,
        };
        self.statistics.publish(&self.id, statistics);
    }

    async fn report(&mut self, report: FromWorker) -> Result<(), TaskFailure> {
        // Without a coordinator this attempt is about to be dropped; there is nobody to tell why.
        self.reports.send(report).await.map_err(|_| TaskFailure::Closed)
    }
}
