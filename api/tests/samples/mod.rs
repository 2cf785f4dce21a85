//! A manifest that every rule accepts, and for every rule a change that it alone refuses. The API server's tests judge
//! the same samples.

use serde_json::{Value, json};

/// Accepted by every rule.
pub(crate) fn accepted() -> Value {
    json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": "p" },
        "spec": {
            "sources": [
                { "name": "a", "files": { "path": "a" }, "columns": [{ "name": "ts", "type": "TIMESTAMP" }] },
                {
                    "name": "k", "kafka": { "connection": "main", "topics": ["x"] }, "format": { "raw": {} },
                    "columns": [{ "name": "v", "type": "VARBINARY" }], "metadata": [{ "column": "at", "from": "timestamp" }],
                    "eventTime": { "column": "at" },
                },
                { "name": "b", "generator": {}, "columns": [{ "name": "n", "type": "INT", "generate": { "choice": [1] } }] },
            ],
            "transforms": [{ "name": "t", "sql": "SELECT ts FROM a" }, { "name": "u", "sql": "SELECT ts FROM t" }],
            "sinks": [
                { "name": "s", "input": "t", "files": { "path": "o" } },
                { "name": "d", "input": "b", "discard": {} },
                { "name": "o", "input": "k", "kafka": { "connection": "main", "topic": "y", "transactionTimeout": "15m" } },
            ],
            "connections": [{ "name": "main", "kafka": {
                "bootstrapServers": ["broker:9093"],
                "tls": { "ca": { "secret": "a", "key": "b" }, "certificate": { "secret": "a", "key": "c" }, "privateKey": { "secret": "a", "key": "d" } },
            } }],
            "checkpoint": { "storage": { "local": { "path": "c" } } },
        }
    })
}

/// A change to [`accepted`] as pointer and value, and the beginning of the one refusal that it must meet.
pub(crate) fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let delays = |field: &str, value: &str| json!({ "exponentialDelay": { field: value } });
    vec![
        ("/metadata/name", json!("x".repeat(53)), ": metadata.name must have at most 52"),
        ("/spec/parallelism", json!(129), "spec.parallelism: parallelism must not exceed"),
        (
            "/spec/transforms/1",
            json!({ "name": "a", "sql": "SELECT 1" }),
            "spec.transforms: a transform has the name of a source",
        ),
        ("/spec/sinks/0/input", json!("x"), "spec.sinks: a sink's input names nothing"),
        ("/spec/sources/0/generator", json!({}), "spec.sources[0]: set exactly one of files, kafka, generator"),
        ("/spec/sources/2/format", json!({}), "spec.sources[2].format: a generator makes rows"),
        ("/spec/sources/2/columns/0", json!({ "name": "n", "type": "INT" }), "spec.sources[2].columns: with generator"),
        ("/spec/sources/0/columns/0/generate", json!({ "choice": [1] }), "spec.sources[0].columns: generate is for"),
        (
            "/spec/sources/0/eventTime",
            json!({ "column": "n" }),
            "spec.sources[0].eventTime.column: eventTime.column must",
        ),
        (
            "/spec/sources/0/eventTime",
            json!({ "column": "ts", "idleTimeout": "0s" }),
            "spec.sources[0].eventTime.idleTimeout: idleTimeout must be longer",
        ),
        ("/spec/sources/0/format", json!({ "json": {}, "csv": {} }), "spec.sources[0].format: set at most one"),
        ("/spec/sources/0/columns/0/type", json!("DECIMAL(3,4)"), "spec.sources[0].columns[0].type: the scale"),
        (
            "/spec/sources/2/columns/0/generate",
            json!({}),
            "spec.sources[2].columns[0].generate: set exactly one of sequence",
        ),
        ("/spec/sinks/0/discard", json!({}), "spec.sinks[0]: set exactly one of files, kafka, discard"),
        ("/spec/sinks/1/format", json!({}), "spec.sinks[1].format: discard writes nothing"),
        ("/spec/checkpoint/interval", json!("9ms"), "spec.checkpoint.interval: interval must be at least"),
        ("/spec/checkpoint/timeout", json!("99ms"), "spec.checkpoint.timeout: timeout must be at least"),
        ("/spec/checkpoint/storage", json!({}), "spec.checkpoint.storage: set exactly one of local, s3, gcs, azure"),
        (
            "/spec/checkpoint/storage/s3",
            json!({ "bucket": "b-1", "prefix": "p" }),
            "spec.checkpoint.storage: set exactly",
        ),
        (
            "/spec/checkpoint/storage",
            json!({ "s3": { "bucket": "b-1", "prefix": "p", "ca": { "secret": "a", "key": "b" } } }),
            "spec.checkpoint.storage.s3.ca: a ca is of no use",
        ),
        ("/spec/restartPolicy", json!({}), "spec.restartPolicy: set exactly one of exponentialDelay"),
        ("/spec/restartPolicy", delays("initial", "0s"), "spec.restartPolicy.exponentialDelay.initial: initial must"),
        ("/spec/restartPolicy", delays("initial", "2m"), "spec.restartPolicy.exponentialDelay.max: max must not"),
        (
            "/spec/restartPolicy",
            delays("multiplier", "0.9"),
            "spec.restartPolicy.exponentialDelay.multiplier: multiplier",
        ),
        (
            "/spec/restartPolicy",
            delays("jitter", "1.1"),
            "spec.restartPolicy.exponentialDelay.jitter: jitter is a share",
        ),
        (
            "/spec/restartPolicy",
            json!({ "failureRate": { "failures": 1, "per": "0s" } }),
            "spec.restartPolicy.failureRate.per: per must be longer",
        ),
        ("/spec/workers", json!(2), "spec.workers: workers must be 1 for now"),
    ]
}

/// As [`refused`], for what concerns Kafka.
pub(crate) fn refused_of_kafka() -> Vec<(&'static str, Value, &'static str)> {
    let end = |topic: &str| json!([{ "topic": topic, "partition": 0, "offset": 1 }]);
    let sink = |field: &str, value: &str| json!({ "connection": "main", "topic": "y", field: value });
    let source = |field: &str, value: Value| json!({ "connection": "main", "topics": ["x"], field: value });
    let ca = json!({ "secret": "a", "key": "b" });
    let both = json!({ "connection": "main", "topics": ["x"], "until": "Latest", "untilOffsets": end("x") });
    vec![
        ("/spec/sources/1/kafka/connection", json!("x"), "spec.sources: a source's connection names nothing"),
        ("/spec/sinks/2/kafka/connection", json!("x"), "spec.sinks: a sink's connection names nothing"),
        (
            "/spec/sinks/2/kafka",
            sink("transactionTimeout", "11m"),
            "spec.sinks: transactionTimeout must be longer than",
        ),
        (
            "/spec/sinks/2/kafka",
            sink("transactionTimeout", "597h"),
            "spec.sinks[2].kafka.transactionTimeout: transactionTimeout must be",
        ),
        ("/spec/sinks/2/kafka", sink("commitBudget", "0s"), "spec.sinks[2].kafka.commitBudget: commitBudget must be"),
        ("/spec/sinks/2/guarantee", json!("AtLeastOnce"), "spec.sinks[2].guarantee: AtLeastOnce uses no transactions"),
        ("/spec/sinks/0/guarantee", json!("AtLeastOnce"), "spec.sinks[0].guarantee: files and discard are ExactlyOnce"),
        ("/spec/sinks/0/format", json!({ "raw": {} }), "spec.sinks[0].format: raw is for kafka"),
        (
            "/spec/sinks/2/format",
            json!({ "raw": {}, "json": {} }),
            "spec.sinks[2].format: set at most one of json, raw",
        ),
        ("/spec/sources/0/format", json!({ "raw": {} }), "spec.sources[0].format: raw is for kafka"),
        ("/spec/sources/1/format", json!({ "csv": {} }), "spec.sources[1].format: a kafka record is no table"),
        ("/spec/sources/1/columns/0/type", json!("INT"), "spec.sources[1].columns: raw yields"),
        (
            "/spec/sources/0/metadata",
            json!([{ "column": "k", "from": "key" }]),
            "spec.sources[0].metadata: metadata is what",
        ),
        ("/spec/sources/1/columns/0/name", json!("at"), "spec.sources[1].metadata: a metadata column has"),
        ("/spec/sources/1/metadata/0/from", json!("key"), "spec.sources[1].eventTime.column: eventTime.column must"),
        ("/spec/sources/1/kafka", both, "spec.sources[1].kafka.untilOffsets: two ends are given"),
        (
            "/spec/sources/1/kafka",
            source("untilOffsets", end("z")),
            "spec.sources[1].kafka.untilOffsets: untilOffsets has a topic",
        ),
        (
            "/spec/sources/1/kafka",
            source("startFrom", json!("1969-12-31T23:59:59Z")),
            "spec.sources[1].kafka.startFrom: startFrom lies",
        ),
        (
            "/spec/sources/1/kafka",
            source("until", json!("1969-12-31T23:59:59Z")),
            "spec.sources[1].kafka.until: until lies",
        ),
        (
            "/spec/connections/0/kafka/tls",
            json!({ "ca": ca, "certificate": ca }),
            "spec.connections[0].kafka.tls.certificate: a certificate is",
        ),
        (
            "/spec/connections/0/kafka/tls",
            json!({ "ca": ca, "privateKey": ca }),
            "spec.connections[0].kafka.tls.privateKey: a privateKey is",
        ),
    ]
}

/// Sets what a JSON pointer names, in an object that is there.
pub(crate) fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("it is there");
    match field.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[field] = value,
    }
}
