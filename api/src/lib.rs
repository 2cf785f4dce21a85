//! Every word that crosses a process.
pub mod control;
