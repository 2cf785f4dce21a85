//! librdkafka's configuration, its log, and its errors in our words.

use std::borrow::Cow;

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

/// Sends librdkafka's log to ours, without credentials; it never holds rows. A dead broker is met again and again: it is
/// told where it matters, by whoever waits for it.
pub(super) fn log(facility: &str, message: &str) {
    tracing::debug!(target: LOG_TARGET, facility, "{}", without_user(message));
}

/// Whoever has logged in is named in a Secret.
fn without_user(message: &str) -> Cow<'_, str> {
    const BEGIN: &str = "Authenticated as ";
    let Some((before, rest)) = message.split_once(BEGIN) else { return message.into() };
    // A name may have any words in it; the mechanism's has none.
    let after = rest.rfind(" using ").and_then(|at| rest.get(at..)).unwrap_or_default();
    format!("{before}{BEGIN}…{after}").into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_logged_in_is_not_told() {
        let message = "TxnCoordinator/1: Authenticated as me using it using SCRAM-SHA-512";
        assert_eq!(without_user(message), "TxnCoordinator/1: Authenticated as … using SCRAM-SHA-512");
        assert_eq!(without_user("Authenticated as me"), "Authenticated as …");
        assert_eq!(without_user("connected"), "connected");
    }
}
