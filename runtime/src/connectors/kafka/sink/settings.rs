//! librdkafka's settings that follow from others.

use rdkafka::config::ClientConfig;

/// librdkafka wants no request, and no record that waits, to outlast its transaction.
pub(super) fn set_timeouts(config: &mut ClientConfig, transaction_ms: u64, is_transactional: bool) {
    config.set("transaction.timeout.ms", transaction_ms.to_string());
    // Both would follow the transaction's timeout, and a dead broker would go unnoticed for as long.
    config.set("message.timeout.ms", transaction_ms.to_string());
    set_default(config, "socket.timeout.ms", &transaction_ms.min(10_000).to_string());
    // Nothing is visible before the end of its transaction, and a barrier urges what waits.
    let linger_ms = if is_transactional { 1_000 } else { 5 };
    set_default(config, "linger.ms", &linger_ms.min(transaction_ms / 4).to_string());
}

pub(super) fn set_default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

/// Unless the manifest has less.
pub(super) fn lower(config: &mut ClientConfig, name: &str, most: u32) {
    let own = config.get(name).and_then(|own| own.parse().ok()).unwrap_or(u32::MAX);
    config.set(name, own.min(most).to_string());
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::BaseProducer;

    use super::*;

    #[test]
    fn any_timeout_of_a_transaction_makes_settings_that_go_together() {
        for transaction_ms in [1_000, 3_999, 60_000, 900_000] {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", "127.0.0.1:1").set("transactional.id", "id");
            set_timeouts(&mut config, transaction_ms, true);
            let made = config.create::<BaseProducer>();
            assert!(made.is_ok(), "{transaction_ms} ms: {:?}", made.err());
        }
    }

    #[test]
    fn what_the_manifest_says_stays_and_is_lowered_only() {
        let mut config = ClientConfig::new();
        config.set("linger.ms", "7").set("batch.size", "900");
        set_timeouts(&mut config, 60_000, true);
        lower(&mut config, "batch.size", 1_000);
        lower(&mut config, "message.max.bytes", 1_000);
        let has = |name, value| assert_eq!(config.get(name), Some(value), "{name}");
        has("linger.ms", "7");
        has("batch.size", "900");
        has("message.max.bytes", "1000");
        has("socket.timeout.ms", "10000");
    }
}
