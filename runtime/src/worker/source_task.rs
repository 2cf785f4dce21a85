//! A subtask that reads a source: batches go to its chain, barriers begin here.

use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::Epoch;
use tokio::sync::{mpsc, watch};

use crate::connectors::{Next, SourceReader};
use crate::crashpoint;
use crate::element::{Timestamp, Watermark};
use crate::worker::failure::TaskFailure;
use crate::worker::meter::Wait;
use crate::worker::pacing::Pacing;
use crate::worker::restore::source_operator;
use crate::worker::task::{InputStatistics, Sealed, Task};
use crate::worker::trail::Trails;

/// Epochs that may wait for a source that is held up by backpressure. The coordinator starts one only after the one
/// before it ended or timed out, and gives up after a few in a row, long before this.
pub(crate) const WAITING_EPOCHS: usize = 1024;

/// The thread is given up after this many batches, or this long, whichever comes first.
const YIELD_BATCHES: u32 = 8;
const YIELD_INTERVAL: Duration = Duration::from_micros(500);

pub(crate) struct SourceTask {
    pub task: Task,
    pub source: String,
    pub reader: Box<dyn SourceReader>,
    /// `None`: read on, wherever the other subtasks are.
    pub pacing: Option<Pacing>,
    /// Epochs whose barrier is to be emitted, in order.
    pub requests: mpsc::Receiver<Epoch>,
    /// The newest epoch known to be decided.
    pub decided: watch::Receiver<Epoch>,
    pub trails: Trails,
}

/// When the thread was last given up.
struct Turn {
    began: Duration,
    batches: u32,
}

impl SourceTask {
    /// Reads until the attempt is stopped.
    ///
    /// # Errors
    /// Whatever ends the attempt.
    pub(crate) async fn run(mut self) -> Result<(), TaskFailure> {
        let ended = self.work().await;
        if ended.is_err() {
            self.trails.end(&self.task.id, self.reader.stretches());
        }
        ended
    }

    async fn work(&mut self) -> Result<(), TaskFailure> {
        let mut turn = Turn { began: self.task.meter.now(), batches: 0 };
        let mut is_first = true;
        loop {
            if let Ok(epoch) = self.requests.try_recv() {
                self.checkpoint(epoch).await?;
            }
            if self.decided.has_changed().is_ok_and(|changed| changed) {
                self.learn_decided();
            }
            let now = self.task.meter.now();
            self.publish_at(now);
            if self.pacing.as_mut().is_some_and(Pacing::is_ahead) {
                self.let_others_come_after().await?;
                continue;
            }
            match self.reader.next(now)? {
                Next::Batch(batch) => {
                    self.task.meter.read(batch.rows.num_rows());
                    if let Some(pacing) = &mut self.pacing {
                        pacing.read(batch.rows.num_rows());
                    }
                    self.task.process(batch).await.map_err(|failure| failure.about(&self.reader.last_batch()))?;
                    if std::mem::take(&mut is_first) {
                        crashpoint::hit("worker.first_record")?;
                    }
                    crashpoint::hit("worker.batch_read")?;
                    turn.batches += 1;
                    if turn.batches >= YIELD_BATCHES || now.saturating_sub(turn.began) >= YIELD_INTERVAL {
                        tokio::task::yield_now().await;
                        turn = Turn { began: now, batches: 0 };
                    }
                }
                Next::Watermark(Watermark::At(at)) => {
                    if let Some(pacing) = &mut self.pacing {
                        pacing.advance(at);
                    }
                    self.task.advance(at).await?;
                }
                Next::Watermark(Watermark::Idle) => self.task.idle().await?,
                Next::Wait(time) => {
                    self.rest();
                    self.wait(time).await?;
                }
                Next::Ended => {
                    self.rest();
                    return self.pass_barriers().await;
                }
            }
        }
    }

    fn learn_decided(&mut self) {
        let epoch = *self.decided.borrow_and_update();
        self.reader.decided(epoch);
        self.trails.decided(&self.task.id, epoch);
    }

    fn rest(&self) {
        if let Some(pacing) = &self.pacing {
            pacing.rest();
        }
    }

    /// Waits for its turn, or takes a checkpoint when one is asked for first.
    async fn let_others_come_after(&mut self) -> Result<(), TaskFailure> {
        let Self { task, requests, pacing: Some(pacing), .. } = self else { return Ok(()) };
        let woken = async {
            tokio::select! {
                biased;
                epoch = requests.recv() => Some(epoch.ok_or(TaskFailure::Closed)),
                () = pacing.turn() => None,
            }
        };
        match task.meter.wait(Wait::Input, woken).await {
            Some(epoch) => self.checkpoint(epoch?).await,
            None => Ok(()),
        }
    }

    /// Sleeps, or takes a checkpoint when one is asked for first.
    async fn wait(&mut self, time: Duration) -> Result<(), TaskFailure> {
        let Self { task, requests, .. } = self;
        let woken = async {
            tokio::select! {
                biased;
                epoch = requests.recv() => Some(epoch.ok_or(TaskFailure::Closed)),
                () = task.meter.sleep(time) => None,
            }
        };
        match task.meter.wait(Wait::Input, woken).await {
            Some(epoch) => self.checkpoint(epoch?).await,
            None => Ok(()),
        }
    }

    /// After the last row: barriers until the attempt is stopped.
    async fn pass_barriers(&mut self) -> Result<(), TaskFailure> {
        if self.task.watermark < Timestamp::MAX {
            // A reader without event time may end without a last watermark.
            self.task.advance(Timestamp::MAX).await?;
        }
        let last = self.statistics();
        self.task.end(last).await?;
        while let Some(epoch) = self.task.meter.wait(Wait::Input, self.requests.recv()).await {
            self.checkpoint(epoch).await?;
            self.learn_decided();
        }
        Err(TaskFailure::Closed)
    }

    /// Emits the barrier and takes the snapshot. Of several that wait, only the newest can still succeed: the others
    /// are declined, but their barriers are emitted all the same, so that every input downstream sees every epoch.
    async fn checkpoint(&mut self, mut epoch: Epoch) -> Result<(), TaskFailure> {
        while let Ok(newer) = self.requests.try_recv() {
            self.task.forward_barrier(epoch).await?;
            self.task.decline(epoch, "the source was held up until a newer checkpoint had begun").await?;
            epoch = newer;
        }
        self.task.forward_barrier(epoch).await?;
        let positions = serde_json::to_vec(&self.reader.snapshot())
            .map_err(|error| TaskFailure::State(format!("positions of `{}`: {error}", self.source)))?;
        self.reader.taken(epoch);
        self.trails.barrier(&self.task.id, epoch, self.reader.stretches());
        let encoded = (source_operator(&self.source), Bytes::from(positions));
        let rows_in = self.reader.counters().records;
        self.task.snapshot(epoch, Sealed { align: Duration::ZERO, encoded, rows_in }).await?;
        self.task.publish(self.statistics());
        Ok(())
    }

    fn publish_at(&mut self, now: Duration) {
        let Self { task, source, reader, .. } = self;
        task.publish_at(now, || statistics(source, reader.as_ref()));
    }

    fn statistics(&self) -> InputStatistics {
        statistics(&self.source, self.reader.as_ref())
    }
}

fn statistics(source: &str, reader: &dyn SourceReader) -> InputStatistics {
    InputStatistics { source: Some((source.to_owned(), reader.counters())), lag: reader.lag(), queued_bytes: 0 }
}
