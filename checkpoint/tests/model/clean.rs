//! The shipped rules, all on: no property may break.

use super::{BASE, search};
use crate::steps::Config;

fn assert_clean(name: &str, config: Config, limit: usize) -> usize {
    let searched = search(name, config, 1, limit);
    if let Some((says, steps)) = searched.broken {
        panic!("{name}: broken: {says}, after {} steps: {steps:#?}", steps.len());
    }
    searched.unique
}

#[test]
fn every_interleaving_keeps_every_property() {
    let limit = 400_000;
    let all = Config { faults: 1, has_late_puts: true, has_retention: true, has_sweep: true, ..BASE };
    assert_clean("three attempts", Config { attempts: 3, faults: 0, ..all.clone() }, limit);
    assert_clean("three attempts, faults", Config { attempts: 3, ..all.clone() }, limit);
    assert_clean("fine", Config { attempts: 2, is_coarse: false, ..all.clone() }, limit);
    assert_clean("fine3", Config { attempts: 3, is_coarse: false, ..all.clone() }, limit);
    let two = Config { writers: 2, sinks: 2, checkpoint_failures: 1, has_slow_acknowledgements: true, ..all.clone() };
    assert_clean("two writers", two.clone(), limit);
    assert_clean("expiry", Config { has_expiry: true, accepts_loss: true, attempts: 3, ..all.clone() }, limit);
    assert_clean("expiry two", Config { has_expiry: true, accepts_loss: true, attempts: 3, ..two.clone() }, limit);
    assert_clean("rewind", Config { rewinds: 2, attempts: 4, faults: 0, ..all.clone() }, limit);
    assert_clean("rewind expiry", Config { rewinds: 2, attempts: 4, has_expiry: true, ..two.clone() }, limit);
    assert_clean("bounded", Config { is_bounded: true, attempts: 3, items: 2, has_stop: true, commit_only: true, ..all.clone() }, limit);
}
