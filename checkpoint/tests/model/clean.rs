//! The shipped rules, all on: no property may break.

use super::{BASE, search};
use crate::deep::search_deep;
use crate::full::EVERYTHING;
use crate::steps::Config;

/// One attempt runs over two sinks, one rewinds it, one comes after that.
pub(crate) const FENCED_REWIND: Config = Config {
    attempts: 3,
    writers: 2,
    sinks: 2,
    max_epoch: 2,
    items: 2,
    rewinds: 1,
    commit_only: true,
    accepts_loss: true,
    starts_in_turn: true,
    ..BASE
};

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
    let bounded = Config { supersedes: true, ..bounded };
    assert_clean("three attempts, bounded, stops, commit-only, hand-over", bounded, end);
    let handing_over = Config { attempts: 3, max_epoch: 2, has_expiry: true, accepts_loss: true, rewinds: 1, ..faulty };
    let handing_over = Config { supersedes: true, starts_in_turn: true, is_lean: true, ..handing_over };
    assert_clean("three attempts, hand-over to the next log", handing_over, end);
    let fine = Config { is_coarse: false, has_retention: true, faults: 1, max_epoch: 2, ..BASE };
    assert_clean("two attempts that pause before every read", fine, end);
}

/// Everything at once, three attempts: to the end, one fingerprint a state.
#[test]
fn a_million_states_of_one_world_keep_every_property() {
    let config = Config { attempts: 3, max_epoch: 2, ..EVERYTHING };
    let searched = search_deep("three attempts, everything on", &config, usize::MAX);
    assert!(searched.broken.is_none(), "broken: {:#?}", searched.broken);
    assert!(searched.is_complete && searched.unique >= 1_000_000, "only {} states", searched.unique);
    assert!(searched.losses > 0, "no target has lost anything");
}

/// A rewinder may be fenced, or die, between two of its aborts, and its successor finds one part gone and the other
/// not. Nothing expires here, so every loss is one that a rewind has left: it is reported, and nothing goes on without.
#[test]
fn an_epoch_that_a_rewind_left_partly_aborted_is_never_passed_over_in_silence() {
    let searched = search_deep("a rewinder fenced between two aborts", &FENCED_REWIND, usize::MAX);
    assert!(searched.broken.is_none(), "broken: {:#?}", searched.broken);
    assert!(searched.is_complete && searched.losses > 100, "only {} states with a loss", searched.losses);
}

/// Decided output that a person has aborted is recorded as an accepted loss, or found as a loss by whoever comes next,
/// wherever the one who aborts it dies or is fenced; and everything else of the epoch is committed.
#[test]
fn what_is_aborted_by_force_is_never_passed_over_in_silence() {
    let forced = Config { rewinds: 0, forces: 1, ..FENCED_REWIND };
    let searched = search_deep("a forced abort of one of two and of both", &forced, usize::MAX);
    assert!(searched.broken.is_none(), "broken: {:#?}", searched.broken);
    assert!(searched.is_complete && searched.losses > 100, "only {} states with a loss", searched.losses);
    let lossy = Config { has_expiry: true, sinks: 1, ..forced };
    assert_clean("a forced abort beside what expires", lossy, 500_000);
    let twice = Config { attempts: 4, forces: 2, rewinds: 1, writers: 1, sinks: 1, ..forced };
    assert_clean("two forced aborts and a rewind", twice, 500_000);
}

/// Larger worlds, as far as there is time.
#[test]
fn four_attempts_keep_every_property_as_far_as_they_are_searched() {
    let all = Config { attempts: 4, faults: 1, has_late_puts: true, has_retention: true, has_sweep: true, ..BASE };
    assert_clean("four attempts, faults", Config { starts_in_turn: true, ..all }, 500_000);
    let lossy = Config { has_expiry: true, accepts_loss: true, rewinds: 1, max_epoch: 2, ..all };
    assert_clean("four attempts, losses, rewinds", Config { starts_in_turn: true, ..lossy }, 500_000);
    let returning = Config { attempts: 4, returns: 2, rewinds: 1, max_epoch: 4, has_retention: true, ..BASE };
    assert_clean("four attempts, older checkpoints", Config { starts_in_turn: true, ..returning }, 300_000);
}
