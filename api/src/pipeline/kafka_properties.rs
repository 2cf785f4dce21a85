//! Which of librdkafka's properties a manifest may set: the schema is the allow-list, so others are refused by name.
//!
//! Left out is whatever the guarantee rests on (idempotence, acks, isolation, transactions, groups and their offsets,
//! the partitioner, time limits of delivery), what has a field of its own (brokers, TLS, SASL), what runs foreign code or
//! prints (plugins, debug), and other spellings of what is here. Bounds are librdkafka's, or narrower where values would
//! contradict each other or take memory without limit. Sources have a client of their own (docs/decisions/0203), which
//! goes by those names that mean the same to it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tuning by librdkafka's names; see its CONFIGURATION.md for what each does.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct KafkaProperties {
    /// Sinks: name in the brokers' logs, metrics and quotas.
    #[serde(rename = "client.id", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub client_id: Option<String>,
    /// Sinks: families of addresses that brokers are reached at.
    #[serde(rename = "broker.address.family", skip_serializing_if = "Option::is_none")]
    pub broker_address_family: Option<AddressFamily>,
    /// Sinks: milliseconds that a resolved address is kept.
    #[serde(rename = "broker.address.ttl", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub broker_address_ttl: Option<u32>,
    /// Sinks: milliseconds until an unused connection is closed; 0: never.
    #[serde(rename = "connections.max.idle.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub connections_max_idle_ms: Option<u32>,
    /// Sinks: milliseconds until a request counts as lost.
    #[serde(rename = "socket.timeout.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 6_000, max = 300_000))]
    pub socket_timeout_ms: Option<u32>,
    /// Sinks: milliseconds for a connection to be made, with TLS and SASL.
    #[serde(rename = "socket.connection.setup.timeout.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_000, max = 2_147_483_647))]
    pub socket_connection_setup_timeout_ms: Option<u32>,
    /// Sinks: TCP keep-alive.
    #[serde(rename = "socket.keepalive.enable", skip_serializing_if = "Option::is_none")]
    pub socket_keepalive_enable: Option<bool>,
    /// Sinks: `TCP_NODELAY`.
    #[serde(rename = "socket.nagle.disable", skip_serializing_if = "Option::is_none")]
    pub socket_nagle_disable: Option<bool>,
    /// Sinks: bytes; 0: the system's.
    #[serde(rename = "socket.send.buffer.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub socket_send_buffer_bytes: Option<u32>,
    /// Sinks: bytes; 0: the system's.
    #[serde(rename = "socket.receive.buffer.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub socket_receive_buffer_bytes: Option<u32>,
    /// Sources: bytes that a broker waits for before it answers.
    #[serde(rename = "fetch.min.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub fetch_min_bytes: Option<u32>,
    /// Sources: milliseconds that it waits for them.
    #[serde(rename = "fetch.wait.max.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5_000))]
    pub fetch_wait_max_ms: Option<u32>,
    /// Sources: bytes of one partition in an answer.
    #[serde(rename = "max.partition.fetch.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_partition_fetch_bytes: Option<u32>,
    /// Sources: milliseconds until the next request after a failed one.
    #[serde(rename = "fetch.error.backoff.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 300_000))]
    pub fetch_error_backoff_ms: Option<u32>,
    /// Sources: kilobytes that are read ahead, for each subtask.
    #[serde(rename = "queued.max.messages.kbytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub queued_max_messages_kbytes: Option<u32>,
    /// Sources: milliseconds from one look for new partitions to the next.
    #[serde(rename = "topic.metadata.refresh.interval.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub topic_metadata_refresh_interval_ms: Option<u32>,
    /// Sinks: the largest request; a topic has its own limit.
    #[serde(rename = "message.max.bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_000, max = 1_000_000_000))]
    pub message_max_bytes: Option<u32>,
    /// Sinks: milliseconds that records wait for others of their batch.
    #[serde(rename = "linger.ms", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 60_000))]
    pub linger_ms: Option<u32>,
    /// Sinks: bytes of a batch.
    #[serde(rename = "batch.size", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub batch_size: Option<u32>,
    /// Sinks: records of a batch.
    #[serde(rename = "batch.num.messages", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_num_messages: Option<u32>,
    /// Sinks: compression of batches.
    #[serde(rename = "compression.type", skip_serializing_if = "Option::is_none")]
    pub compression_type: Option<Compression>,
    /// Sinks: its level; -1: the codec's own choice.
    #[serde(rename = "compression.level", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 12))]
    pub compression_level: Option<i32>,
    /// Sinks: records that wait to be sent, for each subtask.
    #[serde(rename = "queue.buffering.max.messages", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub queue_buffering_max_messages: Option<u32>,
    /// Sinks: kilobytes that wait to be sent, for each subtask.
    #[serde(rename = "queue.buffering.max.kbytes", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub queue_buffering_max_kbytes: Option<u32>,
}

/// Families of addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    Any,
    V4,
    V6,
}

/// Codecs of batches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What the source's own client goes by; librdkafka, for sinks, is given the rest.
const OF_SOURCES: [&str; 6] = [
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "fetch.error.backoff.ms",
    "queued.max.messages.kbytes",
    "topic.metadata.refresh.interval.ms",
];

impl KafkaProperties {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a sink's client is given: name and value as librdkafka spells them.
    pub fn of_sinks(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(set)) = serde_json::to_value(self) else { return Vec::new() };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let of_sinks = set.into_iter().filter(|(name, _)| !OF_SOURCES.contains(&name.as_str()));
        of_sinks.map(|(name, value)| (name, text(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_get_what_is_for_them_as_librdkafka_spells_it() {
        let properties: KafkaProperties = serde_json::from_value(serde_json::json!({
            "client.id": "a", "socket.keepalive.enable": true, "fetch.min.bytes": 5, "linger.ms": 20, "compression.type": "lz4"
        }))
        .unwrap();
        let pairs = |pairs: Vec<(String, String)>| {
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            pairs(properties.of_sinks()),
            ["client.id=a", "compression.type=lz4", "linger.ms=20", "socket.keepalive.enable=true"]
        );
    }

    /// A misspelt name in a list would hand a property to the wrong client.
    #[test]
    fn names_of_sources_are_fields() {
        let schema = serde_json::to_value(schemars::schema_for!(KafkaProperties)).unwrap();
        for name in OF_SOURCES {
            assert!(schema["properties"].get(name).is_some(), "{name}");
        }
    }
}
