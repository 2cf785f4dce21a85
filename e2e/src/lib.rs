//! The stage on which the shipped binary is run, killed, paused and judged.

pub mod browser;
pub mod chaos;
pub mod cluster;
pub mod decisions;
pub mod generated;
pub mod kafka;
pub mod kills;
pub mod pairs;
pub mod s3;
pub mod seeds;
pub mod served;
pub mod site;
pub mod stage;

pub use ::stage::{helm, http, prometheus, promtool};
