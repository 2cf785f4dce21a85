//! Every word that crosses a process: the manifest (at once the custom resource and what `onceward run` reads),
//! how it is read and judged, and the messages between coordinator and workers.
//!
//! | room | holds |
//! |---|---|
//! | [`pipeline`] | `Pipeline`, its schema, defaults and CEL rules: one set for the API server and the command line |
//! | [`manifest`] | reading it: every fault with line, column, path and fix; `--set`; lint warnings |
//! | [`names`] | labels, annotations and the port that several parts agree on |
//! | [`control`] | what coordinator and workers say to each other |
//! | [`report`] | what a worker tells of itself to the controller |
//! | [`statistics`] | counters of running subtasks, one of those messages |
pub mod control;
pub mod manifest;
pub mod names;
pub mod pipeline;
pub mod report;
pub mod statistics;
pub mod token;
