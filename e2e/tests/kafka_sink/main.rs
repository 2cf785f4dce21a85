//! The shipped binary writing to a real broker: killed at every step of its own and of Kafka's, paused while another one
//! takes over, cut off; and every time Kafka's own client reads each row once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod again;
mod at_steps;
mod changes;
mod epochs;
mod outages;
mod refusals;
mod secured;
mod stage;
mod three;
mod whole;
mod zombies;
