//! The driver over a store in memory, a scripted worker and a sink that remembers everything.

mod again;
mod faults;
mod rules;
mod world;
