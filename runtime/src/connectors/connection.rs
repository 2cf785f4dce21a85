//! Connections with their secrets: what a connector needs to speak to a system, and what must never be printed.

use std::collections::{BTreeMap, BTreeSet};

use api::pipeline::{KafkaConnection, KafkaProperties, PipelineSpec, SaslMechanism};

use crate::secrets::{SecretBytes, SecretError, SecretString, Secrets};

/// A Kafka cluster, and as whom it is spoken to. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Kafka {
    pub bootstrap_servers: Vec<String>,
    pub tls: Option<Tls>,
    pub login: Option<Login>,
    pub transactional_id_prefix: String,
    pub properties: KafkaProperties,
}

/// PEM texts.
#[derive(Clone, Debug)]
pub struct Tls {
    pub ca: SecretBytes,
    pub identity: Option<Identity>,
}

/// The client's own certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: SecretBytes,
    pub private_key: SecretBytes,
}

/// Name and password.
#[derive(Clone, Debug)]
pub struct Login {
    pub mechanism: SaslMechanism,
    pub username: SecretString,
    pub password: SecretString,
}

/// The connections that sources and sinks use, by name, with their secrets read.
///
/// # Errors
/// The first secret that cannot be had.
pub fn resolve(spec: &PipelineSpec, secrets: &Secrets) -> Result<BTreeMap<String, Kafka>, SecretError> {
    let of_sources = spec.sources.iter().filter_map(|source| source.kafka.as_ref()).map(|kafka| &kafka.connection);
    let of_sinks = spec.sinks.iter().filter_map(|sink| sink.kafka.as_ref()).map(|kafka| &kafka.connection);
    let used: BTreeSet<&String> = of_sources.chain(of_sinks).collect();
    let wanted = spec.connections.iter().enumerate().filter(|(_, connection)| used.contains(&connection.name));
    wanted
        .map(|(i, connection)| {
            Ok((connection.name.clone(), kafka(&connection.kafka, &format!("spec.connections[{i}].kafka"), secrets)?))
        })
        .collect()
}

fn kafka(spec: &KafkaConnection, path: &str, secrets: &Secrets) -> Result<Kafka, SecretError> {
    let bytes = |field: &str, reference| secrets.bytes(&format!("{path}.{field}"), reference);
    let text = |field: &str, reference| secrets.text(&format!("{path}.{field}"), reference);
    let tls = match &spec.tls {
        Some(tls) => {
            let identity = match (&tls.certificate, &tls.private_key) {
                (Some(certificate), Some(private_key)) => Some(Identity {
                    certificate: bytes("tls.certificate", certificate)?,
                    private_key: bytes("tls.privateKey", private_key)?,
                }),
                (Some(_) | None, _) => None,
            };
            Some(Tls { ca: bytes("tls.ca", &tls.ca)?, identity })
        }
        None => None,
    };
    let login = match &spec.sasl {
        Some(sasl) => Some(Login {
            mechanism: sasl.mechanism,
            username: text("sasl.username", &sasl.username)?,
            password: text("sasl.password", &sasl.password)?,
        }),
        None => None,
    };
    Ok(Kafka {
        bootstrap_servers: spec.bootstrap_servers.clone(),
        tls,
        login,
        transactional_id_prefix: spec.transactional_id_prefix.clone(),
        properties: spec.properties.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use api::pipeline::Pipeline;
    use serde_json::json;

    use super::*;

    const CANARY: &str = "hunter2-canary";

    fn pipeline() -> Pipeline {
        let secret = |key: &str| json!({ "secret": "shop", "key": key });
        let column = json!({ "name": "v", "type": "VARBINARY" });
        serde_json::from_value(json!({
            "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": "test" },
            "spec": {
                "connections": [
                    { "name": "unused", "kafka": { "bootstrapServers": ["a:1"], "tls": { "ca": secret("nowhere") } } },
                    { "name": "main", "kafka": {
                        "bootstrapServers": ["b:1"],
                        "tls": { "ca": secret("ca.crt"), "certificate": secret("tls.crt"), "privateKey": secret("tls.key") },
                        "sasl": { "mechanism": "PLAIN", "username": secret("username"), "password": secret("password") },
                    } },
                ],
                "sources": [{ "name": "orders", "kafka": { "connection": "main", "topics": ["t"] }, "format": { "raw": {} }, "columns": [column] }],
                "sinks": [{ "name": "out", "input": "orders", "discard": {} }],
                "checkpoint": { "storage": { "local": { "path": "/nowhere" } } },
            },
        }))
        .unwrap()
    }

    #[test]
    fn used_connections_are_resolved_and_show_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shop")).unwrap();
        for key in ["ca.crt", "tls.crt", "tls.key", "username", "password"] {
            fs::write(folder.path().join("shop").join(key), format!("{key} {CANARY}\n")).unwrap();
        }
        let resolved = resolve(&pipeline().spec, &Secrets::new(folder.path())).unwrap();
        assert_eq!(resolved.keys().collect::<Vec<_>>(), ["main"]);
        let main = &resolved["main"];
        let (tls, login) = (main.tls.as_ref().unwrap(), main.login.as_ref().unwrap());
        let identity = tls.identity.as_ref().unwrap();
        assert_eq!(tls.ca.reveal(), format!("ca.crt {CANARY}\n").as_bytes());
        assert_eq!(identity.certificate.reveal(), format!("tls.crt {CANARY}\n").as_bytes());
        assert_eq!(identity.private_key.reveal(), format!("tls.key {CANARY}\n").as_bytes());
        assert_eq!(login.username.reveal(), format!("username {CANARY}"));
        assert_eq!(login.password.reveal(), format!("password {CANARY}"));
        assert!(!format!("{resolved:?}{resolved:#?}").contains(CANARY));
    }

    #[test]
    fn missing_secret_is_told_by_the_manifests_field() {
        let folder = tempfile::tempdir().unwrap();
        let error = resolve(&pipeline().spec, &Secrets::new(folder.path())).unwrap_err().to_string();
        assert!(error.starts_with("spec.connections[1].kafka.tls.certificate: "), "{error}");
        assert!(error.contains("shop/tls.crt is missing"), "{error}");
    }
}
