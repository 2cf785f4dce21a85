//! From answers to rows, with positions that a checkpoint may take anywhere.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::cast::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use super::super::feed::PartitionFeed;
use super::super::inbox::{Cursor, Inbox, Place};
use super::super::position::Position;
use super::super::{KafkaSource, place_of};
use super::*;
use crate::clock::{SystemClock, SystemRandom};
use crate::connectors::kafka::Cluster;
use crate::connectors::kafka::client::{Client, Ports, Settings};
use crate::connectors::reader::{Fed, Feed};
use crate::connectors::{SourceConnector as _, SourceError};

fn source(format: &Value, columns: &Value, metadata: &Value, wanted: &[&str]) -> KafkaSource {
    let spec: api::pipeline::Source = serde_json::from_value(json!({
        "name": "orders", "kafka": { "connection": "main", "topics": ["t"] }, "format": format, "columns": columns, "metadata": metadata,
    }))
    .unwrap();
    let settings = Settings { bootstrap_servers: vec!["nowhere:1".to_owned()], ..Settings::default() };
    let ports = Ports { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
    let cluster = Cluster {
        client: Client::new(&settings, ports).unwrap(),
        settings,
        transactional_id_prefix: "p".to_owned(),
        properties: api::pipeline::KafkaProperties::default(),
    };
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    KafkaSource::new(&spec, spec.kafka.as_ref().unwrap(), &cluster, "pipeline", &wanted, None).unwrap()
}

fn texts() -> KafkaSource {
    source(&json!({ "raw": {} }), &json!([{ "name": "v", "type": "VARBINARY" }]), &json!([]), &["v"])
}

fn numbers(on_error: &str) -> KafkaSource {
    let format = json!({ "json": { "onError": on_error } });
    source(&format, &json!([{ "name": "n", "type": "BIGINT" }]), &json!([]), &["n"])
}

fn opened(source: &KafkaSource, next: i64, until: Option<i64>) -> (Arc<Inbox>, PartitionFeed) {
    let position = Position { topic: "t".to_owned(), topic_id: TOPIC, partition: 0, next, leader_epoch: None, until };
    let (place, cursor) = place_of(&position);
    let inbox = Inbox::new(place, cursor, until, 1 << 20, tokio::sync::watch::Sender::new(()));
    let inbox = Arc::new(inbox);
    let feed = source.what.feed(position, Arc::clone(&inbox));
    (inbox, feed)
}

fn poll(feed: &mut PartitionFeed) -> Option<RecordBatch> {
    match feed.poll(Duration::ZERO).unwrap() {
        Fed::Rows(rows) => Some(rows),
        Fed::Wait(_) | Fed::End => None,
    }
}

fn position(feed: &PartitionFeed) -> (i64, Option<i32>) {
    let position = Position::decode("s", &feed.position()).unwrap();
    (position.next, position.leader_epoch)
}

fn values(rows: &RecordBatch) -> Vec<Option<String>> {
    let column = rows.column(0).as_binary::<i32>();
    column.iter().map(|value| value.map(|value| String::from_utf8(value.to_vec()).unwrap())).collect()
}

fn valued(offset: i64, value: &str) -> Record {
    Record { value: Some(Bytes::from(value.to_owned())), ..record(offset) }
}

#[test]
fn positions_stand_behind_each_row() {
    let (inbox, mut feed) = opened(&texts(), 0, None);
    inbox.push(answered(joined(&[plain(&[record(0), record(1)]), plain(&[record(4)])]), 9), true, 0).unwrap();
    let rows = poll(&mut feed).unwrap();
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(position(&feed), (0, None));
    for (delivered, next) in [(1, 1), (2, 2), (3, 5)] {
        feed.deliver(delivered);
        assert_eq!(position(&feed), (next, Some(3)));
    }
    assert_eq!(feed.place(1, 3), "topic `t` partition 0 offsets 1 to 4");
    assert_eq!(feed.lag().unwrap().records, 4);
    assert!(matches!(feed.poll(Duration::ZERO), Ok(Fed::Wait(_))));
    assert!(!feed.may_idle(), "the log goes further than what came");
}

#[test]
fn reading_goes_on_inside_a_batch() {
    let (inbox, mut feed) = opened(&texts(), 2, None);
    inbox.push(answered(plain(&(0..4).map(record).collect::<Vec<_>>()), 4), true, 0).unwrap();
    assert_eq!(values(&poll(&mut feed).unwrap()), [Some("v2".to_owned()), Some("v3".to_owned())]);
    assert_eq!(inbox.cursor(), Cursor { next: 4, leader_epoch: 3 });
}

#[test]
fn reading_ends_at_its_end_whatever_stands_there() {
    let aborted = joined(&[plain(&[record(0)]), plain(&written(1, 1..3)), plain(&marker(1, 3, false))]);
    let beyond = plain(&(0..9).map(record).collect::<Vec<_>>());
    let behind = joined(&[plain(&[record(0)]), plain(&[record(7)])]);
    for (records, rows) in [(aborted, 1), (beyond, 4), (behind, 1)] {
        let (inbox, mut feed) = opened(&texts(), 0, Some(4));
        let answered = Answered { aborted: vec![(1, 1)], ..answered(records, 9) };
        inbox.push(answered, true, 0).unwrap();
        assert!(inbox.is_over(), "nothing more is fetched");
        let mut read = 0;
        while let Some(batch) = poll(&mut feed) {
            read += batch.num_rows();
            feed.deliver(batch.num_rows());
        }
        assert_eq!((read, position(&feed).0), (rows, 4));
        assert!(matches!(feed.poll(Duration::ZERO), Ok(Fed::End)));
        assert_eq!(feed.lag().unwrap().records, 0);
    }
}

#[test]
fn offsets_that_compaction_took_away_do_not_hold_up_an_end() {
    let empty = || answered(Bytes::new(), 9);
    let (inbox, mut feed) = opened(&texts(), 2, Some(6));
    for _ in 0..2 {
        inbox.push(empty(), true, 0).unwrap();
    }
    // An answer that gave its bytes to others says nothing.
    inbox.push(empty(), false, 0).unwrap();
    for _ in 0..2 {
        inbox.push(empty(), true, 0).unwrap();
        assert!(!inbox.is_over());
    }
    inbox.push(empty(), true, 0).unwrap();
    assert!(inbox.is_over());
    assert_eq!(poll(&mut feed).unwrap().num_rows(), 0);
    feed.deliver(0);
    assert_eq!(position(&feed).0, 6);
    let (inbox, mut feed) = opened(&texts(), 2, None);
    for _ in 0..20 {
        inbox.push(empty(), true, 0).unwrap();
    }
    assert!(poll(&mut feed).is_none());
    assert_eq!(inbox.cursor().next, 2, "who reads without end waits");
}

#[test]
fn tombstones_are_null_where_raw_and_faults_where_json() {
    let log = || plain(&[valued(0, "{\"n\":1}"), Record { value: None, ..record(1) }, valued(2, "{\"n\":3}")]);
    let (inbox, mut feed) = opened(&texts(), 0, None);
    inbox.push(answered(log(), 3), true, 0).unwrap();
    assert_eq!(values(&poll(&mut feed).unwrap())[1], None);
    let (inbox, mut feed) = opened(&numbers("Skip"), 0, None);
    inbox.push(answered(log(), 3), true, 0).unwrap();
    let rows = poll(&mut feed).unwrap();
    assert_eq!((rows.column(0).as_primitive::<Int64Type>().values().to_vec(), feed.decode_errors()), (vec![1, 3], 1));
    let (inbox, mut feed) = opened(&numbers("Fail"), 0, None);
    inbox.push(answered(log(), 3), true, 0).unwrap();
    let error = feed.poll(Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("topic `t` partition 0 offset 1 (byte 0)") && error.contains("tombstone"), "{error}");
    assert!(error.contains("onError: Skip"), "{error}");
}

#[test]
fn a_bad_record_is_named_and_a_skipped_one_at_the_end_is_passed() {
    let log = || plain(&[valued(5, "{\"n\":1}"), valued(6, "{\"n\": \"x\"}")]);
    let (inbox, mut feed) = opened(&numbers("Fail"), 5, None);
    inbox.push(answered(log(), 7), true, 0).unwrap();
    let error = feed.poll(Duration::ZERO).unwrap_err();
    assert!(matches!(error, SourceError::Malformed { .. }));
    assert!(error.to_string().contains("topic `t` partition 0 offset 6 (byte 6), column `n`"), "{error}");
    let (inbox, mut feed) = opened(&numbers("Skip"), 5, None);
    inbox.push(answered(log(), 7), true, 0).unwrap();
    assert_eq!(poll(&mut feed).unwrap().num_rows(), 1);
    feed.deliver(1);
    assert_eq!(position(&feed).0, 7, "the skipped record is behind as well");
}

#[test]
fn metadata_are_columns_of_their_own() {
    let metadata = json!([
        { "column": "k", "from": "key" }, { "column": "p", "from": "partition" }, { "column": "o", "from": "offset" },
        { "column": "at", "from": "timestamp" }, { "column": "h", "from": "headers" },
    ]);
    // A field of the value that is called as a metadata column is not mixed up with it.
    let columns = json!([{ "name": "n", "type": "BIGINT" }]);
    let source = source(&json!({ "json": {} }), &columns, &metadata, &["h", "n", "k", "p", "o", "at"]);
    assert_eq!(source.schema().field(0).name(), "h");
    let (inbox, mut feed) = opened(&source, 0, None);
    let mut full = Record { key: Some(Bytes::from_static(b"\xff1")), ..valued(8, "{\"n\":1,\"o\":99}") };
    full.headers.insert("a\"b".to_owned().into(), Some(Bytes::from_static(b"x")));
    full.headers.insert("c".to_owned().into(), None);
    full.headers.insert("d".to_owned().into(), Some(Bytes::from_static(b"\xff\0")));
    let bare = Record { timestamp: -1, ..valued(9, "{}") };
    inbox.push(answered(joined(&[plain(&[full]), plain(&[bare])]), 10), true, 0).unwrap();
    let rows = poll(&mut feed).unwrap();
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let headers = column("h").as_string::<i32>();
    assert_eq!(
        headers.value(0),
        r#"[{"name":"a\"b","value":"x"},{"name":"c","value":null},{"name":"d","hex":"ff00"}]"#
    );
    assert_eq!(headers.value(1), "[]");
    assert_eq!(column("k").as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"\xff1"[..]), None]);
    assert_eq!(column("p").as_primitive::<Int32Type>().values().to_vec(), [0, 0]);
    assert_eq!(column("o").as_primitive::<Int64Type>().values().to_vec(), [8, 9]);
    let at = column("at").as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.iter().collect::<Vec<_>>(), [Some(1_008_000), None]);
}

#[test]
fn headers_of_one_name_are_all_kept() {
    // By hand, for the encoder keeps one of a name: key and value absent, two headers `a`.
    let body = [0, 0, 0, 1, 1, 4, 2, b'a', 2, b'1', 2, b'a', 2, b'2'];
    let mut batch = plain(&[record(0)])[..61].to_vec();
    batch.push((body.len() * 2) as u8);
    batch.extend_from_slice(&body);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let metadata = json!([{ "column": "h", "from": "headers" }]);
    let columns = json!([{ "name": "v", "type": "VARBINARY" }]);
    let (inbox, mut feed) = opened(&source(&json!({ "raw": {} }), &columns, &metadata, &["h"]), 0, None);
    inbox.push(answered(with_checksum(&batch), 1), true, 0).unwrap();
    let rows = poll(&mut feed).unwrap();
    let expected = r#"[{"name":"a","value":"1"},{"name":"a","value":"2"}]"#;
    assert_eq!(rows.column(0).as_string::<i32>().value(0), expected);
}

#[test]
fn what_fills_its_room_is_left_out_until_it_is_read() {
    let room = tokio::sync::watch::Sender::new(());
    let mut told = room.subscribe();
    let place = Place { topic: "t".to_owned(), id: TOPIC, partition: 0 };
    let inbox = Inbox::new(place, Cursor { next: 0, leader_epoch: -1 }, None, 100, room);
    let first = inbox.wanted(5, 10).unwrap();
    assert_eq!((first.offset, first.leader_epoch, first.last_epoch, first.most_bytes), (0, 5, -1, 10));
    inbox.push(answered(plain(&(0..50).map(record).collect::<Vec<_>>()), 60), true, 0).unwrap();
    assert_eq!(inbox.wanted(5, 10), None);
    assert!(!told.has_changed().unwrap());
    inbox.pop().unwrap();
    assert!(told.has_changed().unwrap());
    told.mark_unchanged();
    assert_eq!((inbox.wanted(5, 10).unwrap().offset, inbox.wanted(5, 10).unwrap().last_epoch), (50, 3));
    assert!(!inbox.is_caught_up());
    inbox.push(answered(Bytes::new(), 50), true, 0).unwrap();
    assert!(inbox.is_caught_up());
    inbox.count_failure();
    assert!(!inbox.is_caught_up(), "who does not answer has not said that there is nothing");
}
