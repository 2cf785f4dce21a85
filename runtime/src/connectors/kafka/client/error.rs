//! What can go wrong between here and a broker, with what may be done about it as data.

use std::fmt;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Waiting: the same request may succeed later.
    Retry,
    /// A person: rights, credentials, certificates. Waiting loses nothing, and going on without is no choice.
    Denied,
    /// Nothing: the same request would fail again.
    Fatal,
}

/// An error code of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i16);

impl Code {
    pub const NONE: Self = Self(0);
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub const NOT_COORDINATOR: Self = Self(16);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub const INVALID_TXN_STATE: Self = Self(48);
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    pub const PRODUCER_FENCED: Self = Self(90);
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    pub const TRANSACTIONAL_ID_NOT_FOUND: Self = Self(105);
    pub const TRANSACTION_ABORTABLE: Self = Self(120);

    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// What helps, for requests that read or that may be repeated. The end of a transaction is read by
    /// `outcome::answer` instead.
    pub fn class(self) -> Class {
        match self.0 {
            // Authorisation of topic, group, cluster, transactional id; SASL; delegation tokens.
            29 | 30 | 31 | 33 | 34 | 53 | 58 | 62 | 65 => Class::Denied,
            // A coordinator or a follow-up transaction that is busy; partitions that move; throttling.
            51 | 89 => Class::Retry,
            _ => match ResponseError::try_from_code(self.0) {
                Some(error) if error.is_retriable() => Class::Retry,
                _ => Class::Fatal,
            },
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ResponseError::try_from_code(self.0) {
            None => f.write_str("no error"),
            Some(ResponseError::Unknown(code)) => write!(f, "unknown error code {code}"),
            Some(error) => write!(f, "{error:?} ({})", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request came to nothing, as far as this side knows: the broker may have done it all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the settings of the connection cannot be used: {message}")]
    Settings { message: String },
    #[error("cannot connect to {address}: {message}")]
    Connect { address: String, message: String },
    #[error("{address}: TLS cannot be agreed on: {message}; {fix}")]
    Tls { address: String, message: String, fix: &'static str },
    #[error("{address}: login with {mechanism} was refused: {message}; {fix}")]
    Login { address: String, mechanism: &'static str, message: String, fix: &'static str },
    #[error("{address}: no answer to {request} within {within:?}")]
    Silent { address: String, request: &'static str, within: Duration },
    #[error("{address}: the connection ended during {request}: {message}")]
    Ended { address: String, request: &'static str, message: String },
    #[error("{address}: the answer to {request} is not what Kafka would send: {message}")]
    Malformed { address: String, request: &'static str, message: String },
    #[error("{address}: {request} version {wanted} is not spoken there (offered: {offered}); use Kafka 3.1 or newer")]
    Unsupported { address: String, request: &'static str, wanted: String, offered: String },
    #[error("{request} for {about}: {code}")]
    Refused { request: &'static str, about: String, code: Code },
    #[error("{about}: there is no leader or coordinator for it at the moment")]
    Leaderless { about: String },
}

impl Error {
    pub fn class(&self) -> Class {
        match self {
            Self::Connect { .. } | Self::Silent { .. } | Self::Ended { .. } | Self::Leaderless { .. } => Class::Retry,
            Self::Tls { .. } | Self::Login { .. } => Class::Denied,
            Self::Settings { .. } | Self::Malformed { .. } | Self::Unsupported { .. } => Class::Fatal,
            Self::Refused { code, .. } => code.class(),
        }
    }

    /// What a broker said, if it was a broker that refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_three_classes() {
        let of = |codes: &[i16], class| assert!(codes.iter().all(|code| Code(*code).class() == class), "{codes:?}");
        of(&[5, 6, 7, 14, 15, 16, 51, 74, 75, 89], Class::Retry);
        of(&[29, 30, 31, 53, 58], Class::Denied);
        of(&[-1, 1, 35, 47, 48, 49, 59, 90, 105, 120, 12_345], Class::Fatal);
    }

    #[test]
    fn a_code_is_told_with_its_name() {
        assert_eq!(Code::PRODUCER_FENCED.to_string(), "ProducerFenced (90)");
        assert_eq!(Code(12_345).to_string(), "unknown error code 12345");
    }
}
