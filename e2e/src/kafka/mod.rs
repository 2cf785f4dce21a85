//! Real Kafka brokers on loopback, judged by Kafka's own client; beside what needs no engine, loads and peers for
//! benchmarks, and transactions that are left open.
//!
//! Needs a JDK (17 or newer) and Maven; the brokers' libraries are fetched once into the cache
//! (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kafka`).

pub mod meter;
pub mod peers;
pub mod writer;

use stage::kafka::libraries;
pub use stage::kafka::{broker, judge, proxy};

pub use self::broker::{Broker, Options, Version};
pub use self::judge::Judge;
pub use self::meter::{Load, Watch};
pub use self::peers::Peer;
pub use self::proxy::Proxy;
pub use self::writer::Writer;
