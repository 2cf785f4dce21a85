//! What tests stand on that needs no engine: Kubernetes as child processes on loopback, a whole cluster of two nodes in
//! namespaces, ports, Prometheus, the cache of tools.
//!
//! A crate of its own, so that tests of the API and of the controller compile neither DataFusion nor the pipeline's
//! binary.

pub mod cache;
pub mod cluster;
pub mod company;
mod go;
pub mod helm;
pub mod http;
pub mod inprocess;
pub mod kafka;
pub mod kubernetes;
pub mod likeness;
pub mod monitored;
pub mod ports;
pub mod prometheus;
pub mod promtool;
pub mod s3;
pub mod script;
pub mod shipped;
