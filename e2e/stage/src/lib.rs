//! What tests stand on that needs no engine: Kubernetes as child processes on loopback, ports, the cache of tools.
//!
//! A crate of its own, so that tests of the API and of the controller compile neither DataFusion nor the pipeline's
//! binary.

pub mod cache;
pub mod inprocess;
pub mod kubernetes;
pub mod likeness;
pub mod ports;
pub mod script;
