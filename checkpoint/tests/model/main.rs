//! Every interleaving of the protocol in small bounds, over the shipped machines.
#![allow(clippy::panic, clippy::expect_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "a search measures its own wall time")]

mod clean;
mod deep;
mod full;
mod mutants;
mod print;
mod properties;
mod reach;
mod search;
mod steps;
mod targets;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::steps::Config;
use crate::world::Switches;

/// Nothing on: two attempts over one writer, three decisions.
const BASE: Config = Config {
    switches: Switches(0),
    attempts: 2,
    writers: 1,
    sinks: 1,
    max_epoch: 3,
    items: 3,
    is_bounded: false,
    faults: 0,
    has_late_puts: false,
    has_slow_acknowledgements: false,
    checkpoint_failures: 0,
    has_expiry: false,
    has_retention: false,
    has_stop: false,
    has_sweep: false,
    rewinds: 0,
    forces: 0,
    returns: 0,
    accepts_loss: false,
    commit_only: false,
    supersedes: false,
    is_coarse: true,
    starts_in_turn: false,
    is_lean: false,
    shared_ids: false,
    sweeps_all: false,
    own_epoch_only: false,
    same_nonce: false,
};

struct Searched {
    unique: usize,
    generated: usize,
    /// The first broken property, with the steps that break it.
    broken: Option<(&'static str, Vec<search::Step>)>,
    /// Nothing is left to search.
    is_complete: bool,
    /// States in which a loss has been reported; counted by the deep search only.
    losses: usize,
}

/// Breadth first, to the end, to `limit` unique states, or to the first broken property.
fn search(name: &str, config: Config, threads: usize, limit: usize) -> Searched {
    let started = Instant::now();
    let checker = config
        .checker()
        .threads(threads)
        .target_state_count(limit)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries().into_iter().map(|(says, path)| (says, path.into_actions()));
    let broken = found.min_by_key(|(_, steps)| steps.len());
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    let took = started.elapsed();
    println!("{name}: {unique} unique states of {}, depth {depth}, {took:.1?}", checker.state_count());
    let is_complete = broken.is_none() && checker.state_count() < limit;
    Searched { unique, generated: checker.state_count(), broken, is_complete, losses: 0 }
}
