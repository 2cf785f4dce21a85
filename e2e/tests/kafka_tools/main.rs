//! The people's tools on a real broker: what they say is compared with what Kafka's own client says, what they do with
//! what it reads; killed at every step of a forced abort.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod aborts;
mod by_hand;
mod commit_only;
#[path = "../kafka_sink/stage.rs"]
#[allow(dead_code, reason = "shared with the tests of the sink, which use more of it")]
mod stage;
mod struck;
mod telling;
