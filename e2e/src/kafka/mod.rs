//! Real Kafka brokers on loopback, judged by Kafka's own client.
//!
//! Needs a JDK (17 or newer) and Maven; the brokers' libraries are fetched once into the cache
//! (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kafka`).

pub mod broker;
pub mod certificates;
pub mod judge;
mod libraries;
pub mod meter;
pub mod peers;
pub(crate) mod ports;
pub mod proxy;
pub mod writer;

pub use self::broker::{Broker, Options, Version};
pub use self::judge::Judge;
pub use self::meter::{Load, Watch};
pub use self::peers::Peer;
pub use self::proxy::Proxy;
pub use self::writer::Writer;
