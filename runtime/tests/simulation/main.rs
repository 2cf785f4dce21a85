//! Seeded simulation: real coordinator, worker and operators over a store and a target in memory and virtual time.
//!
//! Each process is a runtime of its own, stepped by one thread, so a seed decides everything: what fails, who is
//! killed or paused where, who claims meanwhile. At the end the world heals, and every row must be visible once.
//! `SEED=n` replays one seed and prints what happens, `SEEDS=n` sets how many are run.

mod ports;
mod process;
mod scenario;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use process::{Exit, Process};
use scenario::{SINKS, Scenario, Shape};
use world::{Counts, FAULTS, Fault, SEEN, World};

const SEEDS: u64 = 1_000;
/// Virtual time within which a healed world must finish.
const HEALING: Duration = Duration::from_mins(10);

/// What a seed came to.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    trace: u64,
    counts: Counts,
    faults: Vec<String>,
}

struct Simulation<'a> {
    world: Arc<World>,
    scenario: &'a Scenario,
    shape: Shape,
    processes: Vec<Process>,
    started: u64,
    parallelism: u32,
    finished: bool,
}

fn simulate(seed: u64, scenarios: &[Scenario], verbose: bool) -> Verdict {
    let world = Arc::new(World::new(seed, verbose));
    let scenario = &scenarios[world.below(scenarios.len() as u64) as usize];
    let rows = (0..=world.below(4)).map(|_| 60 + world.below(500)).collect();
    let keys = if world.below(2) == 0 { 3 } else { 150 };
    let shape = Shape { seed, rows, keys };
    world.note(&format!("seed {seed}: {} {shape:?}", scenario.name));
    let mut simulation =
        Simulation { world, scenario, shape, processes: Vec::new(), started: 0, parallelism: 1, finished: false };
    simulation.storm();
    simulation.heal();
    simulation.judge()
}

impl Simulation<'_> {
    fn start(&mut self) {
        let parallelism = 1 + self.world.below(4) as u32;
        if self.started > 0 && parallelism != self.parallelism {
            self.world.inflict(Fault::Rescale);
        }
        self.parallelism = parallelism;
        self.started += 1;
        self.processes.push(Process::start(self.started, &self.world, self.scenario, &self.shape, parallelism));
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
                match exit {
                    Exit::Finished => self.finished = true,
                    Exit::Fenced => {}
                    Exit::Failed(reason) => self.world.violation(format!("a process failed: {reason}")),
                }
                left.push(at);
            }
        }
        for at in left.into_iter().rev() {
            self.processes.remove(at);
        }
    }

    /// Faults of every kind, each seed with a mixture of its own.
    fn storm(&mut self) {
        let mut weather = BTreeMap::new();
        for fault in FAULTS {
            // Half of the kinds are on; the others leave room for what they would hide.
            if self.world.below(2) == 0 {
                weather.insert(fault, 20 + self.world.below(400));
            }
        }
        self.world.set_weather(weather);
        for _ in 0..10 + self.world.below(40) {
            if self.finished {
                return;
            }
            let live = self.processes.iter().filter(|process| !process.is_paused).count();
            match self.world.below(12) {
                _ if live == 0 => self.start(),
                0 => self.kill(),
                1 => self.pause(),
                2 => self.resume(),
                3 if self.processes.len() < 3 => {
                    self.world.inflict(Fault::Rival);
                    self.start();
                }
                _ => {}
            }
            let time = Duration::from_micros(1_000 + self.world.below(500_000));
            self.step(time);
        }
    }

    /// A process dies at a moment of the seed's choice, also between two awaits.
    fn kill(&mut self) {
        let victim = self.world.below(self.processes.len() as u64) as usize;
        let mut process = self.processes.swap_remove(victim);
        self.world.inflict(Fault::Kill);
        self.world.note(&format!("process {} is killed", process.number));
        if process.step(Duration::from_micros(self.world.below(30_000))).is_none() {
            process.nudge(self.world.below(40));
        }
    }

    fn pause(&mut self) {
        let chosen = self.world.below(self.processes.len() as u64) as usize;
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
        for _ in 0..20 {
            self.step(Duration::from_secs(1));
        }
        self.finished = false;
        self.start();
        for _ in 0..20 {
            self.step(Duration::from_secs(1));
        }
        if !self.finished {
            self.world.violation("a finished pipeline does not say so".to_owned());
        }
    }

    fn judge(self) -> Verdict {
        for (sink, expected) in SINKS.into_iter().zip(self.scenario.expected(&self.shape)) {
            let visible = self.world.visible(sink);
            if visible != expected {
                let first = visible.iter().zip(&expected).find(|(shown, wanted)| shown != wanted);
                let (shown, wanted) = (visible.len(), expected.len());
                self.world.violation(format!("sink {sink} shows {shown} rows instead of {wanted}; first: {first:?}"));
            }
            self.world.note(&format!("{sink}: {visible:?}"));
        }
        Verdict { trace: self.world.trace(), counts: self.world.counts(), faults: self.world.violations() }
    }
}

/// Runs seeds on as many threads as there are cores, at most four.
fn simulate_all(seeds: std::ops::Range<u64>) -> (Counts, Vec<(u64, Vec<String>)>) {
    let scenarios = Scenario::all();
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new((Counts::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let verdict = simulate(seed, &scenarios, false);
                    let mut total = total.lock().expect("no thread panics inside");
                    total.0.add(&verdict.counts);
                    if !verdict.faults.is_empty() {
                        total.1.push((seed, verdict.faults));
                    }
                }
            });
        }
    });
    total.into_inner().expect("no thread panics inside")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_row_is_visible_once_whatever_fails() {
    if let Some(seed) = number("SEED") {
        let verdict = simulate(seed, &Scenario::all(), true);
        println!("seed {seed}: trace {:016x}, {:?}", verdict.trace, verdict.counts);
        assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
        return;
    }
    let count = number("SEEDS").unwrap_or(SEEDS);
    let (counts, mut failed) = simulate_all(0..count);
    println!("{count} seeds; faults {:?}; seen {:?}", counts.faults, counts.seen);
    failed.sort_by_key(|(seed, _)| *seed);
    assert!(
        failed.is_empty(),
        "{} seeds failed, replay with SEED=n: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    if count >= SEEDS {
        for fault in FAULTS {
            assert!(counts.faults.contains_key(&fault), "{fault:?} never happened");
        }
        for seen in SEEN {
            assert!(counts.seen.contains_key(&seen), "{seen:?} was never seen");
        }
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    let scenarios = Scenario::all();
    for seed in 0..25 {
        let (first, second) = (simulate(seed, &scenarios, false), simulate(seed, &scenarios, false));
        assert_eq!(first, second, "seed {seed}");
    }
}
