//! One connection: opened, secured, logged in, its versions agreed on; then one request at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Request as _, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::{Code, Error};
use super::settings::Sasl;
use super::tls::{Secured, refusal};
use super::wire::{Ask, body, decode, encode};
use super::{sasl, wire};
use crate::clock::{Clock, Random};

/// From the first packet to the end of the login.
const MOST_OPENING: Duration = Duration::from_secs(10);
/// For one request. A broker answers these within milliseconds, or it is in trouble.
const MOST_ANSWER: Duration = Duration::from_secs(30);
/// Room that is set aside before the first byte of an answer has come.
const FIRST_ROOM: usize = 64 << 10;
const UNSUPPORTED_VERSION: Code = Code(35);

/// Levels of features that a cluster has decided on (`transaction.version`, `metadata.version`).
pub type Features = BTreeMap<String, i16>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What opening needs, shared by all connections of a client.
pub(super) struct Opening {
    pub(super) secured: Option<Secured>,
    pub(super) sasl: Option<Sasl>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

/// An open connection. A request that failed or was given up leaves it unusable: drop it.
pub(super) struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    clock: Arc<dyn Clock>,
    correlation: i32,
    /// By API key: lowest and highest version that the broker speaks. Empty until it has told.
    versions: BTreeMap<i16, (i16, i16)>,
    features: Features,
}

impl Connection {
    /// `address`: `host:port`.
    pub(super) async fn open(address: &str, opening: &Opening) -> Result<Self, Error> {
        let opened = Self::open_unbounded(address, opening);
        let message = || format!("not open after {MOST_OPENING:?}");
        let late = || Error::Connect { address: address.to_owned(), message: message() };
        within(&*opening.clock, MOST_OPENING, opened).await.ok_or_else(late)?
    }

    async fn open_unbounded(address: &str, opening: &Opening) -> Result<Self, Error> {
        let failed = |error: &std::io::Error| {
            let message = match error.kind() {
                std::io::ErrorKind::InvalidInput => "it is not of the form host:port".to_owned(),
                _ => error.to_string(),
            };
            Error::Connect { address: address.to_owned(), message }
        };
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let stream: Box<dyn Stream> = match &opening.secured {
            None => Box::new(stream),
            Some(secured) => Box::new(secured.connect(address, stream).await?),
        };
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            clock: Arc::clone(&opening.clock),
            correlation: 0,
            versions: BTreeMap::new(),
            features: Features::new(),
        };
        connection.agree().await?;
        if let Some(sasl) = &opening.sasl {
            sasl::log_in(&mut connection, sasl, nonce(&*opening.random)).await?;
        }
        Ok(connection)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    async fn agree(&mut self) -> Result<(), Error> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(wire::CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let offered = self.call(&request).await.map_err(hint)?;
        let code = Code(offered.error_code);
        if code == UNSUPPORTED_VERSION {
            return Err(self.unsupported::<ApiVersionsRequest>("older ones".to_owned()));
        }
        if !code.is_none() {
            return Err(Error::Refused { request: "ApiVersions", about: self.address.clone(), code });
        }
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        self.versions = offered.api_keys.iter().map(range).collect();
        let level = |feature: &kafka_protocol::messages::api_versions_response::FinalizedFeatureKey| {
            (feature.name.as_str().to_owned(), feature.max_version_level)
        };
        self.features = offered.finalized_features.iter().map(level).collect();
        Ok(())
    }

    fn unsupported<R: Ask>(&self, offered: String) -> Error {
        let (lowest, highest) = R::SPOKEN;
        let wanted = if lowest == highest { lowest.to_string() } else { format!("{lowest} to {highest}") };
        Error::Unsupported { address: self.address.clone(), request: R::NAME, wanted, offered }
    }

    /// The highest version that both speak.
    fn version<R: Ask>(&self) -> Result<i16, Error> {
        let (lowest, highest) = R::SPOKEN;
        if self.versions.is_empty() {
            return Ok(highest);
        }
        let Some((theirs_lowest, theirs_highest)) = self.versions.get(&R::KEY).copied() else {
            return Err(self.unsupported::<R>("none".to_owned()));
        };
        let common = highest.min(theirs_highest);
        if common < lowest.max(theirs_lowest) {
            return Err(self.unsupported::<R>(format!("{theirs_lowest} to {theirs_highest}")));
        }
        Ok(common)
    }

    /// Sends a request and reads its answer.
    pub(super) async fn call<R: Ask>(&mut self, request: &R) -> Result<R::Response, Error> {
        let version = self.version::<R>()?;
        let body = self.exchange(request, version).await?;
        decode::<R>(body, version).map_err(|message| match R::KEY {
            // An answer in the oldest form: the broker does not know the version of the question.
            ApiVersionsRequest::KEY => self.unsupported::<R>("older ones".to_owned()),
            _ => self.malformed::<R>(message),
        })
    }

    /// The answer without its header, not decoded.
    pub(super) async fn call_raw<R: Ask>(&mut self, request: &R) -> Result<Bytes, Error> {
        let version = self.version::<R>()?;
        self.exchange(request, version).await
    }

    pub(super) fn malformed<R: Ask>(&self, message: String) -> Error {
        Error::Malformed { address: self.address.clone(), request: R::NAME, message }
    }

    async fn exchange<R: Ask>(&mut self, request: &R, version: i16) -> Result<Bytes, Error> {
        self.correlation = self.correlation.wrapping_add(1);
        let correlation = self.correlation;
        let frame = encode(request, version, correlation).map_err(|message| self.malformed::<R>(message))?;
        let clock = Arc::clone(&self.clock);
        let exchanged = within(&*clock, MOST_ANSWER, self.send_and_read::<R>(&frame)).await;
        let Some(answer) = exchanged else {
            let address = self.address.clone();
            return Err(Error::Silent { address, request: R::NAME, within: MOST_ANSWER });
        };
        body::<R>(answer?, version, correlation).map_err(|message| self.malformed::<R>(message))
    }

    async fn send_and_read<R: Ask>(&mut self, frame: &[u8]) -> Result<Bytes, Error> {
        let address = self.address.clone();
        let ended = |error: &std::io::Error| {
            let plain = || Error::Ended { address: address.clone(), request: R::NAME, message: error.to_string() };
            refusal(&address, error).unwrap_or_else(plain)
        };
        self.stream.write_all(frame).await.map_err(|error| ended(&error))?;
        self.stream.flush().await.map_err(|error| ended(&error))?;
        let length = self.stream.read_i32().await.map_err(|error| ended(&error))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= R::MOST_BYTES);
        let Some(length) = length else {
            return Err(self.malformed::<R>(format!("its length is not between 0 and {} bytes", R::MOST_BYTES)));
        };
        let mut answer = BytesMut::with_capacity(length.min(FIRST_ROOM));
        let mut rest = (&mut self.stream).take(length as u64);
        while answer.len() < length {
            if rest.read_buf(&mut answer).await.map_err(|error| ended(&error))? == 0 {
                return Err(ended(&std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(answer.freeze())
    }
}

/// The first question is answered by every broker. One that takes it for something else wants another protocol.
fn hint(error: Error) -> Error {
    const HINT: &str = "does this listener want TLS, or none? compare it with `tls` of the connection";
    match error {
        Error::Ended { address, request, message } => {
            Error::Ended { address, request, message: format!("{message}; {HINT}") }
        }
        Error::Malformed { address, request, message } => {
            Error::Malformed { address, request, message: format!("{message}; {HINT}") }
        }
        other => other,
    }
}

/// None: it took longer.
async fn within<T>(clock: &dyn Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (work, late) = (std::pin::pin!(work), clock.sleep(limit));
    match futures::future::select(work, late).await {
        futures::future::Either::Left((done, _)) => Some(done),
        futures::future::Either::Right(_) => None,
    }
}

fn nonce(random: &dyn Random) -> String {
    let mut text = String::with_capacity(32);
    // Writing to a string does not fail.
    let _ = write!(text, "{:032x}", random.u128());
    text
}
