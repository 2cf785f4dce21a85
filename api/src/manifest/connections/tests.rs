use proptest::prelude::*;

use crate::manifest::{Manifest, Report, read};
use crate::pipeline::{Bound, Encoder, Guarantee, Pipeline, RecordPart, SaslMechanism, StartPosition};

/// Everything that Kafka adds to a manifest.
const KAFKA: &str = r#"apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {name: revenue}
spec:
  connections:
  - name: main
    kafka:
      bootstrapServers: ["broker:9093", "[::1]:9093"]
      tls: {ca: {secret: kafka-ca, key: ca.crt}, certificate: {secret: kafka-client, key: tls.crt}, privateKey: {secret: kafka-client, key: tls.key}}
      sasl: {mechanism: SCRAM-SHA-512, username: {secret: kafka-user, key: username}, password: {secret: kafka-user, key: password}}
      transactionalIdPrefix: onceward
      properties: {linger.ms: 20, compression.type: lz4, socket.keepalive.enable: true}
  sources:
  - name: orders
    kafka: {connection: main, topics: [orders], startFrom: Earliest, until: Latest, groupId: revenue}
    columns: [{name: cents, type: BIGINT}, {name: customer, type: BIGINT}]
    metadata: [{column: k, from: key}, {column: at, from: timestamp}]
    eventTime: {column: at}
  - name: bytes
    kafka: {connection: main, topics: [a, b.c], startFrom: "2026-01-01T00:00:00Z", untilOffsets: [{topic: a, partition: 0, offset: 42}, {topic: a, partition: 1, offset: 42}]}
    format: {raw: {}}
    columns: [{name: value, type: VARBINARY}]
  transforms:
  - name: per_customer
    sql: SELECT customer, SUM(cents) AS total FROM TUMBLE(orders, at, INTERVAL '1 minute') GROUP BY customer
  sinks:
  - {name: out, input: per_customer, kafka: {connection: main, topic: revenue, key: [customer], transactionTimeout: 15m, commitBudget: 3m}, format: {json: {}}, guarantee: ExactlyOnce}
  - {name: copy, input: bytes, kafka: {connection: main, topic: copies}, format: {raw: {}}, guarantee: AtLeastOnce}
  checkpoint: {interval: 10s, timeout: 2m, storage: {local: {path: state}}}
"#;

fn report(text: &str) -> Report {
    read("p.yaml", text.as_bytes(), &[])
}

fn lines(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

fn accepted(text: &str) -> Manifest {
    let report = report(text);
    assert!(report.findings.is_empty(), "{:#?}", lines(&report));
    report.manifest.unwrap()
}

/// What is said of [`KAFKA`] after one replacement.
fn said_of(from: &str, to: &str) -> Vec<String> {
    assert!(KAFKA.contains(from), "{from}");
    lines(&report(&KAFKA.replacen(from, to, 1)))
}

#[test]
fn everything_about_kafka_is_accepted() {
    let spec = accepted(KAFKA).pipeline.spec;
    let kafka = &spec.connections[0].kafka;
    assert_eq!(kafka.sasl.as_ref().unwrap().mechanism, SaslMechanism::ScramSha512);
    assert_eq!(kafka.tls.as_ref().unwrap().private_key.as_ref().unwrap().key, "tls.key");
    assert_eq!(kafka.properties.linger_ms, Some(20));
    let (orders, bytes) = (spec.sources[0].kafka.as_ref().unwrap(), spec.sources[1].kafka.as_ref().unwrap());
    assert_eq!((&orders.start_from, orders.bound()), (&StartPosition::Earliest, Bound::Latest));
    assert_eq!((orders.group("p", "n"), bytes.group("p", "n")), ("revenue".to_owned(), "p-n".to_owned()));
    assert_eq!(spec.sources[0].metadata[1].from, RecordPart::Timestamp);
    let columns: Vec<_> =
        spec.sources[0].all_columns().iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
    assert_eq!(columns, ["cents BIGINT", "customer BIGINT", "k VARBINARY", "at TIMESTAMP"]);
    let StartPosition::Moment(moment) = &bytes.start_from else { panic!("a moment") };
    assert_eq!(moment.millis(), 1_767_225_600_000);
    assert!(matches!(bytes.bound(), Bound::Offsets([first, _]) if first.offset == 42));
    assert_eq!((spec.sinks[0].encoder(), spec.sinks[1].encoder()), (Encoder::Json, Encoder::Raw));
    assert_eq!(spec.sinks[1].guarantee, Guarantee::AtLeastOnce);
}

#[test]
fn what_is_left_out_has_defaults() {
    let text = KAFKA
        .replace("      transactionalIdPrefix: onceward\n", "")
        .replace("      properties: {linger.ms: 20, compression.type: lz4, socket.keepalive.enable: true}\n", "")
        .replace(", startFrom: Earliest, until: Latest, groupId: revenue", "");
    let spec = accepted(&text).pipeline.spec;
    assert_eq!(spec.connections[0].kafka.transactional_id_prefix, "onceward");
    assert!(spec.connections[0].kafka.properties.is_empty());
    let orders = spec.sources[0].kafka.as_ref().unwrap();
    assert_eq!((&orders.start_from, orders.bound()), (&StartPosition::Earliest, Bound::Unbounded));
}

/// Each replacement in [`KAFKA`] meets at most two faults, one of which says `said`.
fn each_names_what_to_write(replacements: &[(&str, &str, &str)]) {
    for (from, to, said) in replacements {
        let said_here = said_of(from, to);
        assert!(said_here.iter().any(|line| line.contains(said)), "{to}: wanted {said}, got {said_here:#?}");
        let faults: Vec<_> = said_here.iter().filter(|line| !line.contains("warning:")).collect();
        assert!((1..=2).contains(&faults.len()), "{to}: {said_here:#?}");
    }
}

#[test]
fn fault_of_a_connection_names_what_to_write() {
    each_names_what_to_write(&[
        (
            "connection: main, topics: [orders]",
            "connection: mian, topics: [orders]",
            "no connection `mian`; did you mean `main`?",
        ),
        ("connection: main, topic: rev", "connection: other, topic: rev", "no connection `other`; write one of: main"),
        ("linger.ms: 20", "linger_ms: 20", "did you mean `linger.ms`?"),
        ("linger.ms: 20", "enable.idempotence: \"false\"", "unknown field `enable.idempotence`"),
        ("linger.ms: 20", "linger.ms: \"20\"", "remove the quotes"),
        ("linger.ms: 20", "linger.ms: 90000", "write 0 to 60000"),
        ("lz4", "lz5", "write lz4"),
        ("SCRAM-SHA-512", "scram-sha-512", "write SCRAM-SHA-512"),
        ("SCRAM-SHA-512", "GSSAPI", "write one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        (", privateKey: {secret: kafka-client, key: tls.key}", "", "add privateKey"),
        (", certificate: {secret: kafka-client, key: tls.crt}", "", "add certificate"),
        ("tls: {ca: {secret: kafka-ca, key: ca.crt}, ", "tls: {", "`ca` is missing"),
        ("secret: kafka-ca", "secret: Kafka_CA", "write kafka-ca"),
        ("key: ca.crt", "key: ../ca.crt", "cannot be a secret's key"),
        ("key: ca.crt", "key: ..", "cannot be a secret's key"),
        ("secret: kafka-ca", "secret: ../etc", "cannot be a secret's name"),
        ("broker:9093", "broker", "is not host:port; write it as broker:9092"),
        ("broker:9093", "broker:65536", "is not host:port"),
        ("broker:9093", "[::1]:9093", "stands twice"),
        ("transactionalIdPrefix: onceward", "transactionalIdPrefix: a/b", "other characters than letters, digits"),
    ]);
}

#[test]
fn fault_of_a_source_or_sink_names_what_to_write() {
    each_names_what_to_write(&[
        ("topics: [orders]", "topics: [..]", "cannot be a topic's name"),
        ("topics: [orders]", "topics: [orders, orders]", "stands twice"),
        ("topics: [orders]", "topics: orders", "must be a list"),
        ("startFrom: Earliest", "startFrom: earliest", "write Earliest"),
        ("startFrom: Earliest", "startFrom: Now", "write Earliest, Latest, CommittedOffsets, or a moment"),
        (
            "startFrom: Earliest",
            "startFrom: {timestamp: \"2026-01-01T00:00:00Z\"}",
            "write the moment itself: \"2026-01-01T00:00:00Z\"",
        ),
        ("startFrom: Earliest", "startFrom: 2026-02-30T00:00:00Z", "is no day of the calendar"),
        ("startFrom: Earliest", "startFrom: 1969-01-01T00:00:00Z", "lies before 1970"),
        ("until: Latest", "until: {offsets: []}", "write untilOffsets in its place"),
        ("until: Latest", "until: Earliest", "write Latest"),
        (
            "until: Latest",
            "until: Latest, untilOffsets: [{topic: orders, partition: 0, offset: 1}]",
            "at most one of until, untilOffsets",
        ),
        (
            "{topic: a, partition: 1, offset: 42}",
            "{topic: b, partition: 1, offset: 42}",
            "`b` is none of the topics that are read",
        ),
        ("{topic: a, partition: 1, offset: 42}", "{topic: a, partition: 0, offset: 43}", "`a 0` stands twice"),
        ("column: k,", "column: cents,", "`cents` is the name of one of columns, too; rename"),
        ("column: k,", "column: at,", "`at` stands twice"),
        ("from: key", "from: value", "write one of key, partition, offset, timestamp, headers"),
        ("from: timestamp", "from: offset", "name of a column of type TIMESTAMP"),
        ("{name: value, type: VARBINARY}", "{name: value, type: VARCHAR}", "exactly one column, of type VARBINARY"),
        (
            "{name: value, type: VARBINARY}",
            "{name: value, type: VARBINARY}, {name: x, type: INT}",
            "exactly one column",
        ),
        ("format: {raw: {}}\n", "format: {csv: {}}\n", "set json or raw"),
        ("kafka: {connection: main, topic: copies}", "files: {path: out}", "write json for files"),
        ("kafka: {connection: main, topic: copies}, format: {raw: {}}", "files: {path: out}", "remove guarantee"),
        ("guarantee: ExactlyOnce", "guarantee: AtLeastOnce", "remove transactionTimeout and commitBudget"),
        (
            "kafka: {connection: main, topic: copies}",
            "kafka: {connection: main, topic: copies}, discard: {}",
            "set exactly one of",
        ),
    ]);
}

#[test]
fn connection_and_transaction_faults_stand_at_their_fields_once() {
    assert_eq!(
        said_of("transactionTimeout: 15m", "transactionTimeout: 11m"),
        [
            "p.yaml:27:117: spec.sinks[0].kafka.transactionTimeout: 11m is not longer than 4 * (10s + 2m) + 3m = 11m40s: 4 checkpoints may pass \
             before one decides the transaction, then the commit needs its budget; write more than 11m40s, or shorten checkpoint.timeout, \
             checkpoint.interval or checkpoint.tolerableFailedCheckpoints"
        ]
    );
    assert_eq!(
        said_of("connection: main, topics: [orders]", "connection: mian, topics: [orders]"),
        ["p.yaml:15:25: spec.sources[0].kafka.connection: there is no connection `mian`; did you mean `main`?"]
    );
}

/// The rule of the schema and the message with the numbers agree at the border.
#[test]
fn transaction_must_be_longer_than_what_it_waits_for() {
    // Without a budget a quarter is kept: 4 * 130 s = 520 s is three quarters of 693.3 s.
    for (settings, fits) in [
        ("transactionTimeout: 700001ms, commitBudget: 3m", false),
        ("transactionTimeout: 11m40s, commitBudget: 3m", false),
        ("transactionTimeout: 11m40s1ms, commitBudget: 3m", true),
        ("transactionTimeout: 693s", false),
        ("transactionTimeout: 693s334ms", true),
        ("transactionTimeout: 2m", false),
        ("transactionTimeout: 11m, commitBudget: 12m", false),
    ] {
        let said = said_of("transactionTimeout: 15m, commitBudget: 3m", settings);
        assert_eq!(said.is_empty(), fits, "{settings}: {said:#?}");
    }
}

#[test]
fn doubtful_connections_are_warned_of() {
    let plain = KAFKA.replace("      tls: {ca: {secret: kafka-ca, key: ca.crt}, certificate: {secret: kafka-client, key: tls.crt}, privateKey: {secret: kafka-client, key: tls.key}}\n", "");
    let said = lines(&report(&plain));
    assert!(
        said.len() == 1 && said[0].starts_with("p.yaml:9:13: warning: spec.connections[0].kafka.sasl: whoever listens"),
        "{said:#?}"
    );
    let said = lines(&report(&plain.replace("SCRAM-SHA-512", "PLAIN")));
    assert!(
        said.len() == 1 && said[0].ends_with("the password crosses the network in plaintext; set tls"),
        "{said:#?}"
    );
    let said = said_of("  sources:\n", "  - name: other\n    kafka: {bootstrapServers: [\"b:1\"]}\n  sources:\n");
    assert_eq!(
        said,
        [
            "p.yaml:13:5: warning: spec.connections[1]: no source or sink uses the connection `other`; name it in one, or remove it"
        ]
    );
}

#[test]
fn kafka_needs_a_connection() {
    let at = KAFKA.find("  connections:").unwrap();
    let end = KAFKA.find("  sources:").unwrap();
    let said = lines(&report(&format!("{}{}", &KAFKA[..at], &KAFKA[end..])));
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(
        said.iter().all(|line| line.ends_with("there is no connection `main`; add it to spec.connections")),
        "{said:#?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Cut, doubled or changed somewhere, nothing panics; what is accepted survives a round through JSON.
    #[test]
    fn no_mutated_manifest_makes_reading_panic(
        at in 0..KAFKA.len(), length in 0..60_usize, with in "[-a-zA-Z0-9:{}\\[\\],&*!|>'\". \n]{0,20}",
    ) {
        let end = (at + length).min(KAFKA.len());
        let text = format!("{}{with}{}", KAFKA.get(..at).unwrap_or_default(), KAFKA.get(end..).unwrap_or_default());
        let report = report(&text);
        if let Some(manifest) = report.manifest {
            let json = serde_json::to_value(&manifest.pipeline).unwrap();
            prop_assert_eq!(serde_json::from_value::<Pipeline>(json).unwrap(), manifest.pipeline);
        } else {
            prop_assert!(!report.findings.is_empty());
        }
    }

    /// Whatever the figures: the rule that an API server runs and the check that tells the numbers say the same.
    #[test]
    fn admission_is_the_rule_of_the_design(
        timeout in 1_000_u64..2_000_000, interval in 10_u64..100_000, checkpoint in 100_u64..200_000, failures in 0_u64..6, budget in proptest::option::of(1_u64..500_000),
    ) {
        let (seconds, millis) = (timeout / 1000, timeout % 1000);
        let ms = |ms: u64| format!("{}s{}ms", ms / 1000, ms % 1000);
        let kept = budget.map_or_else(String::new, |budget| format!(", commitBudget: {}", ms(budget)));
        let text = KAFKA
            .replace("transactionTimeout: 15m, commitBudget: 3m", &format!("transactionTimeout: {seconds}s{millis}ms{kept}"))
            .replace("interval: 10s, timeout: 2m", &format!("interval: {}, timeout: {}, tolerableFailedCheckpoints: {failures}", ms(interval), ms(checkpoint)));
        let waits = (failures + 1) * (interval + checkpoint);
        let fits = match budget {
            Some(budget) => timeout > waits + budget,
            None => 3 * timeout > 4 * waits,
        };
        let said = lines(&report(&text));
        let faults = said.iter().filter(|line| !line.contains("warning")).count();
        prop_assert_eq!(faults, usize::from(!fits), "{:#?}", said);
    }
}
