//! Kafka: what goes through librdkafka (bytes in, bytes out) and what only an own client can do (ending a transaction
//! that another process prepared, and finding out what became of it).

pub mod client;
pub mod outcome;
