//! Where randomness comes from: `SEED` replays, else a fixed seed per test, printed.

/// Bytes of a splitmix generator.
pub(crate) struct Dice(u64);

impl Dice {
    /// `SEED`, or `otherwise`. Printed, so that a failure can be replayed.
    pub(crate) fn of(test: &str, otherwise: u64) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{test}: SEED={seed}\n"));
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
