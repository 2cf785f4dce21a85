//! One process of a simulation: a runtime of its own, with a clock of its own, that can be stepped, paused and killed.
//! What runs in it is the shipped entry, from the store's probe over the restarts to the exit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::pipeline::{ExponentialDelay, RestartStrategy};
use checkpoint::manifest::OperatorPlan;
use checkpoint::record::DecisionId;
use runtime::clock::{RuntimeClock, SeededRandom};
use runtime::connectors::{SinkConnector, SourceConnector};
use runtime::coordinator::Setup;
use runtime::dataflow::graph::Graph;
use runtime::metrics::Names;
use runtime::run::{
    self, AcceptLoss, Assembled, Observer, Outcome, RunError, RunEvent, RunOptions, StartFrom, StopHandle, stop_channel,
};
use runtime::store::Place;
use runtime::tasks::{self, Task, TaskError};
use runtime::worker::{Plan, source_operator};
use tokio::runtime::Runtime;

use crate::kinds::Seen;
use crate::mutants::FaultySource;
use crate::ports::{INJECTED, SimSink, SimStore, Trouble, WiredWorkers};
use crate::scenario::{MAX_PARALLELISM, SINKS, Scenario, Shape};
use crate::source::source;
use crate::world::World;

/// How a process left.
pub(crate) type Exit = Result<Result<Outcome, RunError>, TaskError>;

/// What a person asks of a start, after what the last one said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Run,
    Rewind,
    AcceptLoss(DecisionId),
}

pub(crate) struct Process {
    runtime: Runtime,
    running: Option<Task<Result<Outcome, RunError>>>,
    stop: StopHandle,
    /// Virtual time that passed while the process was paused.
    missed: Duration,
    pub(crate) is_paused: bool,
    pub(crate) is_stopping: bool,
    pub(crate) number: u64,
    pub(crate) asked: Asked,
    pub(crate) trouble: Arc<Trouble>,
}

/// What is run.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) graph: Arc<Graph>,
    pub(crate) shape: Shape,
    pub(crate) tolerable_failures: u32,
}

impl Process {
    pub(crate) fn start(number: u64, world: &Arc<World>, job: &Job<'_>, parallelism: u32, asked: Asked) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output");
        let inside = runtime.enter();
        let trouble = Arc::new(Trouble::default());
        let outside = run::World {
            store: Arc::new(SimStore { world: Arc::clone(world), trouble: Arc::clone(&trouble) }),
            clock: Arc::new(RuntimeClock::start()),
            random: Arc::new(SeededRandom::new(job.shape.seed ^ (number << 32))),
            workers: Arc::new(WiredWorkers(Arc::clone(world))),
        };
        let observer = Arc::new(SimObserver { world: Arc::clone(world), number });
        let (stop, stopped) = stop_channel();
        let options = options(asked, Duration::from_millis([2, 40, 400, 20_000][world.below(4) as usize]));
        let assembled = assemble(world, job, parallelism);
        let running = tasks::spawn("process", run::run_in(outside, assembled, options, observer, stopped));
        drop(inside);
        world.note(&format!("process {number} started at parallelism {parallelism}, asked to {asked:?}"));
        let missed = Duration::ZERO;
        let (is_paused, is_stopping) = (false, false);
        Self { runtime, running: Some(running), stop, missed, is_paused, is_stopping, number, asked, trouble }
    }

    /// Lets virtual time pass; the exit, once.
    pub(crate) fn step(&mut self, time: Duration) -> Option<Exit> {
        if self.is_paused {
            self.missed += time;
            return None;
        }
        let missed = std::mem::take(&mut self.missed);
        self.runtime.block_on(async {
            if !missed.is_zero() {
                // Timers that ran out during the pause fire now, all at once, as after a suspend.
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep(time).await;
        });
        self.exit()
    }

    /// Lets every task that is ready go on `rounds` times, with no time passing: the places between two awaits.
    pub(crate) fn nudge(&mut self, rounds: u64) {
        if !self.is_paused {
            self.runtime.block_on(async {
                for _ in 0..rounds {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// As a first signal does.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.stop.stop();
    }

    fn exit(&mut self) -> Option<Exit> {
        if !self.running.as_ref()?.is_finished() {
            return None;
        }
        Some(self.runtime.block_on(self.running.take()?))
    }
}

fn options(asked: Asked, grace: Duration) -> RunOptions {
    let accept_loss = match asked {
        Asked::AcceptLoss(DecisionId { attempt, epoch }) => {
            Some(AcceptLoss { attempt, epoch, reason: "simulated".into() })
        }
        Asked::Run | Asked::Rewind => None,
    };
    let start = if asked == Asked::Rewind { StartFrom::Rewind } else { StartFrom::Newest };
    RunOptions { start, accept_loss, grace, ..RunOptions::default() }
}

/// What a manifest would be assembled to.
fn assemble(world: &Arc<World>, job: &Job<'_>, parallelism: u32) -> Assembled {
    let ticks = source(&job.shape, &job.scenario.columns, world);
    let ticks: Arc<dyn SourceConnector> = Arc::new(FaultySource { source: ticks, world: Arc::clone(world) });
    let sources = BTreeMap::from([("ticks".to_owned(), ticks)]);
    let sink = |name| -> Arc<dyn SinkConnector> { Arc::new(SimSink { world: Arc::clone(world), name }) };
    let sinks: BTreeMap<_, _> = SINKS.into_iter().map(|name| (name.to_owned(), sink(name))).collect();
    let stateful = job.graph.stages.iter().flat_map(|stage| stage.chain.stateful_operators());
    let mut operators: Vec<OperatorPlan> =
        stateful.map(|one| OperatorPlan { operator: one.id, fingerprint: one.fingerprint }).collect();
    operators.push(OperatorPlan { operator: source_operator("ticks"), fingerprint: "ticks".into() });
    let plan = Plan {
        graph: Arc::clone(&job.graph),
        sources: sources.clone(),
        sinks: sinks.clone(),
        max_parallelism: MAX_PARALLELISM,
    };
    // Short pauses, so that a seed sees many attempts.
    let restart = ExponentialDelay {
        initial: api::pipeline::Duration::from_millis(50),
        max: api::pipeline::Duration::from_millis(400),
        ..ExponentialDelay::default()
    };
    let setup = Setup {
        sources,
        sinks,
        operators,
        parallelism,
        max_parallelism: MAX_PARALLELISM,
        interval: Duration::from_millis(250),
        timeout: Duration::from_millis(1_500),
        tolerable_failures: job.tolerable_failures,
        retain: 2,
        restart: RestartStrategy::ExponentialDelay(restart),
        drop_state_of: BTreeSet::new(),
        former_sink: Arc::new(|_| None),
    };
    let names = Names { pipeline: "simulation".into(), ..Names::default() };
    Assembled {
        plan: Arc::new(plan),
        setup,
        names,
        overview: serde_json::Value::Null,
        store: Place::Local(PathBuf::new()),
    }
}

struct SimObserver {
    world: Arc<World>,
    number: u64,
}

impl Observer for SimObserver {
    fn event(&self, event: RunEvent) {
        self.world.note(&format!("process {}: {event:?}", self.number));
        match event {
            RunEvent::Claimed { .. } => self.world.see(Seen::Claimed),
            RunEvent::Restored { handle, .. } => {
                self.world.see(Seen::Restored);
                self.world.resumes(&handle);
            }
            RunEvent::CheckpointCompleted { .. } => self.world.see(Seen::CheckpointCompleted),
            RunEvent::CheckpointFailed { .. } => self.world.see(Seen::CheckpointFailed),
            RunEvent::CommitRetried { .. } => self.world.see(Seen::CommitRetried),
            RunEvent::AttemptFailed { message, .. } => {
                self.world.see(Seen::AttemptFailed);
                if message.contains("tolerableFailedCheckpoints") {
                    self.world.see(Seen::CheckpointsGivenUp);
                }
                if message.contains(INJECTED) {
                    self.world.see(Seen::PanicCaught);
                }
            }
            _ => {}
        }
    }
}
