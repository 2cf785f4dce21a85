//! Builds and restores all subtasks of an attempt. Nothing runs and nothing is read before all of them are ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::control::{Deployment, FromWorker, TaskId};
use checkpoint::ids::{Epoch, Subtask};
use tokio::sync::mpsc;

use crate::connectors::{WriterContext, WriterIdentity};
use crate::crashpoint;
use crate::dataflow::graph::{Leaf as PlannedLeaf, Partitioning, Stage, StageInput};
use crate::element::Timestamp;
use crate::tasks;
use crate::worker::alignment::Inputs;
use crate::worker::failure::TaskFailure;
use crate::worker::merge_task::MergeTask;
use crate::worker::meter::Meter;
use crate::worker::outputs::{EdgeLeaf, Leaf, Outputs};
use crate::worker::pacing::Pacing;
use crate::worker::parts::Parts;
use crate::worker::restore::Restore;
use crate::worker::snapshot::{Job, WAITING_SNAPSHOTS, Writer};
use crate::worker::source_task::{SourceTask, WAITING_EPOCHS};
use crate::worker::statistics::Board;
use crate::worker::stop::StopSignal;
use crate::worker::task::Task;
use crate::worker::trail::Trails;
use crate::worker::wiring::Wiring;
use crate::worker::{Environment, Plan, Told};

/// A subtask ready to run, with the writer of its snapshots.
pub(crate) struct Prepared {
    pub id: TaskId,
    pub input: PreparedInput,
    pub writer: Writer,
    pub jobs: mpsc::Receiver<Job>,
}

pub(crate) enum PreparedInput {
    /// With the end through which epochs are requested.
    Source(Box<SourceTask>, mpsc::Sender<Epoch>),
    Merge(Box<MergeTask>),
}

/// The context of one deployment.
pub(crate) struct Deploy<'a> {
    pub plan: &'a Plan,
    pub environment: &'a Environment,
    pub deployment: &'a Deployment,
    pub board: Board,
    pub parts: Parts,
    pub reports: mpsc::Sender<FromWorker>,
    pub trails: Trails,
    pub told: Told,
    pub stop: StopSignal,
}

/// What failed, and for whom.
pub(crate) type Refused = (TaskId, TaskFailure);

impl Deploy<'_> {
    /// All subtasks, restored.
    ///
    /// # Errors
    /// The first subtask that cannot be built or restored.
    pub(crate) async fn prepare(&self) -> Result<Vec<Prepared>, Refused> {
        let parallelism = self.deployment.parallelism;
        let nobody = || TaskId { stage: "worker".into(), subtask: Subtask(0) };
        if parallelism == 0 || parallelism > self.plan.max_parallelism {
            let (max, given) = (self.plan.max_parallelism, parallelism);
            let message = format!("parallelism {given} is not between 1 and maxParallelism {max}");
            return Err((nobody(), TaskFailure::Plan(message)));
        }
        let mut wiring = Wiring::new(&self.plan.graph, parallelism).map_err(|failure| (nobody(), failure))?;
        let mut prepared = Vec::new();
        for (index, stage) in self.plan.graph.stages.iter().enumerate() {
            let mut pacing = self.pacing(stage).into_iter();
            for subtask in 0..parallelism {
                let id = TaskId { stage: stage.name.clone(), subtask: Subtask(subtask) };
                match self.prepare_task(index, stage, &id, &mut wiring, pacing.next()).await {
                    Ok(task) => prepared.push(task),
                    Err(failure) => return Err((id, failure)),
                }
            }
        }
        Ok(prepared)
    }

    /// For each subtask of a source whose splits all go through the same stretch of event time; else none.
    fn pacing(&self, stage: &Stage) -> Vec<Pacing> {
        let StageInput::Source { name, .. } = &stage.input else { return Vec::new() };
        let is_parallel = self.plan.sources.get(name).is_some_and(|source| source.is_parallel_in_time());
        if is_parallel { Pacing::group(self.deployment.parallelism as usize) } else { Vec::new() }
    }

    async fn prepare_task(
        &self,
        index: usize,
        stage: &Stage,
        id: &TaskId,
        wiring: &mut Wiring,
        pacing: Option<Pacing>,
    ) -> Result<Prepared, TaskFailure> {
        let restore = Restore {
            deployment: self.deployment,
            parts: &self.parts,
            max_parallelism: self.plan.max_parallelism,
            subtask: id.subtask,
        };
        let mut chain = stage.chain.build(id.subtask, self.deployment.parallelism)?;
        restore.chain(&stage.chain.stateful_operators(), chain.as_mut()).await?;
        let (sender, jobs) = mpsc::channel(WAITING_SNAPSHOTS);
        let meter = Meter::new(Arc::clone(&self.environment.clock));
        self.board.register(id, meter.live());
        let task = Task {
            id: id.clone(),
            attempt: self.deployment.attempt,
            chain,
            outputs: Outputs::new(self.build_leaves(stage, id, wiring)?),
            jobs: sender,
            reports: self.reports.clone(),
            meter,
            board: self.board.clone(),
            published: Duration::ZERO,
            watermark: Timestamp::MIN,
            ended: false,
        };
        let input = match &stage.input {
            StageInput::Source { name, .. } => self.prepare_source(name, task, &restore, pacing).await?,
            StageInput::Edges(edges) => {
                let inbox = wiring.take_inbox(index, id.subtask.0 as usize);
                let (inbox, count) = inbox.ok_or_else(|| TaskFailure::Plan("a stage has no inputs".into()))?;
                let mut inputs = Inputs::new(count);
                if let Some(watermark) = restore.watermark(&stage.name, self.is_keyed(edges)).await? {
                    inputs.restore(&watermark);
                }
                let (aligning_since, rules) = (Duration::ZERO, self.environment.rules);
                PreparedInput::Merge(Box::new(MergeTask { task, inbox, inputs, aligning_since, rules }))
            }
        };
        crashpoint::hit("worker.restored")?;
        Ok(Prepared { id: id.clone(), input, writer: self.build_writer(id), jobs })
    }

    async fn prepare_source(
        &self,
        name: &str,
        task: Task,
        restore: &Restore<'_>,
        pacing: Option<Pacing>,
    ) -> Result<PreparedInput, TaskFailure> {
        let connector = self.plan.sources.get(name);
        let connector = connector.ok_or_else(|| TaskFailure::Plan(format!("there is no source `{name}`")))?;
        let (connector, assignment) = (Arc::clone(connector), restore.assignment(name).await?);
        // Opening may block on a network.
        let reader = tasks::spawn_blocking(format!("open {name}"), move || connector.open(assignment)).await??;
        let (sender, requests) = mpsc::channel(WAITING_EPOCHS);
        let decided = self.told.decided.subscribe();
        let trails = self.trails.clone();
        trails.begin(&task.id, name);
        let source = SourceTask { task, source: name.to_owned(), reader, pacing, requests, decided, trails };
        Ok(PreparedInput::Source(Box::new(source), sender))
    }

    fn build_leaves(&self, stage: &Stage, id: &TaskId, wiring: &mut Wiring) -> Result<Vec<Leaf>, TaskFailure> {
        let mut leaves = Vec::with_capacity(stage.leaves.len());
        for leaf in &stage.leaves {
            leaves.push(match leaf {
                PlannedLeaf::Sink { name, schema } => {
                    let sink = self.plan.sinks.get(name);
                    let sink = sink.ok_or_else(|| TaskFailure::Plan(format!("there is no sink `{name}`")))?;
                    let identity = WriterIdentity {
                        pipeline: self.deployment.pipeline,
                        attempt: self.deployment.attempt,
                        sink: name.clone(),
                        subtask: id.subtask,
                    };
                    let context = WriterContext {
                        identity,
                        schema: Arc::clone(schema),
                        committed: self.told.committed.subscribe(),
                        stop: self.stop.clone(),
                        clock: Arc::clone(&self.environment.clock),
                    };
                    Leaf::Sink { name: name.clone(), writer: sink.open_writer(context)? }
                }
                PlannedLeaf::Edge(index) => {
                    let edge = self.plan.graph.edges.get(*index);
                    let edge = edge.ok_or_else(|| TaskFailure::Plan(format!("edge {index} is not there")))?;
                    let keys = match &edge.partitioning {
                        Partitioning::Forward => None,
                        Partitioning::KeyGroups(keys) => Some(keys.clone()),
                    };
                    let senders = wiring.take_senders(*index, id.subtask.0 as usize)?;
                    let max_parallelism = self.plan.max_parallelism;
                    Leaf::Edge(EdgeLeaf::new(senders, keys, max_parallelism))
                }
            });
        }
        Ok(leaves)
    }

    fn build_writer(&self, id: &TaskId) -> Writer {
        Writer {
            task: id.clone(),
            attempt: self.deployment.attempt,
            parts: self.parts.clone(),
            clock: Arc::clone(&self.environment.clock),
            reports: self.reports.clone(),
            stop: self.stop.clone(),
            decided: self.told.decided.subscribe(),
            undecided: BTreeMap::new(),
            rules: self.environment.rules,
        }
    }

    fn is_keyed(&self, edges: &[usize]) -> bool {
        let partitioning = |index: &usize| self.plan.graph.edges.get(*index).map(|edge| &edge.partitioning);
        edges.iter().all(|edge| matches!(partitioning(edge), Some(Partitioning::KeyGroups(_))))
    }
}
