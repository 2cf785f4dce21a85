//! From manifest and SQL to a graph of stages.
pub mod graph;
