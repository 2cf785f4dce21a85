//! Every verb against a cluster in this process: its API server is `stage::inprocess`, its controller the real one, its
//! workers follow a script.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod asking;
mod forwarding;
mod kubelets;
mod logging;
mod reaching;
mod reporting;
mod showing;
mod watching;
mod world;
