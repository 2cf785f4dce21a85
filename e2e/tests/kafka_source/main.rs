//! Topics of a real broker into files: every committed record once, whatever happens in between; what was taken away is
//! noticed. The judge is Kafka's own client.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod interrupted;
mod losses;
mod records;
mod refused;
mod secured;
mod stage;
