//! The leaves of one subtask: sinks are written at once, edges get what the chain emits, by key group, with backpressure.

use std::collections::VecDeque;

use checkpoint::ids::Epoch;

use crate::connectors::{PreCommit, SinkCounters, SinkError, SinkWriter};
use crate::dataflow::key_groups;
use crate::element::{Barrier, Batch, Element, Timestamp, Watermark};
use crate::operators::{OperatorError, Output};
use crate::worker::channel::{Closed, EdgeSender, NotSent};
use crate::worker::failure::TaskFailure;
use crate::worker::meter::{Meter, Wait};

/// Where a chain's results go.
pub(crate) struct Outputs {
    leaves: Vec<Leaf>,
    /// What one input element produced and found no room yet; sent by [`Outputs::send`] before the next one is read,
    /// so it holds the output of one element at most.
    waiting: VecDeque<Waiting>,
    /// Rows given to sinks.
    rows_written: u64,
    /// The first queue that was found closed while the chain was pushing.
    closed: bool,
}

pub(crate) enum Leaf {
    Sink { name: String, writer: Box<dyn SinkWriter> },
    Edge(EdgeLeaf),
}

/// One edge's end in one upstream subtask.
pub(crate) struct EdgeLeaf {
    /// One sender for each downstream subtask, or a single one (forward).
    pub senders: Vec<EdgeSender>,
    /// Columns that decide the key group; `None` on a forward edge.
    pub keys: Option<Vec<usize>>,
    pub max_parallelism: u32,
    told: Told,
}

impl EdgeLeaf {
    pub(crate) fn new(senders: Vec<EdgeSender>, keys: Option<Vec<usize>>, max_parallelism: u32) -> Self {
        Self { senders, keys, max_parallelism, told: Told { watermark: Timestamp::MIN, idle: false } }
    }
}

/// What an edge was last told about event time.
#[derive(Clone, Copy, Debug)]
struct Told {
    watermark: Timestamp,
    idle: bool,
}

struct Waiting {
    leaf: usize,
    target: usize,
    element: Element,
}

impl Outputs {
    pub(crate) fn new(leaves: Vec<Leaf>) -> Self {
        Self { leaves, waiting: VecDeque::new(), rows_written: 0, closed: false }
    }

    /// Sends whatever found no room, in order, waiting for it; waits for sinks that hold rows back.
    ///
    /// # Errors
    /// A downstream subtask that is gone, a target that does not take a row.
    pub(crate) async fn send(&mut self, meter: &Meter) -> Result<(), TaskFailure> {
        if self.closed {
            return Err(Closed.into());
        }
        for leaf in &mut self.leaves {
            let Leaf::Sink { writer, .. } = leaf else { continue };
            while let Some(pause) = writer.room()? {
                meter.wait(Wait::RoomDownstream, meter.sleep(pause)).await;
            }
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        Ok(meter.wait(Wait::RoomDownstream, self.send_waiting()).await?)
    }

    /// The first reason of a sink not to take part in a checkpoint now.
    pub(crate) fn declines(&mut self) -> Option<String> {
        self.leaves.iter_mut().find_map(|leaf| match leaf {
            Leaf::Sink { name, writer } => writer.declines().map(|reason| format!("sink `{name}`: {reason}")),
            Leaf::Edge(_) => None,
        })
    }

    async fn send_waiting(&mut self) -> Result<(), Closed> {
        while let Some(Waiting { leaf, target, element }) = self.waiting.pop_front() {
            if let Some(Leaf::Edge(edge)) = self.leaves.get(leaf)
                && let Some(sender) = edge.senders.get(target)
            {
                sender.send(element).await?;
            }
        }
        Ok(())
    }

    /// Tells every edge that nothing comes for now and nobody should wait for this subtask's event time.
    pub(crate) fn idle(&mut self) {
        for leaf in 0..self.leaves.len() {
            if let Some(Leaf::Edge(edge)) = self.leaves.get_mut(leaf)
                && !edge.told.idle
                && edge.told.watermark != Timestamp::MAX
            {
                edge.told.idle = true;
                self.broadcast(leaf, &Element::Watermark(Watermark::Idle));
            }
        }
    }

    /// Ends idleness of edges that the chain told nothing because its watermark did not move.
    pub(crate) fn resume(&mut self) {
        for leaf in 0..self.leaves.len() {
            if let Some(Leaf::Edge(edge)) = self.leaves.get_mut(leaf)
                && edge.told.idle
            {
                edge.told.idle = false;
                let last = Watermark::At(edge.told.watermark);
                self.broadcast(leaf, &Element::Watermark(last));
            }
        }
    }

    pub(crate) fn barrier(&mut self, barrier: Barrier) {
        for leaf in 0..self.leaves.len() {
            self.broadcast(leaf, &Element::Barrier(barrier));
        }
    }

    /// Seals what the sinks of this subtask got before the barrier.
    pub(crate) fn pre_commit(&mut self, epoch: Epoch) -> Result<Vec<PreCommit>, SinkError> {
        let mut sealed = Vec::new();
        for leaf in &mut self.leaves {
            if let Leaf::Sink { writer, .. } = leaf {
                sealed.push(writer.pre_commit(epoch)?);
            }
        }
        Ok(sealed)
    }

    pub(crate) fn sink_counters(&self) -> Vec<(String, SinkCounters)> {
        let sinks = self.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Sink { name, writer } => Some((name.clone(), writer.counters())),
            Leaf::Edge(_) => None,
        });
        sinks.collect()
    }

    pub(crate) fn rows_written(&self) -> u64 {
        self.rows_written
    }

    fn broadcast(&mut self, leaf: usize, element: &Element) {
        let Some(Leaf::Edge(edge)) = self.leaves.get(leaf) else { return };
        for target in 0..edge.senders.len() {
            self.push(leaf, target, element.clone());
        }
    }

    /// Sends at once when there is room and nothing waits before it.
    fn push(&mut self, leaf: usize, target: usize, element: Element) {
        let Some(Leaf::Edge(edge)) = self.leaves.get(leaf) else { return };
        let Some(sender) = edge.senders.get(target) else { return };
        let element = if self.waiting.is_empty() {
            match sender.try_send(element) {
                Ok(()) => return,
                Err(NotSent::Closed) => {
                    self.closed = true;
                    return;
                }
                Err(NotSent::Full(element)) => element,
            }
        } else {
            element
        };
        self.waiting.push_back(Waiting { leaf, target, element });
    }
}

impl Output for Outputs {
    fn emit(&mut self, leaf: usize, batch: Batch) -> Result<(), OperatorError> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        let edge = match self.leaves.get_mut(leaf) {
            Some(Leaf::Sink { writer, .. }) => {
                writer.write(&batch)?;
                self.rows_written += batch.rows.num_rows() as u64;
                return Ok(());
            }
            Some(Leaf::Edge(edge)) => edge,
            None => return Err(unknown_leaf(leaf)),
        };
        match &edge.keys {
            Some(keys) if edge.senders.len() > 1 => {
                let parallelism = edge.senders.len() as u32;
                let parts = key_groups::partition(&batch, keys, parallelism, edge.max_parallelism)
                    .map_err(|error| exchange_error(&error.to_string()))?;
                for (subtask, part) in parts {
                    self.push(leaf, subtask as usize, Element::Batch(part));
                }
            }
            _ => self.push(leaf, 0, Element::Batch(batch)),
        }
        Ok(())
    }

    fn watermark(&mut self, leaf: usize, watermark: Timestamp) -> Result<(), OperatorError> {
        let edge = match self.leaves.get_mut(leaf) {
            Some(Leaf::Edge(edge)) => edge,
            Some(Leaf::Sink { .. }) => return Ok(()),
            None => return Err(unknown_leaf(leaf)),
        };
        if watermark > edge.told.watermark {
            edge.told = Told { watermark, idle: false };
            self.broadcast(leaf, &Element::Watermark(Watermark::At(watermark)));
        }
        Ok(())
    }
}

fn unknown_leaf(leaf: usize) -> OperatorError {
    exchange_error(&format!("leaf {leaf} is not there"))
}

fn exchange_error(message: &str) -> OperatorError {
    OperatorError::Row { operator: "exchange".into(), message: message.to_owned() }
}
