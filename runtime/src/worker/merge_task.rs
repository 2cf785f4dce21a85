//! A subtask that reads edges: barriers are aligned over all inputs, watermarks combined by minimum.

use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::Epoch;

use crate::crashpoint;
use crate::element::{Barrier, Element, Timestamp, Watermark};
use crate::worker::alignment::{Alignment, Inputs};
use crate::worker::channel::Inbox;
use crate::worker::failure::TaskFailure;
use crate::worker::meter::Wait;
use crate::worker::restore::input_operator;
use crate::worker::rules::{Rule, Rules};
use crate::worker::task::{InputStatistics, Sealed, Task};

/// The thread is given up after this many elements, in case the queues never run dry.
const YIELD_ELEMENTS: u32 = 32;

pub(crate) struct MergeTask {
    pub task: Task,
    pub inbox: Inbox,
    pub inputs: Inputs,
    /// When the first barrier of the epoch in alignment arrived.
    pub aligning_since: Duration,
    pub rules: Rules,
}

impl MergeTask {
    /// Reads until the attempt is stopped.
    ///
    /// # Errors
    /// Whatever ends the attempt.
    pub(crate) async fn run(mut self) -> Result<(), TaskFailure> {
        if self.inputs.combined() > Timestamp::MIN {
            // The operators learn how far event time had come: windows up to it have fired and take no more rows.
            self.task.advance(self.inputs.combined()).await?;
        }
        let mut elements = 0_u32;
        loop {
            let (input, element) = match self.inbox.try_receive()? {
                Some(received) => received,
                None => self.task.meter.wait(Wait::Input, self.inbox.receive()).await?,
            };
            match element {
                Element::Batch(batch) => self.task.process(batch).await?,
                Element::Watermark(watermark) => self.watermark(input, watermark).await?,
                Element::Barrier(barrier) => self.barrier(input, barrier).await?,
            }
            elements += 1;
            if elements >= YIELD_ELEMENTS {
                elements = 0;
                self.publish_at(self.task.meter.now());
                tokio::task::yield_now().await;
            }
        }
    }

    async fn watermark(&mut self, input: usize, watermark: Watermark) -> Result<(), TaskFailure> {
        match self.inputs.watermark(input, watermark) {
            Some(Watermark::At(at)) => self.task.advance(at).await?,
            Some(Watermark::Idle) => self.task.idle().await?,
            None => {}
        }
        self.end_with_inputs().await
    }

    async fn end_with_inputs(&mut self) -> Result<(), TaskFailure> {
        if self.inputs.ended() && !self.task.ended {
            let last = self.statistics();
            self.task.end(last).await?;
        }
        Ok(())
    }

    async fn barrier(&mut self, input: usize, barrier: Barrier) -> Result<(), TaskFailure> {
        let now = self.task.meter.now();
        if !self.inputs.is_aligning() {
            self.aligning_since = now;
        }
        match self.inputs.barrier(input, barrier.epoch)? {
            Alignment::Wait if self.rules.hold(Rule::AlignInputs) => self.inbox.block(input),
            Alignment::Wait => {}
            Alignment::Aligned(epoch) => {
                crashpoint::hit("worker.aligned")?;
                self.checkpoint(epoch, now.saturating_sub(self.aligning_since)).await?;
                self.inbox.unblock_all();
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self, epoch: Epoch, align: Duration) -> Result<(), TaskFailure> {
        self.task.forward_barrier(epoch).await?;
        let operator = input_operator(&self.task.id.stage);
        let told = serde_json::to_vec(&self.inputs.snapshot())
            .map_err(|error| TaskFailure::State(format!("watermark of `{operator}`: {error}")))?;
        let encoded = (operator, Bytes::from(told));
        self.task.snapshot(epoch, Sealed { align, encoded, rows_in: 0 }).await?;
        self.task.publish(self.statistics());
        Ok(())
    }

    fn publish_at(&mut self, now: Duration) {
        let Self { task, inbox, .. } = self;
        task.publish_at(now, || InputStatistics {
            queued_bytes: inbox.queued_bytes() as u64,
            ..InputStatistics::default()
        });
    }

    fn statistics(&self) -> InputStatistics {
        InputStatistics { queued_bytes: self.inbox.queued_bytes() as u64, ..InputStatistics::default() }
    }
}
