//! A small client for the requests that commit and judge transactions, and for looking at topics.
//!
//! Not for throughput: one request at a time on a connection. Nothing is repeated behind the caller's back, because an
//! answer that got lost is knowledge that got lost; [`Client::retried`] repeats where the caller says so, and as often.
//! Whatever comes in from the wire is bounded and never trusted to be well-formed.

mod batches;
mod cluster;
mod configs;
mod connection;
mod error;
mod groups;
mod markers;
mod partitions;
mod reading;
mod rights;
mod sasl;
mod scram;
mod settings;
mod tls;
mod transactions;
mod wire;

#[cfg(test)]
mod tests;

pub use self::batches::{Batch, Marker};
pub use self::cluster::{Backoff, Client, Ports};
pub use self::configs::{Config, Resource};
pub use self::connection::Features;
pub use self::error::{Class, Code, Error};
pub use self::groups::GroupOffset;
pub use self::partitions::{
    ActiveProducer, Broker, EpochEnd, Fetched, Isolation, Metadata, OffsetAt, OffsetFound, Partition, Topic, TopicId,
};
pub use self::reading::{Answered, Patience, Reading, Wanted, by_place};
pub use self::rights::TopicRights;
pub use self::settings::{ClientCertificate, Mechanism, Sasl, Settings, Tls};
pub use self::transactions::{Coordinated, Listed, Producer};
