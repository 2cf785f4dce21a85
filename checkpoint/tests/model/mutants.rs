//! Every necessary rule turned off, one at a time: the search must notice. A mutant that survives is a rule without a test.

use checkpoint::rules::Rule;

use super::{BASE, search};
use crate::clean::FENCED_REWIND;
use crate::steps::Config;
use crate::world::Switches;

/// Generated states after which a mutant counts as a survivor.
const LIMIT: usize = 6_000_000;
/// The control search stops here at the latest.
const CONTROL: usize = 100_000;

/// The mutant must break a property; the same world with all rules must not, as far as the mutant's search went.
fn assert_killed(name: &str, config: Config) {
    let searched = search(name, config, 1, LIMIT);
    let Some((says, steps)) = searched.broken else {
        panic!("{name}: the mutant survived {} states: a rule without a test", searched.unique)
    };
    println!("    killed after {} steps: {says}", steps.len());
    let sound = Config {
        switches: Switches(0),
        shared_ids: false,
        sweeps_all: false,
        own_epoch_only: false,
        same_nonce: false,
        ..config
    };
    let control = search("    control", sound, 1, searched.generated.min(CONTROL));
    assert!(control.broken.is_none(), "{name}: broken with every rule on: {:?}", control.broken);
}

fn without(rules: &[Rule], config: Config) -> Config {
    Config { switches: Switches::off(rules), ..config }
}

#[test]
fn every_rule_that_is_turned_off_is_noticed() {
    let three = Config { attempts: 3, ..BASE };
    let faulty = Config { faults: 1, has_late_puts: true, ..BASE };
    assert_killed("seal", without(&[Rule::Seal], BASE));
    assert_killed("seal all earlier", without(&[Rule::SealAllEarlier], three));
    assert_killed("seal attempts that never ran", without(&[Rule::SealNeverRan], BASE));
    assert_killed("read after seal", without(&[Rule::ReadAfterSeal], BASE));
    assert_killed(
        "seal is highest",
        without(&[Rule::SealIsHighest], Config { has_retention: true, max_epoch: 4, ..BASE }),
    );
    let found_seal = Config { has_retention: true, ..three };
    let fine = Config { is_coarse: false, ..found_seal };
    assert_killed("list after a found seal", without(&[Rule::ListAfterFoundSeal], fine));
    let below = Config { attempts: 3, rewinds: 1, max_epoch: 4, ..BASE };
    assert_killed("list below again", without(&[Rule::ListBelowAgain], below));
    assert_killed("keep seals", without(&[Rule::KeepSeals], Config { max_epoch: 5, ..found_seal }));
    assert_killed(
        "keep two newest",
        without(&[Rule::KeepTwoNewest], Config { rewinds: 1, max_epoch: 4, ..found_seal }),
    );
    assert_killed("claim nonce", without(&[Rule::ClaimNonce], BASE));
    assert_killed("same nonce", Config { same_nonce: true, ..BASE });
    assert_killed("same bytes", without(&[Rule::SameBytes], Config { faults: 2, ..faulty }));
    assert_killed("exists is read", without(&[Rule::ExistsIsRead], faulty));
    assert_killed("same slot", without(&[Rule::SameSlot], faulty));
    assert_killed("unknown is not failed", without(&[Rule::UnknownIsNotFailed], faulty));
    let slow = Config { has_slow_acknowledgements: true, checkpoint_failures: 1, ..BASE };
    assert_killed("carry undecided", without(&[Rule::CarryUndecided], slow));
    assert_killed("acknowledge all undecided", Config { own_epoch_only: true, ..slow });
    let expiring = Config { has_expiry: true, max_epoch: 2, items: 2, writers: 2, ..BASE };
    let overdue = Config { writers: 1, max_epoch: 3, checkpoint_failures: 1, ..expiring };
    assert_killed("within budget", without(&[Rule::WithinBudget], overdue));
    assert_killed("classify first", without(&[Rule::ClassifyFirst], expiring));
    assert_killed("stop on loss", without(&[Rule::StopOnLoss], Config { writers: 1, ..expiring }));
    let lossy = Config { attempts: 3, writers: 1, rewinds: 1, ..expiring };
    assert_killed("stop on what a rewind left", without(&[Rule::StopOnLoss], FENCED_REWIND));
    assert_killed("loss after append", without(&[Rule::LossAfterAppend], lossy));
    assert_killed("attempt in ids", Config { shared_ids: true, ..BASE });
    assert_killed("sweep only earlier", Config { sweeps_all: true, has_sweep: true, ..BASE });
    assert_killed("commit before abort", without(&[Rule::CommitBeforeAbort], BASE));
    assert_killed("commit before decide", without(&[Rule::CommitBeforeDecide], Config { attempts: 1, ..BASE }));
    let rewinding = Config { attempts: 3, rewinds: 1, ..BASE };
    assert_killed("rewind aborts", without(&[Rule::RewindAborts], rewinding));
    assert_killed("rewind decides", without(&[Rule::RewindDecides], rewinding));
    assert_killed("rewind once", without(&[Rule::RewindOnce], Config { rewinds: 2, ..rewinding }));
    let noted = Config { attempts: 3, writers: 1, ..expiring };
    assert_killed("settled by its outcome", without(&[Rule::SettledOutcome], noted));
    let again = Config { attempts: 4, rewinds: 1, items: 1, starts_in_turn: true, ..noted };
    assert_killed("record a loss again", without(&[Rule::RecordLossAgain], again));
    let handing_over = Config { supersedes: true, ..BASE };
    assert_killed("a hand-over settles", without(&[Rule::HandOverSettles], handing_over));
    assert_killed(
        "a hand-over is the last word",
        without(&[Rule::HandOverIsLast], Config { attempts: 3, ..handing_over }),
    );
    let forcing = Config { writers: 2, sinks: 2, max_epoch: 2, items: 2, forces: 1, ..BASE };
    assert_killed("a forced abort commits the rest", without(&[Rule::ForceCommitsRest], forcing));
    assert_killed("a forced abort is proven first", without(&[Rule::ForceAbortsFirst], forcing));
    assert_killed("newest first", without(&[Rule::NewestFirst], three));
    assert_killed("a hole is not damage", without(&[Rule::HoleIsNotDamage], found_seal));
    let returning = Config { returns: 1, has_expiry: true, max_epoch: 2, items: 2, ..BASE };
    assert_killed("back to the newest is a plain run", without(&[Rule::BackToNewestIsRun], returning));
}
