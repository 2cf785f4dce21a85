//! Frames: a length, a header with a correlation id, a message. The schemas are those of `kafka-protocol`.

use bytes::{Buf, Bytes, BytesMut, TryGetError};
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeConfigsRequest, DescribeProducersRequest, DescribeTransactionsRequest, EndTxnRequest,
    FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, RequestHeader,
    ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Who we say we are.
pub(super) const CLIENT_ID: &str = "onceward";

/// A request that this client makes.
pub(super) trait Ask: Request<Response: Send> + Send + Sync {
    const NAME: &'static str;
    /// Lowest and highest version that we speak.
    const SPOKEN: (i16, i16);
    /// Longest answer. It is read as it comes, not set aside beforehand.
    const MOST_BYTES: usize = 4 << 20;
}

macro_rules! asks {
    ($($request:ident $name:literal $versions:expr;)*) => {
        $(impl Ask for $request {
            const NAME: &'static str = $name;
            const SPOKEN: (i16, i16) = $versions;
        })*
    };
}

asks! {
    ApiVersionsRequest "ApiVersions" (3, 3);
    SaslHandshakeRequest "SaslHandshake" (1, 1);
    SaslAuthenticateRequest "SaslAuthenticate" (1, 2);
    MetadataRequest "Metadata" (12, 12);
    FindCoordinatorRequest "FindCoordinator" (4, 4);
    // Never 5: librdkafka writes by the rules of versions up to 4, and an end by other rules is answered with errors
    // for transactions that are committed; where `transaction.version` is 0 it even wedges the id.
    EndTxnRequest "EndTxn" (3, 3);
    InitProducerIdRequest "InitProducerId" (4, 4);
    DescribeTransactionsRequest "DescribeTransactions" (0, 0);
    ListTransactionsRequest "ListTransactions" (0, 0);
    DescribeProducersRequest "DescribeProducers" (0, 0);
    WriteTxnMarkersRequest "WriteTxnMarkers" (1, 1);
    ListOffsetsRequest "ListOffsets" (7, 7);
    OffsetForLeaderEpochRequest "OffsetForLeaderEpoch" (4, 4);
    DescribeConfigsRequest "DescribeConfigs" (4, 4);
    OffsetCommitRequest "OffsetCommit" (8, 8);
    OffsetFetchRequest "OffsetFetch" (8, 8);
}

impl Ask for FetchRequest {
    const NAME: &'static str = "Fetch";
    /// From 13 on topics go by id, so that a topic of the same name is not taken for the one that was deleted.
    const SPOKEN: (i16, i16) = (13, 13);
    /// A broker sends at least one whole batch, however small the limit; this is its own default bound of one.
    const MOST_BYTES: usize = 100 << 20;
}

/// The whole frame, length included.
///
/// # Errors
/// A field does not fit the version, in words.
pub(super) fn encode<R: Ask>(request: &R, version: i16, correlation: i32) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut frame = BytesMut::zeroed(4);
    header.encode(&mut frame, R::header_version(version)).map_err(|error| error.to_string())?;
    request.encode(&mut frame, version).map_err(|error| error.to_string())?;
    let length = i32::try_from(frame.len().saturating_sub(4)).map_err(|_| "longer than 2 GiB".to_owned())?;
    if let Some(place) = frame.get_mut(..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(frame)
}

/// What is left of an answer after its header. `frame`: without the length.
///
/// # Errors
/// It is too short, or the answer to something else.
pub(super) fn body<R: Ask>(frame: Bytes, version: i16, correlation: i32) -> Result<Bytes, String> {
    let mut bounded = Bounded::new(frame, false);
    let header = ResponseHeader::decode(&mut bounded, R::Response::header_version(version));
    let header = header.map_err(|error| error.to_string())?;
    if header.correlation_id != correlation {
        return Err(format!("it answers request {}, not {correlation}", header.correlation_id));
    }
    Ok(bounded.bytes)
}

/// A decoded answer.
///
/// # Errors
/// It is no such message, in words.
pub(super) fn decode<R: Ask>(body: Bytes, version: i16) -> Result<R::Response, String> {
    // Before Kafka's flexible versions every 32-bit integer of the two messages that we still need was an array's length.
    let mut bounded = Bounded::new(body, R::header_version(version) < 2);
    R::Response::decode(&mut bounded, version).map_err(|error| error.to_string())
}

/// A buffer that refuses lengths of more items than it has bytes left. Decoders set memory aside for as many items as
/// a length says: without this a broken frame could ask for hundreds of gigabytes, which ends the process.
struct Bounded {
    bytes: Bytes,
    /// Lengths are 32-bit integers instead of variable ones.
    is_classic: bool,
    /// What was read of a variable integer so far, and how many bits.
    value: u64,
    bits: u32,
}

impl Bounded {
    fn new(bytes: Bytes, is_classic: bool) -> Self {
        Self { bytes, is_classic, value: 0, bits: 0 }
    }

    fn too_long(&self, requested: u64) -> TryGetError {
        TryGetError { requested: requested as usize, available: self.bytes.len() }
    }
}

impl Buf for Bounded {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
    }

    /// Single bytes are read for booleans and for variable integers only, which are lengths (plus one) and tags.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        // The fifth byte is the last one, also where it says that another follows.
        if byte < 0x80 || self.bits == 35 {
            let value = std::mem::take(&mut self.value);
            self.bits = 0;
            if value > self.bytes.len() as u64 + 1 {
                return Err(self.too_long(value));
            }
        }
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.bytes.try_get_i32()?;
        if self.is_classic && i64::from(value) > self.bytes.len() as i64 {
            return Err(self.too_long(u64::from(value.unsigned_abs())));
        }
        Ok(value)
    }
}

impl ByteBuf for Bounded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        let end = range.end.min(self.bytes.len());
        self.bytes.slice(range.start.min(end)..end)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.split_to(size.min(self.bytes.len()))
    }
}
