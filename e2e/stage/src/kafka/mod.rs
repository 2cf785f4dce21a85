//! Real Kafka brokers, judged by Kafka's own client.
//!
//! Needs a JDK (17 or newer) and Maven; the brokers' libraries are fetched once into the cache
//! (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kafka`).

pub mod broker;
pub mod certificates;
pub mod judge;
pub mod libraries;

pub use self::broker::{Broker, Options, Version};
pub use self::judge::Judge;
