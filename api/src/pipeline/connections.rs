//! Systems that sources and sinks speak to, each named once. No credential stands here, only the name of its secret.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kafka_properties::KafkaProperties;

/// A named system. Exactly one field beside the name is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// Name that sources and sinks call it by.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub name: String,
    /// A Kafka cluster.
    pub kafka: KafkaConnection,
}

/// A Kafka cluster, and as whom it is spoken to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConnection {
    /// Brokers to begin with, as `host:port`; the others are learned from them.
    #[schemars(length(min = 1, max = 16), inner(length(min = 3, max = 259), regex(pattern = BROKER)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub bootstrap_servers: Vec<String>,
    /// Encrypts every connection; absent: plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// As whom to log in; absent: as nobody, or as the client certificate says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// What every transactional id begins with (a `/` follows), so that an ACL can be given for `onceward/`; also begins group ids.
    #[serde(default = "default_prefix")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub transactional_id_prefix: String,
    /// Tuning of the client by librdkafka's names. What could weaken the guarantee, or has a field of its own, is not among them.
    #[serde(default, skip_serializing_if = "KafkaProperties::is_empty")]
    pub properties: KafkaProperties,
}

/// `host:port`, `[address]:port`; a port is 1 to 65535.
pub(crate) const BROKER: &str = "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$";

/// Whom to trust, and the client's own certificate. Host names are always verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.certificate) || has(self.privateKey)")
        .message("a certificate is of no use without its key; add privateKey")
        .field_path(".certificate"),
    validation = Rule::new("!has(self.privateKey) || has(self.certificate)")
        .message("a privateKey is of no use without its certificate; add certificate")
        .field_path(".privateKey")
)]
pub struct Tls {
    /// PEM of the authorities that the brokers' certificates are signed by; the system's own list is not read.
    pub ca: SecretRef,
    /// PEM of the client's certificate, with what leads from it to its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecretRef>,
    /// PEM of the certificate's private key, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretRef>,
}

/// A login by name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How the password is proven: PLAIN sends it, SCRAM does not.
    pub mechanism: SaslMechanism,
    /// The user's name.
    pub username: SecretRef,
    /// The user's password. A line break at its end is not part of it.
    pub password: SecretRef,
}

/// How a password is proven.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// One value of a secret: a Secret of the pipeline's namespace on a cluster, the file `<secrets-dir>/<secret>/<key>` on a laptop.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub secret: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_KEY))]
    pub key: String,
}

/// A Secret's name: labels of a-z, 0-9 and -, joined by dots.
pub(crate) const SECRET_NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";
/// A Secret's key; it is a file's name, so two dots at its beginning are out.
pub(crate) const SECRET_KEY: &str = "^[.]?[A-Za-z0-9_-][A-Za-z0-9._-]*$";

fn default_prefix() -> String {
    DEFAULT_TRANSACTIONAL_ID_PREFIX.to_owned()
}

/// What transactional ids begin with when the manifest does not say.
pub const DEFAULT_TRANSACTIONAL_ID_PREFIX: &str = "onceward";
