//! The long forms, for `ONCEWARD_FULL=1`: enumerated to the end, or to a hundred million states.

use super::{BASE, search};
use crate::steps::Config;

/// One sink, everything on.
const EVERYTHING: Config = Config {
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
    ..BASE
};

#[test]
fn long_searches_keep_every_property() {
    if std::env::var_os("ONCEWARD_FULL").is_none() {
        println!("long searches run with ONCEWARD_FULL=1");
        return;
    }
    let three = Config { attempts: 3, ..EVERYTHING };
    let two_sinks = Config { writers: 2, sinks: 2, ..EVERYTHING };
    let four = Config { attempts: 4, ..EVERYTHING };
    let returning = Config { attempts: 4, returns: 2, rewinds: 1, max_epoch: 4, has_retention: true, ..BASE };
    for (name, config, limit) in [
        ("one sink, three attempts, to the end", three, usize::MAX),
        ("two sinks, two attempts, to the end", two_sinks, usize::MAX),
        ("older checkpoints, four attempts, to 10^7 states", returning, 30_000_000),
        ("four attempts, to 10^8 states", four, 300_000_000),
    ] {
        let searched = search(name, config, 2, limit);
        assert!(searched.broken.is_none(), "{name}: broken: {:#?}", searched.broken);
    }
}
