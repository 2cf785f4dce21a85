//! How to reach a cluster, and as whom.

use crate::secrets::{SecretBytes, SecretString};

/// Everything that a connection needs. No `Debug` of it shows a secret.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `host:port`; any of them will do.
    pub bootstrap_servers: Vec<String>,
    /// None: plaintext.
    pub tls: Option<Tls>,
    /// None: nobody in particular, or who the client certificate says.
    pub sasl: Option<Sasl>,
}

/// PEM texts.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust; None: those of the system.
    pub ca: Option<SecretBytes>,
    pub certificate: Option<ClientCertificate>,
}

/// Who this client is, for brokers that ask (mutual TLS).
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and what leads from it to an authority.
    pub chain: SecretBytes,
    pub private_key: SecretBytes,
}

#[derive(Clone, Debug)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: SecretString,
    pub password: SecretString,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// As it is called on the wire and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_secret() {
        let secret = || SecretBytes::new(*b"canary");
        let text = || SecretString::new("canary");
        let settings = Settings {
            bootstrap_servers: vec!["a:1".to_owned()],
            tls: Some(Tls {
                ca: Some(secret()),
                certificate: Some(ClientCertificate { chain: secret(), private_key: secret() }),
            }),
            sasl: Some(Sasl { mechanism: Mechanism::Plain, username: text(), password: text() }),
        };
        let text = format!("{settings:?} {settings:#?}");
        assert!(!text.contains("canary") && text.contains("***") && text.contains("a:1"), "{text}");
    }
}
