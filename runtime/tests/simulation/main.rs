//! Seeded simulation: the shipped run, with its coordinator, worker and operators, over a store and a target in memory
//! and virtual time.
//!
//! Each process is a runtime of its own, stepped by one thread, so a seed decides everything: what fails, who is
//! killed or paused where, who claims meanwhile, and what a person answers to a refusal. At the end the world heals,
//! and every row must be visible once (or be part of a loss that was accepted).
//! `SEED=n` replays one seed and prints what happens, `SEEDS=n` sets how many are run, `MUTANT=Name` with a seed plants
//! a mistake.

mod drive;
mod kinds;
mod mutants;
mod oracle;
mod ports;
mod process;
mod scenario;
mod source;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use drive::simulate;
use kinds::{Counts, FAULTS, SEEN};
use mutants::{MUTANTS, Mutant};
use scenario::Scenario;

const SEEDS: u64 = 1_000;
/// Within so many seeds every planted mistake must be noticed.
const SEEDS_OF_MUTANTS: u64 = 400;

/// Hands out numbers below `count` to as many threads as there are cores, at most four.
fn on_all_cores(count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    work(number);
                }
            });
        }
    });
}

fn simulate_all(count: u64) -> (Counts, Vec<(u64, Vec<String>)>) {
    let scenarios = Scenario::all();
    let total = Mutex::new((Counts::default(), Vec::new()));
    on_all_cores(count, |seed| {
        let verdict = simulate(seed, &scenarios, None, false);
        let mut total = total.lock().expect("no thread panics inside");
        total.0.add(&verdict.counts);
        if !verdict.violations.is_empty() {
            total.1.push((seed, verdict.violations));
        }
    });
    total.into_inner().expect("no thread panics inside")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn named_mutant() -> Option<Mutant> {
    let name = std::env::var("MUTANT").ok()?;
    MUTANTS.iter().find(|mutant| format!("{mutant:?}") == name).copied()
}

#[test]
fn every_row_is_visible_once_whatever_fails() {
    if let Some(seed) = number("SEED") {
        let verdict = simulate(seed, &Scenario::all(), named_mutant(), true);
        println!("seed {seed}: trace {:016x}, {:?}", verdict.trace, verdict.counts);
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
        return;
    }
    let count = number("SEEDS").unwrap_or(SEEDS);
    let (counts, mut failed) = simulate_all(count);
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
            assert!(counts.faults.contains_key(fault), "{fault:?} never happened");
        }
        for seen in SEEN {
            assert!(counts.seen.contains_key(seen), "{seen:?} was never seen");
        }
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    let scenarios = Scenario::all();
    for seed in 0..25 {
        let (first, second) = (simulate(seed, &scenarios, None, false), simulate(seed, &scenarios, None, false));
        assert_eq!(first, second, "seed {seed}");
    }
}

/// A simulation that overlooks a mistake proves nothing about its absence.
#[test]
fn every_planted_mistake_is_noticed() {
    let scenarios = Scenario::all();
    let survivors = Mutex::new(Vec::new());
    on_all_cores(MUTANTS.len() as u64, |index| {
        let mutant = MUTANTS[index as usize];
        let noticed = (0..SEEDS_OF_MUTANTS).find_map(|seed| {
            let verdict = simulate(seed, &scenarios, Some(mutant), false);
            verdict.violations.into_iter().next().map(|violation| (seed, violation))
        });
        match noticed {
            Some((seed, violation)) => println!("{mutant:?} is noticed by seed {seed}: {violation}"),
            None => survivors.lock().expect("no thread panics inside").push(mutant),
        }
    });
    let survivors = survivors.into_inner().expect("no thread panics inside");
    assert!(survivors.is_empty(), "not noticed within {SEEDS_OF_MUTANTS} seeds: {survivors:?}");
}
