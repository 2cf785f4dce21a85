//! The shipped rules, all on: no property may break.

use super::{BASE, search};
use crate::steps::Config;

/// Searches with both cores; `limit` counts generated states, repeated ones too.
fn assert_clean(name: &str, config: Config, limit: usize) -> usize {
    let searched = search(name, config, 2, limit);
    if let Some((says, steps)) = searched.broken {
        panic!("{name}: broken: {says}, after {} steps: {steps:#?}", steps.len());
    }
    searched.unique
}

/// Small worlds, each with one thing turned on, searched to the end.
#[test]
fn small_worlds_keep_every_property_to_the_end() {
    let end = usize::MAX;
    let faulty = Config { faults: 1, has_late_puts: true, has_retention: true, has_sweep: true, ..BASE };
    assert_clean("two attempts, lost and late puts, retention, sweep", faulty, end);
    let retaining = Config { attempts: 3, has_retention: true, has_sweep: true, starts_in_turn: true, ..BASE };
    assert_clean("three attempts, retention, sweep", retaining, end);
    let failing = Config { writers: 2, sinks: 2, checkpoint_failures: 1, has_slow_acknowledgements: true, ..BASE };
    assert_clean("two sinks, failed checkpoints, late acknowledgements", failing, end);
    let bounded = Config { attempts: 3, is_bounded: true, items: 1, has_stop: true, commit_only: true, ..BASE };
    assert_clean("three attempts, bounded, stops, commit-only", bounded, end);
    let fine = Config { is_coarse: false, has_retention: true, ..BASE };
    assert_clean("two attempts that pause before every read", fine, end);
}

/// Larger ones, as far as continuous integration has time for.
#[test]
fn a_million_states_keep_every_property() {
    let all = Config { attempts: 4, faults: 1, has_late_puts: true, has_retention: true, has_sweep: true, ..BASE };
    let mut unique = 0;
    unique += assert_clean("four attempts, faults", Config { starts_in_turn: true, ..all }, 1_200_000);
    let lossy = Config { has_expiry: true, accepts_loss: true, rewinds: 1, max_epoch: 2, ..all };
    unique += assert_clean("four attempts, losses, rewinds", Config { starts_in_turn: true, ..lossy }, 1_200_000);
    let two = Config {
        attempts: 3,
        writers: 2,
        sinks: 2,
        checkpoint_failures: 1,
        has_slow_acknowledgements: true,
        has_stop: true,
        ..lossy
    };
    unique += assert_clean("three attempts, two sinks, everything on", two, 1_200_000);
    let returning = Config { attempts: 4, returns: 2, rewinds: 1, max_epoch: 4, has_retention: true, ..BASE };
    unique += assert_clean("four attempts, older checkpoints", Config { starts_in_turn: true, ..returning }, 300_000);
    println!("{unique} unique states");
    assert!(unique >= 1_000_000, "only {unique} states");
}
