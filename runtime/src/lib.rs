//! The data plane of Onceward as a library.
pub mod clock;
pub mod connectors;
pub mod dataflow;
pub mod element;
pub mod operators;
pub mod state;
pub mod store;
