//! Planted mistakes: each is one that a careless change could bring, and each must be noticed by the oracle.
//!
//! Most are made by wrappers around the parts of a process that are ports anyway; the two that only the worker itself
//! can make are switches of its own ([`runtime::worker::rules`]).

use std::sync::Arc;

use api::control::Deployment;
use checkpoint::ids::{OperatorId, Subtask};
use checkpoint::manifest::OperatorSnapshot;
use runtime::connectors::{Assignment, Next, SourceConnector, SourceCounters, SourceError, SourceReader, Split};
use runtime::dataflow::graph::{ChainBuilder, Graph, StatefulOperator};
use runtime::element::{Batch, Timestamp};
use runtime::operators::{Chain, OperatorCounters, OperatorError, Output};
use runtime::state::{OperatorRuns, Run};
use runtime::worker::Rules;
use runtime::worker::rules::Rule;

use crate::kinds::Fault;
use crate::ports::INJECTED;
use crate::world::World;

macro_rules! mutants {
    ($($(#[$about:meta])* $mutant:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mutant { $($(#[$about])* $mutant,)* }
        pub(crate) const MUTANTS: &[Mutant] = &[$(Mutant::$mutant,)*];
    };
}

mutants! {
    /// What the chain holds is not emitted before a barrier.
    SkipFlush,
    /// A restored operator begins empty.
    ForgetState,
    /// A late row is counted.
    CountLate,
    /// State of an earlier checkpoint, with the positions of the newest.
    StaleState,
    /// Inputs are read on behind their barrier.
    NoAlignment,
    /// An acknowledgement lists its own epoch's committables alone.
    OwnEpochOnly,
    /// What was decided before a restart is taken for committed.
    ForgetPending,
    /// Output becomes visible when it is pre-committed.
    CommitBeforeDecision,
    /// A decision is said to stand before it does.
    AnswerBeforeWrite,
    /// A part is said to be durable before it is.
    AcknowledgeBeforePut,
    /// A create replaces what is there.
    Overwrite,
    /// What an attempt writes does not carry its number.
    NameWithoutAttempt,
    /// Positions in a snapshot are behind what was read: rows are read twice.
    PositionBehind,
    /// Positions in a snapshot are ahead of what was emitted: rows are never read.
    PositionAhead,
}

impl Mutant {
    /// Which rules of the worker still hold.
    pub(crate) fn rules(self) -> Rules {
        match self {
            Self::NoAlignment => Rules::without(Rule::AlignInputs),
            Self::OwnEpochOnly => Rules::without(Rule::ListUndecided),
            _ => Rules::default(),
        }
    }

    /// The graph with every chain wrapped, if the mistake is one of chains.
    pub(crate) fn plant(self, graph: &mut Graph) {
        if matches!(self, Self::SkipFlush | Self::ForgetState | Self::CountLate) {
            for stage in &mut graph.stages {
                stage.chain = Arc::new(WrongBuilder { chain: Arc::clone(&stage.chain), mutant: self });
            }
        }
    }
}

impl World {
    /// Whether the store says that this object was created, and creates it later.
    pub(crate) fn answers_early(&self, name: &str) -> bool {
        let is_part = name.contains("/parts/");
        let is_record = name.rsplit('/').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        is_part && self.is(Mutant::AcknowledgeBeforePut) || is_record && self.is(Mutant::AnswerBeforeWrite)
    }

    /// Remembers what is deployed; returns what was deployed before.
    pub(crate) fn keep_state(&self, deployment: &Deployment) -> State {
        let now = State { parallelism: deployment.snapshot_parallelism, snapshots: deployment.snapshots.clone() };
        std::mem::replace(&mut self.lock().deployed, now)
    }
}

/// What a deployment restores.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) parallelism: u32,
    pub(crate) snapshots: Vec<OperatorSnapshot>,
}

/// Puts older state in the place of newer, but for positions and watermarks.
pub(crate) fn put_back(snapshots: &mut [OperatorSnapshot], older: &[OperatorSnapshot]) {
    for snapshot in snapshots.iter_mut().filter(|snapshot| snapshot.operator.0.ends_with("/window")) {
        let same =
            |other: &&OperatorSnapshot| (&other.operator, other.subtask) == (&snapshot.operator, snapshot.subtask);
        if let Some(older) = older.iter().find(same) {
            *snapshot = older.clone();
        }
    }
}

struct WrongBuilder {
    chain: Arc<dyn ChainBuilder>,
    mutant: Mutant,
}

impl ChainBuilder for WrongBuilder {
    fn build(&self, subtask: Subtask, parallelism: u32) -> Result<Box<dyn Chain>, OperatorError> {
        let chain = self.chain.build(subtask, parallelism)?;
        Ok(Box::new(WrongChain { chain, mutant: self.mutant }))
    }

    fn stateful_operators(&self) -> Vec<StatefulOperator> {
        self.chain.stateful_operators()
    }

    fn describe(&self) -> Vec<String> {
        self.chain.describe()
    }
}

struct WrongChain {
    chain: Box<dyn Chain>,
    mutant: Mutant,
}

impl Chain for WrongChain {
    fn process(&mut self, mut batch: Batch, out: &mut dyn Output) -> Result<(), OperatorError> {
        if self.mutant == Mutant::CountLate {
            batch.late_before = Timestamp::MIN;
        }
        self.chain.process(batch, out)
    }

    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError> {
        self.chain.advance(watermark, out)
    }

    fn flush(&mut self, out: &mut dyn Output) -> Result<(), OperatorError> {
        if self.mutant == Mutant::SkipFlush { Ok(()) } else { self.chain.flush(out) }
    }

    fn snapshot(&mut self) -> Result<Vec<OperatorRuns>, OperatorError> {
        self.chain.snapshot()
    }

    fn restore(&mut self, operator: &OperatorId, runs: Vec<Run>) -> Result<(), OperatorError> {
        let runs = if self.mutant == Mutant::ForgetState { Vec::new() } else { runs };
        self.chain.restore(operator, runs)
    }

    fn counters(&self) -> Vec<OperatorCounters> {
        self.chain.counters()
    }
}

/// Any source, with faults, or with wrong positions.
pub(crate) struct FaultySource {
    pub(crate) source: Arc<dyn SourceConnector>,
    pub(crate) world: Arc<World>,
}

impl SourceConnector for FaultySource {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.source.schema()
    }

    fn resolve(&self, parallelism: u32) -> Result<Vec<Split>, SourceError> {
        self.source.resolve(parallelism)
    }

    fn is_parallel_in_time(&self) -> bool {
        self.source.is_parallel_in_time()
    }

    fn open(&self, assignment: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let reader = self.source.open(assignment)?;
        let (before, ahead) = (reader.snapshot(), None);
        Ok(Box::new(FaultyReader { reader, world: Arc::clone(&self.world), before, ahead }))
    }
}

struct FaultyReader {
    reader: Box<dyn SourceReader>,
    world: Arc<World>,
    /// Positions before the last batch.
    before: Vec<Split>,
    /// Read and not given.
    ahead: Option<Next>,
}

impl SourceReader for FaultyReader {
    fn next(&mut self, now: std::time::Duration) -> Result<Next, SourceError> {
        let before = if self.world.is(Mutant::PositionBehind) { self.reader.snapshot() } else { Vec::new() };
        let next = match self.ahead.take() {
            Some(next) => next,
            None => self.reader.next(now)?,
        };
        if let (Next::Wait(_), true) = (&next, self.world.is(Mutant::PositionAhead)) {
            let following = self.reader.next(now)?;
            self.ahead = Some(following);
        }
        if let Next::Batch(_) = &next {
            self.before = before;
            if self.world.strikes(Fault::SourceFailure) {
                let (source_name, path) = ("ticks".to_owned(), "memory".to_owned());
                let retry = runtime::connectors::Retry::Backoff;
                return Err(SourceError::Io { source_name, path, message: "unplugged".into(), retry });
            }
            if self.world.strikes(Fault::TaskPanic) {
                std::panic::resume_unwind(Box::new(INJECTED));
            }
        }
        Ok(next)
    }

    fn snapshot(&self) -> Vec<Split> {
        if self.world.is(Mutant::PositionBehind) { self.before.clone() } else { self.reader.snapshot() }
    }

    fn counters(&self) -> SourceCounters {
        self.reader.counters()
    }
}
