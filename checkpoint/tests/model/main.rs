//! Every interleaving of the protocol in small bounds, over the shipped machines.
#![expect(clippy::disallowed_methods, reason = "a search measures its own wall time")]

mod properties;
mod search;
mod steps;
mod world;

use checkpoint::rules::Rule;
use stateright::{Checker, Model};
use std::time::Instant;

use crate::steps::Config;
use crate::world::Switches;

const SMALL: Config = Config {
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
    accepts_loss: false,
    commit_only: false,
    is_coarse: true,
    shared_ids: false,
    sweeps_all: false,
    own_epoch_only: false,
    same_nonce: false,
};

/// Searches to the end, or to the first broken property.
fn search(name: &str, config: Config, limit: usize) -> Option<(String, usize)> {
    let started = Instant::now();
    let checker = config.checker().threads(2).target_state_count(limit).spawn_bfs().join();
    let found = checker.discoveries().into_iter().map(|(says, path)| (says.to_owned(), path)).min_by_key(|(_, path)| path.clone().into_actions().len());
    println!(
        "{name}: {} unique states of {}, depth {}, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    found.map(|(says, path)| {
        let steps = path.into_actions();
        println!("  broken: {says} after {} steps: {steps:?}", steps.len());
        (says, steps.len())
    })
}

#[test]
fn shipped_protocol_keeps_every_property_small() {
    assert_eq!(search("small", SMALL, 1 << 40), None);
    assert_eq!(search("faults", Config { faults: 1, has_late_puts: true, has_retention: true, ..SMALL }, 2_000_000), None);
}

#[test]
fn mutant_seal() {
    assert!(search("no seal", Config { switches: Switches::off(&[Rule::Seal]), ..SMALL }, 1 << 40).is_some());
}
