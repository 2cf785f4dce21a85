//! The stage on which the shipped binary is run, killed, paused and judged.

pub mod kills;
pub mod seeds;
pub mod stage;
