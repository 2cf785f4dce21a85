//! librdkafka's configuration, its log, and its errors in our words.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{Error, Mechanism, Settings};
use crate::connectors::Retry;
use crate::secrets::SecretBytes;

const LOG_TARGET: &str = "onceward::librdkafka";

/// What every client has in common. `properties` come first, so that none of them can undo the rest.
///
/// # Errors
/// A secret that is no text.
pub(super) fn base_config(settings: &Settings, properties: &[(String, String)]) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", settings.bootstrap_servers.join(","));
    let text = |what: &str, secret: &SecretBytes| {
        let text = std::str::from_utf8(secret.reveal()).map(str::to_owned);
        text.map_err(|_| Error::Settings { message: format!("{what}: it is not UTF-8 text") })
    };
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &settings.tls {
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.pem", text("the CA", ca)?);
        }
        if let Some(certificate) = &tls.certificate {
            config.set("ssl.certificate.pem", text("the client certificate", &certificate.chain)?);
            config.set("ssl.key.pem", text("the private key", &certificate.private_key)?);
        }
    }
    if let Some(sasl) = &settings.sasl {
        let mechanism: Mechanism = sasl.mechanism;
        config.set("sasl.mechanism", mechanism.name());
        config.set("sasl.username", sasl.username.reveal());
        config.set("sasl.password", sasl.password.reveal());
    }
    if tracing::enabled!(target: LOG_TARGET, tracing::Level::TRACE) {
        // Of transactions and connections; nothing of it shows a record or a secret.
        config.set("debug", "eos,broker");
        config.set_log_level(RDKafkaLogLevel::Debug);
    } else {
        config.set_log_level(RDKafkaLogLevel::Warning);
    }
    Ok(config)
}

/// Sends librdkafka's log to ours; it never holds credentials or rows. A dead broker is met again and again: it is told
/// where it matters, by whoever waits for it.
pub(super) fn log(facility: &str, message: &str) {
    tracing::debug!(target: LOG_TARGET, facility, "{message}");
}

/// Whether waiting helps. A right that is missing is given by a person, so waiting for it loses nothing.
pub(super) fn retry_of(code: Option<RDKafkaErrorCode>) -> Retry {
    use RDKafkaErrorCode as Code;
    match code {
        Some(
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::InvalidTransactionTimeout,
        ) => Retry::Never,
        _ => Retry::Backoff,
    }
}
