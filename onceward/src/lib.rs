//! The one binary: what it can be told ([`cli`]), what it does ([`commands`]), what it shows ([`screen`]).
//!
//! Two parts serve the end-to-end tests as well: [`checker`], the independent judge of a run's output, and
//! [`workload`] with [`child`], made-up input and a process to be struck.

pub mod checker;
pub mod child;
pub mod cli;
pub mod commands;
pub mod screen;
pub mod telemetry;
pub mod workload;
