//! One seed from its storm to its verdict: who is started, killed, paused, stopped, and what follows from each exit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use checkpoint::ids::{Attempt, Epoch};
use checkpoint::record::DecisionId;
use runtime::run::{FailureReason, Outcome, RunError};

use crate::kinds::{Counts, FAULTS, Fault, Seen};
use crate::mutants::Mutant;
use crate::ports::INJECTED;
use crate::process::{Asked, Exit, Job, Process};
use crate::scenario::{Input, SINKS, Scenario, Shape};
use crate::world::World;

/// Virtual time within which a healed world must finish.
const HEALING: Duration = Duration::from_mins(10);

/// What a seed came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) trace: u64,
    pub(crate) counts: Counts,
    pub(crate) violations: Vec<String>,
}

struct Simulation<'a> {
    world: Arc<World>,
    job: Job<'a>,
    processes: Vec<Process>,
    started: u64,
    parallelism: u32,
    /// What the next start is asked for.
    asked: Asked,
    finished: bool,
}

pub(crate) fn simulate(seed: u64, scenarios: &[Scenario], mutant: Option<Mutant>, verbose: bool) -> Verdict {
    let world = Arc::new(World::new(seed, verbose, mutant));
    let scenario = &scenarios[world.below(scenarios.len() as u64) as usize];
    let shape = shape(seed, &world);
    world.note(&format!("seed {seed}: {} {shape:?}", scenario.name));
    let tolerable_failures = world.below(4) as u32;
    let job = Job { scenario, graph: scenario.graph(mutant), shape, tolerable_failures };
    let (processes, asked) = (Vec::new(), Asked::Run);
    let mut simulation = Simulation { world, job, processes, started: 0, parallelism: 1, asked, finished: false };
    simulation.storm();
    simulation.heal();
    simulation.judge()
}

fn shape(seed: u64, world: &World) -> Shape {
    let rows: Vec<u64> = (0..=world.below(4)).map(|_| 60 + world.below(500)).collect();
    let keys = if world.below(2) == 0 { 3 } else { 150 };
    let input = match world.below(4) {
        0 => Input::Generator { rows_per_second: 200 + world.below(1_500) },
        _ => Input::Ticks,
    };
    let pause = (world.below(2) == 0).then(|| {
        let split = world.below(rows.len() as u64);
        (split, 1 + world.below(rows[split as usize] - 1))
    });
    Shape { seed, input, rows, keys, pause }
}

impl Simulation<'_> {
    fn start(&mut self) {
        let parallelism = 1 + self.world.below(4) as u32;
        if self.started > 0 && parallelism != self.parallelism {
            self.world.inflict(Fault::Rescale);
        }
        self.parallelism = parallelism;
        self.started += 1;
        let asked = std::mem::replace(&mut self.asked, Asked::Run);
        if asked == Asked::Rewind {
            self.world.asks_for_rewind();
        }
        self.processes.push(Process::start(self.started, &self.world, &self.job, parallelism, asked));
    }

    /// Lets time pass for everybody, in an order of the seed's choice.
    fn step(&mut self, time: Duration) {
        self.world.pass(time);
        for at in 0..self.processes.len() {
            let other = self.world.below(self.processes.len() as u64) as usize;
            self.processes.swap(at, other);
        }
        let mut left = Vec::new();
        for (at, process) in self.processes.iter_mut().enumerate() {
            if let Some(exit) = process.step(time) {
                self.world.note(&format!("process {} exits: {exit:?}", process.number));
                left.push((at, exit));
            }
        }
        for (at, exit) in left.into_iter().rev() {
            let process = self.processes.remove(at);
            self.left(&process, exit);
        }
    }

    /// Whether a process had a reason to leave as it did, and what a person does about it.
    fn left(&mut self, process: &Process, exit: Exit) {
        match exit {
            Ok(Ok(Outcome::Finished { .. } | Outcome::AlreadyFinished { .. })) => self.finished = true,
            Ok(Ok(Outcome::Stopped { handle })) if process.is_stopping => {
                self.world.see(Seen::StoppedSettled);
                if let Some(handle) = handle {
                    self.world.judge_stop(&handle);
                }
            }
            Ok(Ok(Outcome::StoppedUndecided { .. })) if process.is_stopping => {
                self.world.see(Seen::StoppedUndecided);
            }
            Ok(Err(RunError::Fenced { .. })) => self.world.see(Seen::Fenced),
            Ok(Err(RunError::Refused { .. })) if process.asked != Asked::Run => {
                // Something of it is visible, or it is no longer the newest.
                self.world.see(Seen::RewindRefused);
                self.world.repair();
            }
            Ok(Err(RunError::Failed { reason, message })) => self.failed(process, reason, &message),
            other => self.world.violation(format!("a process ended without a reason: {other:?}")),
        }
    }

    fn failed(&mut self, process: &Process, reason: FailureReason, message: &str) {
        let unanswered = process.trouble.unanswered.load(Ordering::Relaxed) > 0;
        let corrupt = process.trouble.corrupt.load(Ordering::Relaxed) > 0;
        let damaged = process.trouble.damaged.load(Ordering::Relaxed) > 0;
        match reason {
            FailureReason::Store if unanswered || corrupt => self.world.see(Seen::StoreUnavailable),
            FailureReason::CorruptCheckpoint | FailureReason::CannotHeal if corrupt => {
                self.world.see(Seen::CorruptionRefused);
            }
            FailureReason::CorruptCheckpoint | FailureReason::CannotHeal if damaged => {
                self.world.see(Seen::DamageRefused);
                if !self.world.is_damaged() {
                    return;
                }
                if process.asked == Asked::Rewind || self.world.has_accepted_a_loss() || self.world.below(4) == 0 {
                    self.world.repair();
                } else {
                    self.asked = Asked::Rewind;
                }
            }
            // The same panic five times at one checkpoint is a bug to whoever cannot know that it is injected.
            _ if message.contains(INJECTED) => {}
            FailureReason::CommitLost if self.world.has_lost_something() => {
                self.world.see(Seen::LossReported);
                let may_rewind = message.contains("--rewind") && process.asked != Asked::Rewind;
                self.asked = match lost_decision(message) {
                    _ if may_rewind && !self.world.has_accepted_a_loss() && self.world.below(2) == 0 => Asked::Rewind,
                    Some(decision) => Asked::AcceptLoss(decision),
                    None => return self.world.violation(format!("a loss that is not named: {message}")),
                };
            }
            _ => self.world.violation(format!("a process failed without a reason: {reason:?}: {message}")),
        }
    }

    /// Faults of every kind, each seed with a mixture of its own.
    fn storm(&mut self) {
        let mut weather = BTreeMap::new();
        for fault in FAULTS {
            // Half of the kinds are on; the others leave room for what they would hide.
            if self.world.below(2) == 0 {
                let share = match fault {
                    Fault::TaskPanic | Fault::TargetLoss => 4,
                    Fault::CorruptRead => 10,
                    _ => 1,
                };
                // Few seeds write parts often.
                let times = if *fault == Fault::PartOutage { 4 } else { 1 };
                weather.insert(*fault, (20 + self.world.below(400)) * times / share);
            }
        }
        self.world.set_weather(weather);
        for _ in 0..10 + self.world.below(40) {
            if self.finished {
                return;
            }
            let live = self.processes.iter().filter(|process| !process.is_paused).count();
            match self.world.below(14) {
                _ if live == 0 => self.start(),
                0 => self.kill(),
                1 => self.pause(),
                2 => self.resume(),
                3 if self.processes.len() < 3 => {
                    self.world.inflict(Fault::Rival);
                    self.start();
                }
                4 => self.stop(),
                5 if !self.world.has_accepted_a_loss() && self.world.below(2) == 0 => self.world.damage(),
                _ => {}
            }
            let time = Duration::from_micros(1_000 + self.world.below(500_000));
            self.step(time);
        }
    }

    fn one(&self) -> usize {
        self.world.below(self.processes.len() as u64) as usize
    }

    /// A process dies at a moment of the seed's choice, also between two awaits.
    fn kill(&mut self) {
        let victim = self.one();
        let mut process = self.processes.swap_remove(victim);
        self.world.inflict(Fault::Kill);
        self.world.note(&format!("process {} is killed", process.number));
        if process.step(Duration::from_micros(self.world.below(30_000))).is_none() {
            process.nudge(self.world.below(40));
        }
    }

    fn pause(&mut self) {
        let chosen = self.one();
        let process = &mut self.processes[chosen];
        process.nudge(self.world.below(20));
        process.is_paused = true;
        self.world.note(&format!("process {} is paused", process.number));
    }

    fn resume(&mut self) {
        for process in self.processes.iter_mut().filter(|process| process.is_paused) {
            process.is_paused = false;
            self.world.inflict(Fault::Zombie);
            self.world.note(&format!("process {} wakes", process.number));
        }
    }

    /// A signal asks for a last checkpoint.
    fn stop(&mut self) {
        let chosen = self.one();
        let process = &mut self.processes[chosen];
        process.stop();
        self.world.inflict(Fault::Stop);
        self.world.note(&format!("process {} is asked to stop", process.number));
    }

    /// Nothing fails any more: the pipeline must finish, whatever has happened.
    fn heal(&mut self) {
        self.world.note("the world heals");
        self.world.set_weather(BTreeMap::new());
        self.resume();
        let mut passed = Duration::ZERO;
        while !self.finished && passed < HEALING && self.world.violations().is_empty() {
            if self.processes.is_empty() {
                self.start();
            }
            let time = Duration::from_millis(500);
            passed += time;
            self.step(time);
        }
        if !self.finished {
            self.world.violation("a healed world did not finish".to_owned());
        }
        // Zombies come to their end, and whoever starts again must find nothing to do.
        self.wait();
        self.world.repair();
        self.finished = false;
        self.asked = Asked::Run;
        self.start();
        self.wait();
        if !self.finished {
            self.world.violation("a finished pipeline does not say so".to_owned());
        }
    }

    fn wait(&mut self) {
        for _ in 0..20 {
            self.step(Duration::from_secs(1));
        }
    }

    fn judge(self) -> Verdict {
        for (sink, expected) in SINKS.into_iter().zip(self.job.scenario.expected(&self.job.shape)) {
            let shown = self.world.accounted(sink);
            if shown != expected {
                let first = shown.iter().zip(&expected).find(|(shown, wanted)| shown != wanted);
                let (rows, wanted) = (shown.len(), expected.len());
                self.world.violation(format!("sink {sink} shows {rows} rows instead of {wanted}; first: {first:?}"));
            }
            self.world.note(&format!("{sink}: {shown:?}"));
        }
        let violations = self.world.violations();
        Verdict { trace: self.world.trace(), counts: self.world.counts(), violations }
    }
}

/// The decision that a report of a loss tells to accept.
fn lost_decision(message: &str) -> Option<DecisionId> {
    let named = message.split("--accept-loss ").nth(1)?.split_whitespace().next()?;
    let (attempt, epoch) = named.split_once('/')?;
    Some(DecisionId { attempt: Attempt(attempt.parse().ok()?), epoch: Epoch(epoch.parse().ok()?) })
}
