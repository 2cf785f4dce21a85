use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeConfigsRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FetchRequest, FetchResponse, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetForLeaderEpochRequest, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::batches::{answer, batches};
use super::wire::{Ask, body, decode};
use super::*;
use crate::clock::{ManualClock, SeededRandom};
use crate::tasks::spawn;

/// Gives `bytes` to everything that reads from the wire.
fn read_everything(bytes: &Bytes) {
    fn one<R: Ask>(bytes: &Bytes) {
        for version in [R::SPOKEN.0, R::SPOKEN.1] {
            let _ = body::<R>(bytes.clone(), version, 1);
            let _ = decode::<R>(bytes.clone(), version);
        }
    }
    one::<ApiVersionsRequest>(bytes);
    one::<SaslHandshakeRequest>(bytes);
    one::<SaslAuthenticateRequest>(bytes);
    one::<MetadataRequest>(bytes);
    one::<FindCoordinatorRequest>(bytes);
    one::<EndTxnRequest>(bytes);
    one::<InitProducerIdRequest>(bytes);
    one::<DescribeTransactionsRequest>(bytes);
    one::<ListTransactionsRequest>(bytes);
    one::<DescribeProducersRequest>(bytes);
    one::<ListOffsetsRequest>(bytes);
    one::<OffsetForLeaderEpochRequest>(bytes);
    one::<DescribeConfigsRequest>(bytes);
    one::<OffsetCommitRequest>(bytes);
    let _ = answer(bytes);
    let _ = batches(bytes);
}

fn encoded<M: Encodable>(message: &M, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// A batch of one control record or two data records' worth of nothing.
fn batch_bytes(base_offset: i64, producer: i64, marker: Option<i16>) -> Vec<u8> {
    let mut rest = vec![];
    rest.extend(0_i32.to_be_bytes());
    rest.push(2);
    rest.extend(0_u32.to_be_bytes());
    rest.extend((if marker.is_some() { 0x30_i16 } else { 0x10 }).to_be_bytes());
    rest.extend(i32::from(marker.is_none()).to_be_bytes());
    rest.extend([0; 16]);
    rest.extend(producer.to_be_bytes());
    rest.extend(3_i16.to_be_bytes());
    rest.extend([0; 8]);
    if let Some(kind) = marker {
        rest.extend([20, 0, 0, 0, 8]);
        rest.extend(0_i16.to_be_bytes());
        rest.extend(kind.to_be_bytes());
    } else {
        rest.extend([7; 30]);
    }
    let mut bytes = base_offset.to_be_bytes().to_vec();
    bytes.extend((rest.len() as i32).to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn fetched() -> Vec<u8> {
    let records = [batch_bytes(10, 7, None), batch_bytes(12, 7, Some(1))].concat();
    let partition = PartitionData::default()
        .with_partition_index(4)
        .with_high_watermark(20)
        .with_last_stable_offset(13)
        .with_log_start_offset(2)
        .with_aborted_transactions(Some(vec![
            AbortedTransaction::default().with_producer_id(9.into()).with_first_offset(5),
        ]))
        .with_records(Some(records.into()));
    let topic =
        FetchableTopicResponse::default().with_topic_id(uuid::Uuid::from_u128(77)).with_partitions(vec![partition]);
    encoded(&FetchResponse::default().with_responses(vec![topic]), FetchRequest::SPOKEN.1)
}

fn metadata() -> Vec<u8> {
    let partition = MetadataResponsePartition::default().with_replica_nodes(vec![1.into(), 2.into()]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_static_str("orders").into()))
        .with_partitions(vec![partition]);
    let broker = MetadataResponseBroker::default().with_host(StrBytes::from_static_str("b")).with_port(9);
    let answer = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
    encoded(&answer, 12)
}

proptest! {
    #[test]
    fn no_bytes_from_the_wire_end_the_process(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_everything(&bytes.into());
    }

    #[test]
    fn no_damage_to_an_answer_ends_the_process(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        for mut bytes in [fetched(), metadata()] {
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            read_everything(&bytes.into());
        }
    }
}

#[test]
fn lengths_of_more_than_there_is_are_refused_before_memory_is_set_aside() {
    // Metadata: no throttling, then four billion brokers; SaslHandshake: no error, then two billion mechanisms.
    let brokers = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(decode::<MetadataRequest>(brokers, 12).is_err());
    let endless = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(decode::<MetadataRequest>(endless, 12).is_err(), "a fifth byte that promises a sixth");
    let mechanisms = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]);
    assert!(decode::<SaslHandshakeRequest>(mechanisms, 1).is_err());
    assert!(decode::<MetadataRequest>(metadata().into(), 12).is_ok());
}

#[test]
fn an_answer_to_fetch_is_read_as_its_schema_says() {
    let bytes = fetched();
    let found = answer(&bytes).unwrap().partition.unwrap();
    assert_eq!((found.topic_id, found.index, found.code), (77, 4, Code::NONE));
    assert_eq!((found.high_watermark, found.last_stable_offset, found.log_start_offset), (20, 13, 2));
    assert_eq!(found.aborted, [(9, 5)]);
    let heads = batches(found.records);
    assert_eq!(heads.len(), 2);
    assert_eq!((heads[0].base_offset, heads[0].last_offset, heads[0].producer_id), (10, 11, 7));
    assert_eq!((heads[0].producer_epoch, heads[0].is_transactional, heads[0].marker), (3, true, None));
    assert_eq!((heads[1].base_offset, heads[1].marker), (12, Some(Marker::Commit)));
    let cut = &found.records[..found.records.len() - 3];
    assert_eq!(batches(cut)[1].marker, None, "a marker that is cut off says nothing");
}

/// A peer that answers the first request of a connection as a broker would, and then does what the test says.
struct Peer {
    listener: TcpListener,
    settings: Settings,
}

impl Peer {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, settings: Settings { bootstrap_servers: vec![address], ..Settings::default() } }
    }

    fn client(&self, clock: &ManualClock) -> Client {
        let ports = Ports { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(1)) };
        Client::new(&self.settings, ports).unwrap()
    }

    /// A connection whose versions are agreed on, with the next request read from it.
    async fn accept(&self, offered: &[(i16, i16, i16)]) -> TcpStream {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        read_frame(&mut stream).await;
        let api = |(key, low, high): &(i16, i16, i16)| {
            ApiVersion::default().with_api_key(*key).with_min_version(*low).with_max_version(*high)
        };
        let answer = ApiVersionsResponse::default().with_api_keys(offered.iter().map(api).collect());
        write_frame(&mut stream, 1, 0, &encoded(&answer, 3)).await;
        stream
    }
}

async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_i32().await.unwrap();
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn write_frame(stream: &mut TcpStream, correlation: i32, header_version: i16, body: &[u8]) {
    let mut bytes = encoded(&ResponseHeader::default().with_correlation_id(correlation), header_version);
    bytes.extend(body);
    stream.write_i32(bytes.len() as i32).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

const METADATA: &[(i16, i16, i16)] = &[(3, 0, 13)];

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up_and_its_connection_with_it() {
    let (peer, clock) = (Peer::new().await, ManualClock::default());
    let client = peer.client(&clock);
    let asked = spawn("asked", async move { (client.metadata(&[]).await, client.metadata(&[]).await) });
    let mut silent = peer.accept(METADATA).await;
    read_frame(&mut silent).await;
    // Opening is over, so the only one asleep is the limit of this request.
    clock.advance(Duration::from_secs(30));
    let mut stream = peer.accept(METADATA).await;
    read_frame(&mut stream).await;
    write_frame(&mut stream, 2, 1, &metadata()).await;
    let (first, second) = asked.await.unwrap();
    let first = first.unwrap_err();
    assert!(matches!(first, Error::Silent { request: "Metadata", .. }), "{first}");
    assert_eq!(first.class(), Class::Retry);
    assert_eq!(second.unwrap().topics[0].name, "orders");
}

#[tokio::test]
async fn answers_that_no_broker_would_send_are_told_as_such() {
    let (peer, clock) = (Peer::new().await, ManualClock::default());
    let answers: [(i32, Vec<u8>, &str); 3] = [
        (9, metadata(), "it answers request 9, not 2"),
        (2, vec![0; 3], "not what Kafka would send"),
        (2, vec![0xff; 40], "not what Kafka would send"),
    ];
    for (correlation, body, said) in answers {
        let client = peer.client(&clock);
        let asked = spawn("asked", async move { client.metadata(&[]).await });
        let mut stream = peer.accept(METADATA).await;
        read_frame(&mut stream).await;
        write_frame(&mut stream, correlation, 1, &body).await;
        let error = asked.await.unwrap().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.class(), Class::Fatal);
    }
}

#[tokio::test]
async fn a_length_beyond_the_bound_ends_the_connection() {
    let (peer, clock) = (Peer::new().await, ManualClock::default());
    for length in [i32::MAX, -1, (4 << 20) + 1] {
        let client = peer.client(&clock);
        let asked = spawn("asked", async move { client.metadata(&[]).await });
        let mut stream = peer.accept(METADATA).await;
        read_frame(&mut stream).await;
        stream.write_i32(length).await.unwrap();
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_is_too_old_or_too_new_is_refused_with_both_versions() {
    let (peer, clock) = (Peer::new().await, ManualClock::default());
    for (offered, said) in [((3, 0, 11), "offered: 0 to 11"), ((3, 13, 20), "offered: 13 to 20"), ((1, 0, 9), "none")] {
        let client = peer.client(&clock);
        let asked = spawn("asked", async move { client.metadata(&[]).await });
        let _stream = peer.accept(&[offered]).await;
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("version 12 is not spoken"), "{error}");
    }
}

#[tokio::test]
async fn repeating_is_bounded_and_waits_longer_each_time() {
    let clock = ManualClock::default();
    let settings = Settings { bootstrap_servers: vec!["a:1".to_owned()], ..Settings::default() };
    let ports = Ports { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(1)) };
    let client = Client::new(&settings, ports).unwrap();
    let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_millis(300), tries: 4 };
    let mut tried = 0;
    let attempts = client.retried(&backoff, || {
        tried += 1;
        std::future::ready(Err::<(), _>(Error::Leaderless { about: format!("try {tried}") }))
    });
    let mut attempts = std::pin::pin!(attempts);
    for most in [110, 220, 330] {
        assert!(futures::poll!(&mut attempts).is_pending());
        clock.advance(Duration::from_millis(most * 9 / 11 - 1));
        assert!(futures::poll!(&mut attempts).is_pending(), "a tenth less than {most} at least");
        clock.advance(Duration::from_millis(most));
    }
    assert_eq!(attempts.await, Err(Error::Leaderless { about: "try 4".to_owned() }));
    let fatal = || std::future::ready(Err::<(), _>(Error::Settings { message: String::new() }));
    assert!(client.retried(&backoff, fatal).await.is_err());
    assert_eq!(clock.sleepers(), 0, "what does not heal by waiting is not repeated");
}

/// Metadata whose one broker is `peer`.
fn metadata_of(peer: &Peer) -> Vec<u8> {
    let port = peer.listener.local_addr().unwrap().port();
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(port.into());
    encoded(&MetadataResponse::default().with_brokers(vec![broker]), 12)
}

#[tokio::test]
async fn a_list_that_is_refused_is_done_without_where_ids_are_known() {
    use kafka_protocol::messages::describe_transactions_response::TransactionState;
    use kafka_protocol::messages::find_coordinator_response::Coordinator;
    use kafka_protocol::messages::{DescribeTransactionsResponse, FindCoordinatorResponse, TransactionalId};

    use crate::connectors::kafka::outcome::leftovers;

    // Metadata, FindCoordinator, DescribeTransactions; no ListTransactions.
    let offered = [(3, 0, 13), (10, 0, 6), (65, 0, 0)];
    let (peer, clock) = (Peer::new().await, ManualClock::default());
    let client = peer.client(&clock);
    let backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1), tries: 1 };
    let asked = spawn("asked", async move {
        let ids = ["p/1", "p/2"].map(str::to_owned);
        let found = leftovers(&client, &["p/".to_owned()], &ids, &backoff).await;
        (found, leftovers(&client, &["p/".to_owned()], &[], &backoff).await)
    });
    let mut stream = peer.accept(&offered).await;
    read_frame(&mut stream).await;
    write_frame(&mut stream, 2, 1, &metadata_of(&peer)).await;
    // The refusal ends the connection that it was found on.
    let mut stream = peer.accept(&offered).await;
    let question = read_frame(&mut stream).await;
    assert_eq!(question[..4], [0, 10, 0, 4], "both ids in one question for their coordinators");
    let coordinator = |id: &'static str| {
        let key = StrBytes::from_static_str(id);
        Coordinator::default().with_key(key).with_node_id(1.into())
    };
    let answer = FindCoordinatorResponse::default().with_coordinators(vec![coordinator("p/1"), coordinator("p/2")]);
    write_frame(&mut stream, 2, 1, &encoded(&answer, 4)).await;
    read_frame(&mut stream).await;
    let state = |id: &'static str, code: i16| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(StrBytes::from_static_str(id)))
            .with_transaction_state(StrBytes::from_static_str("Ongoing"))
            .with_error_code(code)
    };
    let known = [state("p/1", 0), state("p/2", Code::TRANSACTIONAL_ID_NOT_FOUND.0)];
    let answer = DescribeTransactionsResponse::default().with_transaction_states(known.into());
    write_frame(&mut stream, 3, 1, &encoded(&answer, 0)).await;
    read_frame(&mut stream).await;
    write_frame(&mut stream, 4, 1, &metadata_of(&peer)).await;
    let (found, without) = asked.await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.iter().map(|found| found.transactional_id.as_str()).collect::<Vec<_>>(), ["p/1"]);
    let error = without.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "with no ids something could be missing: {error}");
}
