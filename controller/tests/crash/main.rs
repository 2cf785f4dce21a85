//! The real loop over an API server in this process, with time that is paused: whatever befalls it or its requests, it
//! comes to the same end.

mod away;
mod canary;
mod dice;
mod end;
mod every_request;
mod held;
mod memory;
mod paused;
mod scenarios;
mod seeds;
mod steady;
mod trouble;
mod world;
