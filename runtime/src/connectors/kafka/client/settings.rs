//! How to reach a cluster, and as whom.

use std::fmt;

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
    pub ca: Option<Secret>,
    pub certificate: Option<ClientCertificate>,
}

/// Who this client is, for brokers that ask (mutual TLS).
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and what leads from it to an authority.
    pub chain: Secret,
    pub private_key: Secret,
}

#[derive(Clone, Debug)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: Secret,
    pub password: Secret,
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

/// Text or bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// For those who hand it to the broker or to a library, and to nobody else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As text.
    ///
    /// # Errors
    /// It is not UTF-8; says nothing of what it is.
    pub fn expose_text(&self) -> Result<&str, NotText> {
        std::str::from_utf8(&self.0).map_err(|_| NotText)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret that should be text is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not UTF-8 text")]
pub struct NotText;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_secret() {
        let secret = || Secret::new("canary");
        let settings = Settings {
            bootstrap_servers: vec!["a:1".to_owned()],
            tls: Some(Tls {
                ca: Some(secret()),
                certificate: Some(ClientCertificate { chain: secret(), private_key: secret() }),
            }),
            sasl: Some(Sasl { mechanism: Mechanism::Plain, username: secret(), password: secret() }),
        };
        let text = format!("{settings:?} {settings:#?}");
        assert!(!text.contains("canary") && text.contains("(secret)") && text.contains("a:1"), "{text}");
        assert!(!format!("{:?}", Secret::new([0xff]).expose_text()).contains("255"));
    }
}
