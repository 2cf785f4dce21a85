//! Kafka, as a sink: a small client of its own for what librdkafka cannot do, and what became of prepared transactions.

pub mod client;
mod clusters;
mod librdkafka;
pub mod outcome;
mod sink;

pub use self::clusters::{Cluster, Clusters, clusters};
pub use self::sink::{KafkaSink, KafkaSinkSpec};
