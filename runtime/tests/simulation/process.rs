//! One process of a simulation: a runtime of its own, with a clock of its own, that can be stepped, paused and killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::pipeline::RestartPolicy;
use checkpoint::ids::LogIndex;
use checkpoint::manifest::OperatorPlan;
use checkpoint::record::Cause;
use checkpoint::recovery::Intent;
use runtime::clock::{RuntimeClock, SeededRandom};
use runtime::connectors::{SinkConnector, SourceConnector};
use runtime::coordinator::{Context, CoordinatorError, Ended, Next, Progress, Setup, Start, channel_port, run_attempt};
use runtime::metrics::{Metrics, Names};
use runtime::run::{Observer, RunEvent, StopSignal};
use runtime::tasks::{self, Task};
use runtime::worker::{self, Environment, Plan, Statistics, source_operator};
use tokio::runtime::Runtime;

use crate::ports::{SimSink, SimStore, WirePort};
use crate::scenario::{MAX_PARALLELISM, SINKS, Scenario, Shape};
use crate::world::{Seen, World};

/// How a process left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Finished,
    Fenced,
    /// Nothing that is injected justifies this.
    Failed(String),
}

pub(crate) struct Process {
    runtime: Runtime,
    running: Option<Task<Exit>>,
    /// Virtual time that passed while the process was paused.
    missed: Duration,
    pub(crate) is_paused: bool,
    pub(crate) number: u64,
}

/// Attempts that one process may need before the simulation calls it stuck.
const MAX_ATTEMPTS: u32 = 500;

impl Process {
    pub(crate) fn start(number: u64, world: &Arc<World>, scenario: &Scenario, shape: &Shape, parallelism: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output");
        let inside = runtime.enter();
        let (context, plan) = build(number, world, scenario, shape, parallelism);
        let running = tasks::spawn("process", run(Arc::clone(world), context, plan));
        drop(inside);
        world.note(&format!("process {number} started at parallelism {parallelism}"));
        Self { runtime, running: Some(running), missed: Duration::ZERO, is_paused: false, number }
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

    fn exit(&mut self) -> Option<Exit> {
        if !self.running.as_ref()?.is_finished() {
            return None;
        }
        let joined = self.runtime.block_on(self.running.take()?);
        Some(joined.unwrap_or_else(|panic| Exit::Failed(panic.to_string())))
    }
}

fn build(
    number: u64,
    world: &Arc<World>,
    scenario: &Scenario,
    shape: &Shape,
    parallelism: u32,
) -> (Arc<Context>, Arc<Plan>) {
    let source: Arc<dyn SourceConnector> = Arc::new(scenario.source(shape, world));
    let sources = BTreeMap::from([("ticks".to_owned(), source)]);
    let sink = |name| -> Arc<dyn SinkConnector> { Arc::new(SimSink { world: Arc::clone(world), name }) };
    let sinks: BTreeMap<_, _> = SINKS.into_iter().map(|name| (name.to_owned(), sink(name))).collect();
    let stateful = scenario.graph.stages.iter().flat_map(|stage| stage.chain.stateful_operators());
    let mut operators: Vec<OperatorPlan> =
        stateful.map(|one| OperatorPlan { operator: one.id, fingerprint: one.fingerprint }).collect();
    operators.push(OperatorPlan { operator: source_operator("ticks"), fingerprint: "ticks".into() });
    let plan = Plan {
        graph: Arc::clone(&scenario.graph),
        sources: sources.clone(),
        sinks: sinks.clone(),
        max_parallelism: MAX_PARALLELISM,
    };
    let setup = Setup {
        sources,
        sinks,
        operators,
        parallelism,
        max_parallelism: MAX_PARALLELISM,
        interval: Duration::from_millis(250),
        timeout: Duration::from_millis(1_500),
        tolerable_failures: 2,
        retain: 2,
        restart: RestartPolicy::default().strategy(),
        drop_state_of: std::collections::BTreeSet::new(),
        former_sink: |_| None,
    };
    let names = Names { pipeline: "simulation".into(), ..Names::default() };
    let context = Context {
        setup,
        store: Arc::new(SimStore(Arc::clone(world))),
        clock: Arc::new(RuntimeClock::start()),
        random: Arc::new(SeededRandom::new(shape.seed ^ (number << 32))),
        observer: Arc::new(SimObserver { world: Arc::clone(world), number }),
        metrics: Metrics::new(&names).expect("names are right"),
        progress: Progress::default(),
    };
    (Arc::new(context), Arc::new(plan))
}

/// Attempts until one ends as it should, or another process has taken over.
async fn run(world: Arc<World>, context: Arc<Context>, plan: Arc<Plan>) -> Exit {
    let mut cause = Cause::Start;
    for _ in 0..MAX_ATTEMPTS {
        let start = Start { log: LogIndex(0), cause, intent: Intent::Run, floor: None };
        let (port, commands, reports) = channel_port();
        let environment = Environment {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
            statistics: Statistics::default(),
        };
        let worker = tasks::spawn("worker", worker::run(Arc::clone(&plan), environment, commands, reports));
        let mut port = WirePort(port);
        let ended = run_attempt(&context, &start, &mut port, &StopSignal::never()).await;
        drop(port);
        if let Err(panic) = worker.await {
            return Exit::Failed(panic.to_string());
        }
        cause = match ended {
            Ok(Ended::Finished { .. } | Ended::AlreadyFinished { .. }) => return Exit::Finished,
            Ok(other) => return Exit::Failed(format!("ended as {other:?}")),
            Err(error) => match after(&world, &error) {
                Ok(cause) => cause,
                Err(exit) => return exit,
            },
        };
        context.clock.sleep(Duration::from_millis(20 + world.below(200))).await;
    }
    Exit::Failed("too many attempts".into())
}

fn after(world: &World, error: &CoordinatorError) -> Result<Cause, Exit> {
    world.note(&format!("attempt ended: {error}"));
    match error.next() {
        Next::Restart => {
            world.see(Seen::AttemptFailed);
            Ok(Cause::Failure { reason: error.to_string() })
        }
        Next::RestartUncounted => {
            world.see(Seen::AttemptFailed);
            Ok(Cause::CommitBlocked)
        }
        Next::Leave => {
            world.see(Seen::Fenced);
            Err(Exit::Fenced)
        }
        Next::Refuse | Next::Stop(_) => Err(Exit::Failed(error.to_string())),
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
            RunEvent::Restored { .. } => self.world.see(Seen::Restored),
            RunEvent::CheckpointCompleted { .. } => self.world.see(Seen::CheckpointCompleted),
            RunEvent::CheckpointFailed { .. } => self.world.see(Seen::CheckpointFailed),
            RunEvent::CommitRetried { .. } => self.world.see(Seen::CommitRetried),
            _ => {}
        }
    }
}
