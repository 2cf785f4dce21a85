//! `Pipeline` on a real API server: the definition, its rules, its subresources, and whether `onceward lint` says what
//! the server says.

mod conformance;
mod definition;
mod dice;
mod differences;
mod harness;
#[path = "../../../../api/tests/samples/mod.rs"]
mod samples;
mod site;
mod spots;
mod subresources;
mod valid;
mod wrong;
