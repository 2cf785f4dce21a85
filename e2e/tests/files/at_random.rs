//! Random kills and pairs of kills: windows of every kind, parallelism 1 to 4 and changing, inputs that end at different
//! times, several sinks. What is visible is compared with the log all the while.

use std::sync::Mutex;

use anyhow::Result;
use e2e::kills::{Tally, one_case, one_generated_case};
use e2e::pairs::{PairTally, one_pair};
use e2e::seeds::seed;

/// At least so many kills are dealt; `KILLS` asks for more.
const KILLS: u64 = 200;
const KILLS_OF_GENERATED: u64 = 30;
const KILLS_PER_CASE: u64 = 6;
/// At least so many pairs; `PAIRS` asks for more.
const PAIRS: u64 = 40;
/// A bound, should most runs end before their kill: that is a failure as well.
const MOST_CASES: u64 = 4;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn kill(wanted: u64, one_case: impl Fn(u64) -> Result<Tally> + Sync) {
    let cases: Vec<u64> = (0..wanted.div_ceil(KILLS_PER_CASE) * MOST_CASES).collect();
    let tally = Mutex::new(Tally::default());
    super::in_lanes(&cases, |case| -> Result<()> {
        if tally.lock().unwrap().kills >= wanted {
            return Ok(());
        }
        let dealt = one_case(*case)?;
        tally.lock().unwrap().add(&dealt);
        Ok(())
    });
    let tally = tally.into_inner().unwrap();
    println!("random kills: {tally:?}");
    assert!(tally.kills >= wanted, "only {} kills could be dealt", tally.kills);
    assert!(tally.at_steps > 0 && tally.at_moments > 0 && tally.rescaled > 0 && tally.looks > 0, "{tally:?}");
}

#[test]
fn nothing_is_lost_or_doubled_by_random_kills() {
    let seed = seed("random kills", 1);
    kill(number("KILLS", KILLS), |case| one_case(seed, case, KILLS_PER_CASE));
}

#[test]
fn nothing_generated_is_lost_or_doubled_by_random_kills() {
    let seed = seed("random kills of generated rows", 2);
    kill(KILLS_OF_GENERATED, |case| one_generated_case(seed, case, KILLS_PER_CASE));
}

#[test]
fn nothing_is_lost_or_doubled_by_a_death_while_recovering_from_a_death() {
    let seed = seed("pairs of kills", 3);
    let wanted = number("PAIRS", PAIRS);
    let cases: Vec<u64> = (0..wanted * MOST_CASES).collect();
    let tally = Mutex::new(PairTally::default());
    super::in_lanes(&cases, |case| -> Result<()> {
        if tally.lock().unwrap().both >= wanted {
            return Ok(());
        }
        let dealt = one_pair(seed, *case)?;
        tally.lock().unwrap().add(&dealt);
        Ok(())
    });
    let tally = tally.into_inner().unwrap();
    println!("pairs of kills: {tally:?}");
    assert!(tally.both >= wanted && tally.looks > 0, "{tally:?}");
}
