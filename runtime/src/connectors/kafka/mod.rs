//! Kafka: what goes through librdkafka (rows out) and what an own client does (rows in, ending a transaction that another
//! process prepared, and finding out what became of it).

pub mod client;
mod clusters;
mod librdkafka;
pub mod outcome;
mod sink;
mod source;

pub use self::clusters::{Cluster, Clusters, clusters};
pub use self::sink::{KafkaSink, KafkaSinkSpec};
pub use self::source::KafkaSource;
