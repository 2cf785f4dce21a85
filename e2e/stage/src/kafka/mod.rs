//! Real Kafka brokers, judged by Kafka's own client, and a proxy before them that loses requests.
//!
//! Needs a JDK (17 or newer) and Maven; the brokers' libraries are fetched once into the cache
//! (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kafka`).

pub mod broker;
pub mod certificates;
pub mod judge;
pub mod libraries;
pub mod proxy;

pub use self::broker::{Broker, Options, Version};
pub use self::judge::Judge;
pub use self::proxy::Proxy;
