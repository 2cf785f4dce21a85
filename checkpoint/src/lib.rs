//! The checkpoint protocol: values in, decisions out. No I/O, no clock, no randomness, no async.
pub mod commit;
pub mod ids;
pub mod manifest;
