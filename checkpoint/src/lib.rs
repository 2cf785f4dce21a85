//! The checkpoint protocol: values in, decisions out. No I/O, no clock, no randomness, no async.
pub mod append;
pub mod claim;
pub mod commit;
pub mod coordinator;
pub mod ids;
pub mod invariants;
pub mod log;
pub mod manifest;
pub mod paths;
pub mod record;
pub mod recovery;
pub mod retention;
#[doc(hidden)]
pub mod rules;
pub mod undecided;
