//! The data plane of Onceward as a library.
pub mod clock;
pub mod connectors;
pub mod coordinator;
pub mod crashpoint;
pub mod dataflow;
mod durable;
pub mod element;
pub mod metrics;
pub mod operators;
mod page;
pub mod report;
pub mod run;
pub mod secrets;
pub mod state;
pub mod store;
pub mod tasks;
pub mod transactions;
pub mod worker;
