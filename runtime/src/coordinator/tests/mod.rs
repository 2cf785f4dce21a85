//! The driver over a store in memory, a scripted worker and a sink that remembers everything.

mod again;
mod budget;
pub(super) mod faults;
mod nonces;
mod parts;
mod rivals;
mod rules;
mod world;
