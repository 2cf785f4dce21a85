//! Random kills: windows of every kind, parallelism 1 to 4 and changing, files that end at different times.

use std::sync::Mutex;

use anyhow::Result;
use e2e::kills::{Tally, one_case};
use e2e::seeds::seed;

/// At least so many kills are dealt; `KILLS` asks for more.
const KILLS: u64 = 200;
const KILLS_PER_CASE: u64 = 6;
/// A bound, should most runs end before their kill: that is a failure as well.
const MOST_CASES: u64 = 4;

#[test]
fn nothing_is_lost_or_doubled_by_random_kills() {
    let seed = seed("random kills", 1);
    let wanted = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let cases: Vec<u64> = (0..wanted / KILLS_PER_CASE * MOST_CASES).collect();
    let tally = Mutex::new(Tally::default());
    super::in_lanes(&cases, |case| -> Result<()> {
        if tally.lock().unwrap().kills >= wanted {
            return Ok(());
        }
        let dealt = one_case(seed, *case, KILLS_PER_CASE)?;
        tally.lock().unwrap().add(&dealt);
        Ok(())
    });
    let tally = tally.into_inner().unwrap();
    println!("random kills: {tally:?}");
    assert!(tally.kills >= wanted, "only {} kills could be dealt", tally.kills);
    assert!(tally.at_steps > 0 && tally.at_moments > 0 && tally.rescaled > 0, "{tally:?}");
}
