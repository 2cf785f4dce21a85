//! The Kafka clusters of a manifest: settings with their secrets, and one small client for each, shared by whoever
//! speaks to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pipeline::{KafkaProperties, SaslMechanism};

use super::client::{Client, ClientCertificate, Error, Mechanism, Ports, Sasl, Settings, Tls};
use crate::clock::{SystemClock, SystemRandom};
use crate::connectors::connection;

/// A cluster that sources and sinks name.
#[derive(Clone)]
pub struct Cluster {
    pub settings: Settings,
    pub client: Client,
    pub transactional_id_prefix: String,
    pub properties: KafkaProperties,
}

/// By the connection's name.
pub type Clusters = BTreeMap<String, Cluster>;

/// Connects to nothing yet.
///
/// # Errors
/// A certificate or a key that is none.
pub fn clusters(connections: &BTreeMap<String, connection::Kafka>) -> Result<Clusters, Error> {
    let ports = Ports { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
    let cluster = |(name, kafka): (&String, &connection::Kafka)| {
        let settings = settings(kafka);
        let client = Client::new(&settings, ports.clone())
            .map_err(|error| Error::Settings { message: format!("connection `{name}`: {error}") })?;
        let cluster = Cluster {
            settings,
            client,
            transactional_id_prefix: kafka.transactional_id_prefix.clone(),
            properties: kafka.properties.clone(),
        };
        Ok((name.clone(), cluster))
    };
    connections.iter().map(cluster).collect()
}

fn settings(kafka: &connection::Kafka) -> Settings {
    Settings {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        tls: kafka.tls.as_ref().map(|tls| Tls {
            ca: Some(tls.ca.clone()),
            certificate: tls.identity.as_ref().map(|identity| ClientCertificate {
                chain: identity.certificate.clone(),
                private_key: identity.private_key.clone(),
            }),
        }),
        sasl: kafka.login.as_ref().map(|login| Sasl {
            mechanism: match login.mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            username: login.username.clone(),
            password: login.password.clone(),
        }),
    }
}
