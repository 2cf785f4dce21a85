//! A stage's operators as a tree: from its input over operators to its leaves, run without queues between them.

use std::sync::Arc;

use checkpoint::ids::{OperatorId, Subtask};

use super::{Chain, Operator, OperatorCounters, OperatorError, Output};
use crate::dataflow::graph::{ChainBuilder, StatefulOperator};
use crate::dataflow::key_groups::Place;
use crate::element::{Batch, Timestamp};
use crate::state::{OperatorRuns, Run};

/// The plan of one operator: makes its instances.
pub(crate) trait Factory: Send + Sync {
    fn build(&self, place: Place) -> Result<Box<dyn Operator>, OperatorError>;
    fn stateful(&self) -> Option<StatefulOperator> {
        None
    }
    /// One line of `--explain`.
    fn describe(&self) -> String;
}

/// Plan of a stage: the operators that follow a node, and the leaves that it feeds.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) children: Vec<(Arc<dyn Factory>, Tree)>,
    pub(crate) leaves: Vec<usize>,
}

/// A stage's plan with what its instances must know of the pipeline.
pub(crate) struct TreeBuilder {
    pub(crate) tree: Tree,
    pub(crate) max_parallelism: u32,
}

impl ChainBuilder for TreeBuilder {
    fn build(&self, subtask: Subtask, parallelism: u32) -> Result<Box<dyn Chain>, OperatorError> {
        let place = Place { subtask: subtask.0, parallelism, max_parallelism: self.max_parallelism };
        Ok(Box::new(TreeChain(Followers::build(&self.tree, place)?)))
    }

    fn stateful_operators(&self) -> Vec<StatefulOperator> {
        let mut found = Vec::new();
        collect_stateful(&self.tree, &mut found);
        found
    }

    fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        describe(&self.tree, 0, &mut lines);
        lines
    }
}

fn collect_stateful(tree: &Tree, found: &mut Vec<StatefulOperator>) {
    for (factory, after) in &tree.children {
        found.extend(factory.stateful());
        collect_stateful(after, found);
    }
}

fn describe(tree: &Tree, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    lines.extend(tree.leaves.iter().map(|leaf| format!("{indent}-> {leaf}")));
    for (factory, after) in &tree.children {
        lines.push(format!("{indent}{}", factory.describe()));
        describe(after, depth + 1, lines);
    }
}

struct Node {
    operator: Box<dyn Operator>,
    after: Followers,
}

struct Followers {
    nodes: Vec<Node>,
    leaves: Vec<usize>,
}

impl Followers {
    fn build(tree: &Tree, place: Place) -> Result<Self, OperatorError> {
        let node = |(factory, after): &(Arc<dyn Factory>, Tree)| {
            Ok(Node { operator: factory.build(place)?, after: Self::build(after, place)? })
        };
        Ok(Self {
            nodes: tree.children.iter().map(node).collect::<Result<_, OperatorError>>()?,
            leaves: tree.leaves.clone(),
        })
    }

    fn process(&mut self, batch: &Batch, out: &mut dyn Output) -> Result<(), OperatorError> {
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        for leaf in &self.leaves {
            out.emit(*leaf, batch.clone())?;
        }
        for Node { operator, after } in &mut self.nodes {
            operator.process(batch.clone(), &mut |batch| after.process(&batch, out))?;
        }
        Ok(())
    }

    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError> {
        for leaf in &self.leaves {
            out.watermark(*leaf, watermark)?;
        }
        for Node { operator, after } in &mut self.nodes {
            operator.advance(watermark, &mut |batch| after.process(&batch, out))?;
            after.advance(watermark, out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut dyn Output) -> Result<(), OperatorError> {
        for Node { operator, after } in &mut self.nodes {
            operator.flush(&mut |batch| after.process(&batch, out))?;
            after.flush(out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, found: &mut Vec<OperatorRuns>) -> Result<(), OperatorError> {
        for Node { operator, after } in &mut self.nodes {
            found.extend(operator.snapshot()?);
            after.snapshot(found)?;
        }
        Ok(())
    }

    fn restore(&mut self, operator: &OperatorId, mut runs: Vec<Run>) -> Result<Option<Vec<Run>>, OperatorError> {
        for node in &mut self.nodes {
            runs = match node.operator.restore(operator, runs)? {
                None => return Ok(None),
                Some(runs) => runs,
            };
            runs = match node.after.restore(operator, runs)? {
                None => return Ok(None),
                Some(runs) => runs,
            };
        }
        Ok(Some(runs))
    }

    fn counters(&self, found: &mut Vec<OperatorCounters>) {
        for node in &self.nodes {
            found.extend(node.operator.counters());
            node.after.counters(found);
        }
    }
}

struct TreeChain(Followers);

impl Chain for TreeChain {
    fn process(&mut self, batch: Batch, out: &mut dyn Output) -> Result<(), OperatorError> {
        self.0.process(&batch, out)
    }

    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError> {
        self.0.advance(watermark, out)
    }

    fn flush(&mut self, out: &mut dyn Output) -> Result<(), OperatorError> {
        self.0.flush(out)
    }

    fn snapshot(&mut self) -> Result<Vec<OperatorRuns>, OperatorError> {
        let mut found = Vec::new();
        self.0.snapshot(&mut found)?;
        Ok(found)
    }

    fn restore(&mut self, operator: &OperatorId, runs: Vec<Run>) -> Result<(), OperatorError> {
        match self.0.restore(operator, runs)? {
            None => Ok(()),
            Some(_) => Err(OperatorError::State {
                operator: operator.0.clone(),
                message: "no such operator in this stage".to_owned(),
            }),
        }
    }

    fn counters(&self) -> Vec<OperatorCounters> {
        let mut found = Vec::new();
        self.0.counters(&mut found);
        found
    }
}
