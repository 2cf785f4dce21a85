//! The long forms, for `ONCEWARD_FULL=1`: enumerated to the end, or to a hundred million states.

use super::BASE;
use crate::deep::search_deep;
use crate::steps::Config;

/// One sink, everything on.
pub(crate) const EVERYTHING: Config = Config {
    faults: 1,
    has_late_puts: true,
    has_slow_acknowledgements: true,
    checkpoint_failures: 1,
    has_expiry: true,
    has_retention: true,
    has_stop: true,
    has_sweep: true,
    rewinds: 1,
    accepts_loss: true,
    commit_only: true,
    starts_in_turn: true,
    is_lean: true,
    ..BASE
};

const BILLION: usize = 1_000_000_000;

/// Each by its name; `ONCEWARD_FULL` names one, or is 1 for all.
fn searches() -> [(&'static str, Config, usize); 4] {
    let three = Config { attempts: 3, ..EVERYTHING };
    let two_sinks = Config { writers: 2, sinks: 2, ..EVERYTHING };
    let four = Config { attempts: 4, ..EVERYTHING };
    let returning = Config { attempts: 4, returns: 2, rewinds: 1, max_epoch: 4, has_retention: true, ..BASE };
    [
        ("two-sinks-two-attempts", two_sinks, BILLION),
        ("one-sink-three-attempts", three, BILLION),
        ("older-checkpoints", returning, BILLION / 100),
        ("four-attempts", four, BILLION / 10),
    ]
}

#[test]
fn long_searches_keep_every_property() {
    let Ok(wanted) = std::env::var("ONCEWARD_FULL") else {
        println!("long searches run with ONCEWARD_FULL=1, or the name of one");
        return;
    };
    let chosen: Vec<_> = searches().into_iter().filter(|(name, ..)| wanted == "1" || wanted == *name).collect();
    assert!(!chosen.is_empty(), "no search is called `{wanted}`");
    for (name, config, limit) in chosen {
        let searched = search_deep(name, &config, limit);
        assert!(searched.broken.is_none(), "{name}: broken: {:#?}", searched.broken);
    }
}
