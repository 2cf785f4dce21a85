//! The queues of a whole graph at one parallelism.

use crate::dataflow::graph::{Graph, Partitioning, StageInput};
use crate::worker::channel::{EdgeSender, Inbox, QUEUE_CAPACITY_BYTES, inbox};
use crate::worker::failure::TaskFailure;

/// Ends of queues that no subtask has taken yet.
pub(crate) struct Wiring {
    /// By stage, then subtask; `None` for source stages.
    inboxes: Vec<Vec<Option<(Inbox, usize)>>>,
    /// By edge, then upstream subtask, in order of downstream subtasks.
    senders: Vec<Vec<Vec<EdgeSender>>>,
}

impl Wiring {
    /// Makes all queues. The inputs of a stage are ordered by edge, then upstream subtask.
    ///
    /// # Errors
    /// A graph whose stages and edges do not name each other.
    pub(crate) fn new(graph: &Graph, parallelism: u32) -> Result<Self, TaskFailure> {
        let subtasks = parallelism as usize;
        let mut wiring = Self {
            inboxes: Vec::with_capacity(graph.stages.len()),
            senders: graph.edges.iter().map(|_| (0..subtasks).map(|_| Vec::new()).collect()).collect(),
        };
        for stage in &graph.stages {
            let StageInput::Edges(edges) = &stage.input else {
                wiring.inboxes.push((0..subtasks).map(|_| None).collect());
                continue;
            };
            let mut inboxes = Vec::with_capacity(subtasks);
            for to in 0..subtasks {
                let origins = origins(graph, edges, to, subtasks)?;
                let (inbox, senders) = inbox(origins.len(), QUEUE_CAPACITY_BYTES);
                let inputs = origins.len();
                for ((edge, from), sender) in origins.into_iter().zip(senders) {
                    let ends = wiring.senders.get_mut(edge).and_then(|subtasks| subtasks.get_mut(from));
                    ends.ok_or_else(|| no_edge(edge))?.push(sender);
                }
                inboxes.push(Some((inbox, inputs)));
            }
            wiring.inboxes.push(inboxes);
        }
        Ok(wiring)
    }

    /// The receiving end of one subtask and its number of inputs.
    pub(crate) fn take_inbox(&mut self, stage: usize, subtask: usize) -> Option<(Inbox, usize)> {
        self.inboxes.get_mut(stage)?.get_mut(subtask)?.take()
    }

    /// One upstream subtask's ends of one edge.
    pub(crate) fn take_senders(&mut self, edge: usize, from: usize) -> Result<Vec<EdgeSender>, TaskFailure> {
        let ends = self.senders.get_mut(edge).and_then(|subtasks| subtasks.get_mut(from));
        let senders = std::mem::take(ends.ok_or_else(|| no_edge(edge))?);
        if senders.is_empty() { Err(no_edge(edge)) } else { Ok(senders) }
    }
}

/// Edge and upstream subtask of every input of one subtask.
fn origins(graph: &Graph, edges: &[usize], to: usize, subtasks: usize) -> Result<Vec<(usize, usize)>, TaskFailure> {
    let mut origins = Vec::new();
    for index in edges {
        let edge = graph.edges.get(*index).ok_or_else(|| no_edge(*index))?;
        match edge.partitioning {
            Partitioning::Forward => origins.push((*index, to)),
            Partitioning::KeyGroups(_) => origins.extend((0..subtasks).map(|from| (*index, from))),
        }
    }
    Ok(origins)
}

fn no_edge(edge: usize) -> TaskFailure {
    TaskFailure::Plan(format!("edge {edge} is not there, or has no reader"))
}
