//! Drives a graph in one thread: channels are a queue, barriers are taken when it is empty.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use checkpoint::ids::Subtask;
use runtime::dataflow::graph::{Graph, Leaf, Partitioning, StageInput};
use runtime::dataflow::{Definition, key_groups, plan};
use runtime::element::{Batch, Timestamp};
use runtime::operators::{Chain, OperatorCounters, OperatorError, Output};
use runtime::state::{OperatorRuns, Run, ipc};

/// A split's rows, read in order in batches of `batch` rows.
#[derive(Clone)]
pub(crate) struct SplitInput {
    pub(crate) source: String,
    pub(crate) rows: RecordBatch,
    pub(crate) batch: usize,
    pub(crate) max_out_of_orderness: i64,
    pub(crate) time: Option<String>,
}

/// When to take everything down and restore it at another parallelism: after this many batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    pub(crate) after: usize,
    pub(crate) parallelism: u32,
}

struct Collector<'a> {
    sent: Vec<(usize, Sent)>,
    sinks: &'a mut BTreeMap<String, Vec<RecordBatch>>,
    leaves: &'a [Leaf],
}

enum Sent {
    Batch(Batch),
    Watermark(Timestamp),
}

impl Output for Collector<'_> {
    fn emit(&mut self, leaf: usize, batch: Batch) -> Result<(), OperatorError> {
        assert!(batch.rows.num_rows() <= 8_192, "batches are at most 8192 rows");
        match &self.leaves[leaf] {
            Leaf::Sink { name, schema } => {
                assert_eq!(batch.rows.schema(), *schema, "a sink gets what the graph says");
                self.sinks.entry(name.clone()).or_default().push(batch.rows);
            }
            Leaf::Edge(edge) => self.sent.push((*edge, Sent::Batch(batch))),
        }
        Ok(())
    }

    fn watermark(&mut self, leaf: usize, watermark: Timestamp) -> Result<(), OperatorError> {
        if let Leaf::Edge(edge) = &self.leaves[leaf] {
            self.sent.push((*edge, Sent::Watermark(watermark)));
        }
        Ok(())
    }
}

struct Task {
    chain: Box<dyn Chain>,
    watermarks: BTreeMap<(usize, u32), Timestamp>,
    combined: Timestamp,
}

pub(crate) struct Engine {
    graph: Graph,
    parallelism: u32,
    max_parallelism: u32,
    tasks: Vec<Vec<Task>>,
    queue: VecDeque<(usize, u32, u32, Sent)>,
    pub(crate) sinks: BTreeMap<String, Vec<RecordBatch>>,
}

type Outcome<T> = Result<T, OperatorError>;

impl Engine {
    pub(crate) fn new(definition: &Definition, parallelism: u32) -> Self {
        let graph = plan(definition).unwrap_or_else(|error| panic!("{error}"));
        let tasks = graph.stages.iter().map(|stage| {
            let task = |subtask| {
                let inputs: Vec<usize> = match &stage.input {
                    StageInput::Source { .. } => vec![],
                    StageInput::Edges(edges) => edges.clone(),
                };
                let channels = inputs.into_iter().flat_map(|edge| match graph.edges[edge].partitioning {
                    Partitioning::Forward => vec![(edge, subtask)],
                    Partitioning::KeyGroups(_) => (0..parallelism).map(|from| (edge, from)).collect(),
                });
                let watermarks = channels.map(|channel| (channel, Timestamp::MIN)).collect();
                let chain = stage.chain.build(Subtask(subtask), parallelism).unwrap();
                Task { chain, watermarks, combined: Timestamp::MIN }
            };
            (0..parallelism).map(task).collect()
        });
        let tasks = tasks.collect();
        let max_parallelism = definition.max_parallelism;
        Self { graph, parallelism, max_parallelism, tasks, queue: VecDeque::new(), sinks: BTreeMap::new() }
    }

    fn call(
        &mut self,
        stage: usize,
        subtask: u32,
        act: impl FnOnce(&mut dyn Chain, &mut dyn Output) -> Outcome<()>,
    ) -> Outcome<()> {
        let leaves = &self.graph.stages[stage].leaves;
        let mut out = Collector { sent: vec![], sinks: &mut self.sinks, leaves };
        act(self.tasks[stage][subtask as usize].chain.as_mut(), &mut out)?;
        for (edge, sent) in out.sent {
            match (&self.graph.edges[edge].partitioning, sent) {
                (Partitioning::Forward, sent) => self.queue.push_back((edge, subtask, subtask, sent)),
                (Partitioning::KeyGroups(_), Sent::Watermark(watermark)) => {
                    for to in 0..self.parallelism {
                        self.queue.push_back((edge, subtask, to, Sent::Watermark(watermark)));
                    }
                }
                (Partitioning::KeyGroups(keys), Sent::Batch(batch)) => {
                    for (to, part) in
                        key_groups::partition(&batch, keys, self.parallelism, self.max_parallelism).unwrap()
                    {
                        self.queue.push_back((edge, subtask, to, Sent::Batch(part)));
                    }
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, stage: usize, subtask: u32, watermark: Timestamp) -> Outcome<()> {
        let task = &mut self.tasks[stage][subtask as usize];
        if watermark <= task.combined {
            return Ok(());
        }
        task.combined = watermark;
        self.call(stage, subtask, |chain, out| chain.advance(watermark, out))
    }

    fn drain(&mut self) -> Outcome<()> {
        while let Some((edge, from, to, sent)) = self.queue.pop_front() {
            let stage = self.graph.edges[edge].to;
            match sent {
                Sent::Batch(batch) => self.call(stage, to, |chain, out| chain.process(batch, out))?,
                Sent::Watermark(watermark) => {
                    let task = &mut self.tasks[stage][to as usize];
                    task.watermarks.insert((edge, from), watermark);
                    let combined = task.watermarks.values().copied().min().unwrap();
                    self.advance(stage, to, combined)?;
                }
            }
        }
        Ok(())
    }

    fn source_stage(&self, source: &str) -> Option<(usize, Vec<String>)> {
        self.graph.stages.iter().enumerate().find_map(|(index, stage)| match &stage.input {
            StageInput::Source { name, columns } if name == source => Some((index, columns.clone())),
            StageInput::Source { .. } | StageInput::Edges(_) => None,
        })
    }

    /// As a worker does at a barrier: flush, then seal, stage by stage.
    pub(crate) fn snapshot(&mut self) -> Outcome<Vec<OperatorRuns>> {
        let mut snapshots = vec![];
        for stage in 0..self.graph.stages.len() {
            for subtask in 0..self.parallelism {
                self.call(stage, subtask, |chain, out| chain.flush(out))?;
            }
            self.drain()?;
            for subtask in 0..self.parallelism {
                snapshots.extend(self.tasks[stage][subtask as usize].chain.snapshot()?);
            }
        }
        Ok(snapshots)
    }

    pub(crate) fn restore(&mut self, snapshots: &[OperatorRuns]) -> Outcome<()> {
        for (stage, tasks) in self.graph.stages.iter().zip(&mut self.tasks) {
            let own: Vec<_> = stage.chain.stateful_operators().into_iter().map(|operator| operator.id).collect();
            for snapshot in snapshots.iter().filter(|snapshot| own.contains(&snapshot.operator)) {
                for task in tasks.iter_mut() {
                    task.chain.restore(&snapshot.operator, snapshot.runs.iter().map(through_bytes).collect())?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn counters(&self) -> Vec<OperatorCounters> {
        self.tasks.iter().flatten().flat_map(|task| task.chain.counters()).collect()
    }
}

fn through_bytes(run: &Run) -> Run {
    let bytes = ipc::encode(&run.rows).unwrap();
    Run { rows: Arc::new(ipc::decode(&bytes).unwrap()), part: run.part.clone() }
}

struct Reader {
    input: SplitInput,
    at: usize,
    watermark: Timestamp,
}

impl Reader {
    /// The next batch, cut so that lateness is exact for each row though stated for each batch.
    fn read(&mut self, columns: &[String]) -> Option<Vec<Batch>> {
        let total = self.input.rows.num_rows();
        if self.at == total {
            return None;
        }
        let length = self.input.batch.min(total - self.at);
        let rows = self.input.rows.slice(self.at, length);
        self.at += length;
        let schema = rows.schema();
        let indices: Vec<usize> = columns.iter().map(|name| schema.index_of(name).unwrap()).collect();
        let read = rows.project(&indices).unwrap();
        let Some(time) = &self.input.time else { return Some(vec![Batch::from(read)]) };
        let times = crate::rows::timestamps(&rows, time);
        let mut batches = vec![];
        let (mut from, mut late_before) = (0, self.watermark);
        for (row, time) in times.iter().enumerate() {
            if *time < self.watermark && self.watermark > late_before {
                batches.push(Batch { rows: read.slice(from, row - from), late_before, origin: None });
                (from, late_before) = (row, self.watermark);
            }
            self.watermark = self.watermark.max(time - self.input.max_out_of_orderness);
        }
        batches.push(Batch { rows: read.slice(from, length - from), late_before, origin: None });
        if self.at == total {
            self.watermark = Timestamp::MAX;
        }
        Some(batches)
    }
}

/// Rows by sink.
pub(crate) type Results = BTreeMap<String, Vec<RecordBatch>>;

/// Runs a bounded pipeline to its end; splits take turns. Results by sink, and the counters of the last attempt.
pub(crate) fn run(
    definition: &Definition,
    inputs: &[SplitInput],
    parallelism: u32,
    restarts: &[Restart],
) -> Result<(Results, Vec<OperatorCounters>), OperatorError> {
    run_through(definition, inputs, parallelism, restarts, &mut |snapshots| snapshots)
}

/// The same, with what the snapshots go through before they are restored.
pub(crate) fn run_through(
    definition: &Definition,
    inputs: &[SplitInput],
    parallelism: u32,
    restarts: &[Restart],
    through: &mut dyn FnMut(Vec<OperatorRuns>) -> Vec<OperatorRuns>,
) -> Result<(Results, Vec<OperatorCounters>), OperatorError> {
    let mut engine = Engine::new(definition, parallelism);
    let mut readers: Vec<Reader> =
        inputs.iter().map(|input| Reader { input: input.clone(), at: 0, watermark: Timestamp::MIN }).collect();
    let mut restarts = restarts.iter().copied().peekable();
    let mut batches_read = 0;
    loop {
        let mut any = false;
        for index in 0..readers.len() {
            let source = readers[index].input.source.clone();
            let Some((stage, columns)) = engine.source_stage(&source) else { continue };
            let subtask = index as u32 % engine.parallelism;
            let Some(batches) = readers[index].read(&columns) else { continue };
            any = true;
            for batch in batches {
                engine.call(stage, subtask, |chain, out| chain.process(batch, out))?;
            }
            report_watermarks(&mut engine, &readers)?;
            engine.drain()?;
            batches_read += 1;
            if let Some(restart) = restarts.next_if(|restart| restart.after <= batches_read) {
                let snapshots = through(engine.snapshot()?);
                let sinks = std::mem::take(&mut engine.sinks);
                engine = Engine::new(definition, restart.parallelism);
                engine.sinks = sinks;
                engine.restore(&snapshots)?;
            }
        }
        if !any {
            break;
        }
    }
    // Splits without a row have ended, too.
    for reader in &mut readers {
        reader.watermark = Timestamp::MAX;
    }
    report_watermarks(&mut engine, &readers)?;
    engine.drain()?;
    let counters = engine.counters();
    Ok((engine.sinks, counters))
}

/// Each source subtask says the minimum over its splits; one without splits has ended.
fn report_watermarks(engine: &mut Engine, readers: &[Reader]) -> Result<(), OperatorError> {
    for stage in 0..engine.graph.stages.len() {
        let StageInput::Source { name, .. } = &engine.graph.stages[stage].input else { continue };
        let name = name.clone();
        for subtask in 0..engine.parallelism {
            let own = readers
                .iter()
                .enumerate()
                .filter(|(index, reader)| reader.input.source == name && *index as u32 % engine.parallelism == subtask);
            let watermark = own.map(|(_, reader)| reader.watermark).min().unwrap_or(Timestamp::MAX);
            engine.advance(stage, subtask, watermark)?;
        }
    }
    Ok(())
}
