//! Where randomness comes from: `SEED` replays, else a fixed seed per test, printed.

use onceward::workload::Dice;

/// The seed of this run: `SEED`, or `otherwise`. Printed, so that a failure can be replayed.
pub fn seed(test: &str, otherwise: u64) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{test}: SEED={seed}\n"));
    seed
}

/// Dice for the i-th case of a seed: cases are independent, so that one can be replayed alone.
pub fn dice(seed: u64, case: u64) -> Dice {
    let mut dice = Dice::new(seed);
    Dice::new(dice.roll() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
