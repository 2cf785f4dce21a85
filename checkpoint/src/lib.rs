//! The checkpoint protocol: values in, decisions out. No I/O, no clock, no randomness, no async.
pub mod append;
pub mod claim;
pub mod commit;
pub mod ids;
pub mod invariants;
pub mod log;
pub mod manifest;
pub mod paths;
pub mod record;
#[doc(hidden)]
pub mod rules;
