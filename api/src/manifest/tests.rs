use proptest::prelude::*;

use super::*;
use crate::pipeline::{Duration, Literal, RestartStrategy, StoragePlace};

/// The manifest that the documentation shows, with everything in it.
const FULL: &str = r#"apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {name: revenue}
spec:
  parallelism: 2
  sources:
  - name: orders
    files: {path: "data/orders*.jsonl"}
    format: {json: {onError: Fail}}
    columns: [{name: ts, type: TIMESTAMP}, {name: customer, type: BIGINT}, {name: cents, type: BIGINT}]
    eventTime: {column: ts, maxOutOfOrderness: 5s, idleTimeout: 30s}
  - name: ticks
    generator: {rows: 1000000, rowsPerSecond: 50000, seed: 7}
    columns:
    - {name: id, type: BIGINT, generate: {sequence: {start: 0}}}
    - {name: ts, type: TIMESTAMP, generate: {sequence: {start: "2026-01-01T00:00:00Z", step: 1ms}}}
    - {name: customer, type: BIGINT, generate: {random: {min: 0, max: 9999}}}
    - {name: country, type: VARCHAR, generate: {choice: [DE, FR, SE]}}
    eventTime: {column: ts}
  transforms:
  - name: per_customer
    sql: |
      SELECT window_start, window_end, customer, SUM(cents) AS total, COUNT(*) AS orders
      FROM TUMBLE(orders, ts, INTERVAL '1 minute')
      GROUP BY window_start, window_end, customer
  sinks:
  - {name: out, input: per_customer, files: {path: out/}, format: {json: {}}, guarantee: ExactlyOnce}
  - {name: none, input: ticks, discard: {}}
  checkpoint:
    interval: 10s
    timeout: 2m
    retain: 5
    tolerableFailedCheckpoints: 3
    storage: {local: {path: .onceward/revenue}}
  restartPolicy: {exponentialDelay: {initial: 1s, max: 1m, multiplier: "1.5", jitter: "0.1", resetAfter: 1h}}
"#;

/// As little as runs.
const SMALL: &str = "\
apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {name: small}
spec:
  sources:
  - name: orders
    files: {path: a.jsonl}
    columns: [{name: ts, type: TIMESTAMP}]
  sinks:
  - {name: out, input: orders, files: {path: out}}
  checkpoint: {storage: {local: {path: state}}}
";

fn read_with(text: &str, sets: &[&str]) -> Report {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    read("p.yaml", text.as_bytes(), &sets)
}

fn lines(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

fn accepted(text: &str, sets: &[&str]) -> Manifest {
    let report = read_with(text, sets);
    assert!(report.findings.is_empty(), "{:#?}", lines(&report));
    report.manifest.unwrap()
}

/// Everything that is said of `text` after one replacement in [`SMALL`].
fn said_of(from: &str, to: &str) -> Vec<String> {
    assert!(SMALL.contains(from));
    lines(&read_with(&SMALL.replacen(from, to, 1), &[]))
}

#[test]
fn documented_manifest_is_accepted_whole() {
    let spec = accepted(FULL, &[]).pipeline.spec;
    assert_eq!((spec.parallelism, spec.max_parallelism), (2, 128));
    assert_eq!(spec.sources[0].event_time.as_ref().unwrap().max_out_of_orderness, Duration::from_secs(5));
    assert_eq!(spec.sources[1].generator.as_ref().unwrap().rows, Some(1_000_000));
    let country = spec.sources[1].columns[3].generate.as_ref().unwrap().choice.clone().unwrap();
    assert_eq!(country[0], Literal::Text("DE".to_owned()));
    let RestartStrategy::ExponentialDelay(delay) = spec.restart_policy.strategy() else { panic!("another strategy") };
    assert_eq!(delay.multiplier.thousandths(), 1500);
}

#[test]
fn checkpoints_live_in_a_folder_or_in_a_bucket() {
    let bucket = "storage: {s3: {bucket: shop-state, prefix: prod/revenue, region: eu-central-1, endpoint: \"https://s3.example.com\", ca: {secret: s3, key: ca.crt}, \
                  credentials: {accessKeyId: {secret: s3, key: id}, secretAccessKey: {secret: s3, key: secret}}}}";
    let local = "storage: {local: {path: state}}";
    assert_eq!(said_of(local, bucket), Vec::<String>::new());
    let storage = accepted(&SMALL.replace(local, bucket), &[]).pipeline.spec.checkpoint.storage;
    let Some(StoragePlace::S3(s3)) = storage.place() else { panic!("a bucket") };
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("shop-state", "prod/revenue"));
    assert_eq!(s3.credentials.as_ref().unwrap().secret_access_key.key, "secret");
    assert_eq!(s3.ca.as_ref().unwrap().key, "ca.crt");
    assert_eq!(said_of(local, "storage: {s3: {bucket: shop, prefix: p}}"), Vec::<String>::new());
    for (from, to, said) in [
        (
            "s3: {bucket",
            "local: {path: x}, s3: {bucket",
            "checkpoint.storage: set exactly one of local, s3, gcs, azure",
        ),
        ("shop-state", "Shop_State", "bucket: `Shop_State` cannot be a bucket's name"),
        ("shop-state", "Shop_State", "write shop-state"),
        ("prefix: prod/revenue", "prefix: /prod//revenue/", "write prod/revenue"),
        ("prefix: prod/revenue", "prefix: prod/../revenue", "cannot be a prefix"),
        ("prefix: prod/revenue, ", "", "`prefix` is missing"),
        ("eu-central-1", "eu_central_1", "write it as eu-central-1"),
        ("https://s3.example.com", "s3.example.com", "write it as https://s3.example.com or http://minio:9000"),
        ("https://s3.example.com", "https://s3.example.com/shop-state", "without a path"),
        (", secretAccessKey: {secret: s3, key: secret}", "", "`secretAccessKey` is missing"),
        ("endpoint:", "endPoint:", "did you mean `endpoint`?"),
        ("https://s3", "http://s3", "checkpoint.storage.s3.ca: a ca is of no use without an endpoint"),
        ("endpoint: \"https://s3.example.com\", ", "", "a ca is of no use without an endpoint"),
        ("accessKeyId: {secret: s3, key: id}", "accessKeyId: AKIA", "accessKeyId: must be"),
    ] {
        assert!(bucket.contains(from), "{from}");
        let found = said_of(local, &bucket.replace(from, to));
        assert!(found.iter().any(|line| line.contains(said)), "{to}: wanted {said}, got {found:#?}");
    }
    let found = said_of(local, "storage: {}");
    assert!(found.iter().any(|line| line.contains("set exactly one of local, s3")), "{found:#?}");
}

#[test]
fn checkpoints_live_at_google_or_in_azure_with_a_warning_that_nobody_has_tried() {
    let local = "storage: {local: {path: state}}";
    let gcs = "storage: {gcs: {bucket: shop_state, prefix: prod/revenue, credentials: {serviceAccountKey: {secret: gcs, key: key.json}}}}";
    let azure = "storage: {azure: {account: shop2, container: shop-state, prefix: prod/revenue, \
                 endpoint: \"https://shop2.blob.core.usgovcloudapi.net\", credentials: {accessKey: {secret: azure, key: key}}}}";
    let place = |to: &str| read_with(&SMALL.replace(local, to), &[]).manifest.unwrap().pipeline.spec.checkpoint.storage;
    assert!(matches!(place(gcs).place(), Some(StoragePlace::Gcs(gcs)) if gcs.bucket == "shop_state"));
    assert!(matches!(place(azure).place(), Some(StoragePlace::Azure(azure)) if azure.account == "shop2"));
    for (whole, from, to, said) in [
        (gcs, "gcs:", "gcs:", "warning: spec.checkpoint.storage.gcs: Google Cloud Storage is untested; the probe"),
        (gcs, "gcs: {bucket", "local: {path: x}, gcs: {bucket", "set exactly one of local, s3, gcs, azure"),
        (gcs, "shop_state", "Shop", "bucket: `Shop` cannot be a bucket's name"),
        (gcs, "serviceAccountKey", "accessKey", "`serviceAccountKey` is missing"),
        (
            azure,
            "azure:",
            "azure:",
            "warning: spec.checkpoint.storage.azure: Azure Blob Storage is untested; the probe",
        ),
        (azure, "azure: {account", "local: {path: x}, azure: {account", "set exactly one of local, s3, gcs, azure"),
        (azure, "shop2,", "shop-2,", "account: `shop-2` cannot be a storage account's name"),
        (azure, "shop-state", "shop--state", "container: `shop--state` cannot be a container's name"),
        (azure, "https://shop2", "http://shop2", "is not where an account's blobs are reached"),
        (azure, "account: shop2, ", "", "`account` is missing"),
    ] {
        assert!(whole.contains(from), "{from}");
        let found = said_of(local, &whole.replace(from, to));
        assert!(found.iter().any(|line| line.contains(said)), "{to}: wanted {said}, got {found:#?}");
    }
}

#[test]
fn defaults_come_from_the_schema() {
    let spec = accepted(SMALL, &[]).pipeline.spec;
    assert_eq!((spec.parallelism, spec.max_parallelism, spec.checkpoint.retain), (1, 128, 5));
    assert_eq!(spec.checkpoint.interval, Duration::from_secs(10));
    assert_eq!(spec.restart_policy, crate::pipeline::RestartPolicy::default());
}

#[test]
fn every_fault_is_reported_with_place_path_and_fix() {
    let text = SMALL
        .replace("files: {path: a.jsonl}", "filse: {path: a.jsonl}")
        .replace("type: TIMESTAMP", "type: DATETIME")
        .replace("input: orders", "input: order")
        .replace("metadata: {name: small}", "metadata: {name: Small}\nstatus: {}\nextra: 1");
    assert_eq!(
        lines(&read_with(&text, &[])),
        [
            "p.yaml:3:18: metadata.name: `Small` cannot be a resource's name: only a-z, 0-9 and -; write small",
            "p.yaml:5:1: extra: unknown field `extra`; known here: apiVersion, kind, metadata, spec, status",
            "p.yaml:9:5: spec.sources[0].filse: unknown field `filse`; did you mean `files`?",
            "p.yaml:10:32: spec.sources[0].columns[0].type: `DATETIME` is not a column type; write TIMESTAMP",
            "p.yaml:12:24: spec.sinks[0].input: `order` is neither a source nor a transform; did you mean `orders`?",
        ]
    );
}

#[test]
fn fault_names_what_to_write() {
    for (from, to, said) in [
        ("files: {path: a.jsonl}", "generator: {}", "set sequence, random or choice in it"),
        ("files: {path: a.jsonl}", "path: a.jsonl", "it belongs in `files`"),
        ("name: orders\n", "name: Web-Orders\n", "write web_orders"),
        ("path: state", "path: 5", "write \"5\", in quotes"),
        ("path: state", "path:", "has no value"),
        ("checkpoint: {", "checkpoint: {interval: 10, ", "write \"10\", in quotes"),
        ("checkpoint: {", "checkpoint: {interval: 10 s, ", "as `10s`"),
        ("checkpoint: {", "checkpoint: {interval: 5ms, ", "at least 10ms"),
        ("checkpoint: {", "checkpoint: {retain: 1, ", "write 2 to 1000"),
        ("checkpoint: {", "checkpoint: {retain: \"3\", ", "remove the quotes"),
        ("checkpoint: {", "checkpoint: {retain: 1_000, ", "write 1000"),
        ("spec:\n", "spec:\n  parallelism: 129\n", "must not exceed maxParallelism"),
        ("spec:\n", "spec:\n  restartPolicy: {}\n", "set exactly one of exponentialDelay"),
        ("spec:\n", "spec:\n  restartPolicy: {never: {}, fixedDelay: {attempts: 1}}\n", "set exactly one of"),
        ("spec:\n", "spec:\n  restartPolicy: {never: }\n", "write `{}`"),
        ("spec:\n", "spec:\n  restartPolicy: {exponentialDelay: {multiplier: 1.5}}\n", "write \"1.5\", in quotes"),
        ("spec:\n", "spec:\n  restartPolicy: {exponentialDelay: {jitter: \"1.5\"}}\n", "from \"0\" to \"1\""),
        ("spec:\n", "spec:\n  restartPolicy: {exponentialDelay: {initial: 2m}}\n", "shorter than initial"),
        ("files: {path: out}", "discard: {}, format: {json: {}}", "remove format"),
        ("files: {path: out}", "guarantee: ExactlyOnce", "set exactly one of files, kafka, discard"),
        ("files: {path: out}", "discard: {}, guarantee: exactly-once", "write ExactlyOnce"),
        ("type: TIMESTAMP", "type: \"DECIMAL(3,5)\"", "must not exceed its precision"),
        ("    columns:", "    eventTime: {column: t}\n    columns:", "name of a column of type TIMESTAMP"),
        ("    columns:", "    format: {csv: {header: yes}}\n    columns:", "write true"),
        ("    columns:", "    format: {json: {}, csv: {}}\n    columns:", "at most one of json, csv, parquet"),
        ("    columns:", "    columns: []\n    old:", "add at least one item"),
        ("{name: ts, type: TIMESTAMP}", "{name: ts, type: DATE}, {name: ts, type: INT}", "stands twice"),
        ("kind: Pipeline", "kind: pipeline", "write Pipeline"),
        ("apiVersion: onceward.dev/v1alpha1", "apiVersion: v1", "write onceward.dev/v1alpha1"),
        ("metadata: {name: small}", "metadata: {}", "`name` is missing"),
        ("  sinks:", "  transforms: [{name: orders, sql: SELECT 1}]\n  sinks:", "is the name of a source"),
        ("  sinks:", "  transforms: [{name: a, sql: SELECT x FROM a}]\n  sinks:", "reads itself"),
    ] {
        let said_here = said_of(from, to);
        assert!(said_here.iter().any(|line| line.contains(said)), "{to}: wanted {said}, got {said_here:#?}");
    }
}

/// A pattern shown to a person is no explanation.
#[test]
fn every_pattern_has_words() {
    fn patterns(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                found.extend(map.get("pattern").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|inner| patterns(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| patterns(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    patterns(shape::root_schema(), &mut found);
    assert!(found.len() > 10);
    for pattern in found {
        let (message, _) = wording::mismatch(&pattern, "é!");
        assert!(!message.contains('^'), "{message}");
    }
}

#[test]
fn one_mistake_is_reported_once() {
    for (from, to) in [
        ("files: {path: a.jsonl}", "filse: {path: a.jsonl}"),
        ("input: orders", "input: order"),
        ("name: small", "name: a-name-of-more-than-fifty-two-characters-is-too-long-here"),
        ("type: TIMESTAMP", "type: STRING"),
        ("path: state", "pth: state"),
        ("spec:\n", "spec:\n  parallelism: 0\n"),
    ] {
        let said = said_of(from, to);
        let faults: Vec<_> = said.iter().filter(|line| !line.contains("warning:")).collect();
        // A misspelt field that is needed is both unknown and missing.
        assert!((1..=2).contains(&faults.len()), "{to}: {said:#?}");
        assert!(faults.len() == 1 || faults.iter().any(|line| line.contains("is missing")), "{to}: {said:#?}");
    }
}

#[test]
fn yaml_1_1_readings_are_warned_of() {
    let text = FULL.replace("[DE, FR, SE]", "[DE, NO, 'NO']").replace("seed: 7", "seed: 010");
    let report = read_with(&text, &[]);
    assert_eq!(
        lines(&report),
        [
            "p.yaml:13:60: warning: spec.sources[1].generator.seed: `010` is the number 8 to readers of YAML 1.1, \
             kubectl among them; write 10",
            "p.yaml:18:62: warning: spec.sources[1].columns[3].generate.choice[1]: `NO` is false to readers of YAML 1.1, \
             kubectl among them; write \"NO\", in quotes",
        ]
    );
    assert!(report.manifest.is_some());
}

#[test]
fn what_nothing_reads_is_warned_of() {
    let text = FULL.replace("input: per_customer", "input: ticks");
    let said = lines(&read_with(&text, &[]));
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with("p.yaml:7:5: warning: spec.sources[0]: no sink gets anything from `orders`"),
        "{said:#?}"
    );
    assert!(said[1].starts_with("p.yaml:21:5: warning: spec.transforms[0]: "), "{said:#?}");
}

#[test]
fn literal_that_a_column_cannot_hold_is_a_fault() {
    let said = lines(&read_with(&FULL.replace("max: 9999", "max: -1"), &[]));
    let expected = "p.yaml:17:71: spec.sources[1].columns[2].generate.random.max: `-1` is below min `0`; exchange them";
    assert_eq!(said, [expected]);
}

#[test]
fn overrides_set_fields_by_name_and_index() {
    let sets = [
        "parallelism=4",
        "spec.maxParallelism=64",
        "sources.orders.files.path=x: y.jsonl",
        "sources.ticks.generator.rows=5",
        "sinks[0].name=first",
        "metadata.name=other",
        "restartPolicy={never: {}}",
        "checkpoint.storage.local.path=\"5\"",
    ];
    let pipeline = accepted(FULL, &sets).pipeline;
    assert_eq!((pipeline.spec.parallelism, pipeline.spec.max_parallelism), (4, 64));
    assert_eq!(pipeline.spec.sources[0].files.as_ref().unwrap().path, "x: y.jsonl");
    assert_eq!(pipeline.spec.sources[1].generator.as_ref().unwrap().rows, Some(5));
    assert_eq!(pipeline.spec.sinks[0].name, "first");
    assert_eq!(pipeline.metadata.name.as_deref(), Some("other"));
    assert_eq!(pipeline.spec.restart_policy.strategy(), RestartStrategy::Never);
    assert_eq!(pipeline.spec.checkpoint.storage.local.unwrap().path, "5");
}

#[test]
fn faulty_override_is_named() {
    for (set, said) in [
        ("parallelism", "an override has no `=`"),
        ("parallelism=0", "--set parallelism=0: spec.parallelism: 0 is out of range; write 1 to 1024"),
        ("paralelism=4", "did you mean `parallelism`?"),
        ("sources.order.files.path=x", "the list has no item `order`; did you mean `orders`?"),
        ("sinks[7].name=x", "the list has no item `7`; write an index below 2"),
        ("parallelism.x=1", "`x` cannot be set"),
        ("a..b=1", "is not a path to a field"),
        ("restartPolicy={never", "this is not YAML"),
        ("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r=1", "more than 16 parts"),
    ] {
        let text = lines(&read_with(FULL, &[set])).join("\n");
        assert!(text.contains(said) && text.contains(&format!("--set {set}")), "{set}: {text}");
    }
}

#[test]
fn sql_fault_points_into_the_query() {
    let manifest = accepted(FULL, &[]);
    let fault = manifest.sql_fault("per_customer", Some((2, 6)), "no such table", None);
    assert_eq!(fault.to_string(), "p.yaml:24:12: spec.transforms[0].sql: no such table");
    let fault = manifest.sql_fault("per_customer", None, "no such table", Some("name one"));
    assert_eq!(fault.to_string(), "p.yaml:23:7: spec.transforms[0].sql: no such table; name one");
}

#[test]
fn file_holds_exactly_one_pipeline() {
    let other = "apiVersion: v1\nkind: ConfigMap\n---\n";
    assert!(read_with(&format!("{other}{SMALL}"), &[]).manifest.is_some());
    for (text, said) in [
        (String::new(), "the file is empty"),
        (format!("{SMALL}---\n{SMALL}"), "p.yaml:13:1: the file holds 2 Pipelines"),
        (format!("{other}{other}{other}a: 1"), "none of 4 documents is a Pipeline"),
        ("[]".to_owned(), "must be a mapping of fields"),
        ("a: 1".to_owned(), "`spec` is missing"),
    ] {
        let said_here = lines(&read_with(&text, &[])).join("\n");
        assert!(said_here.contains(said), "{said_here}");
    }
}

#[test]
fn hostile_yaml_is_refused_in_bounds() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, before) in ('b'..='k').zip('a'..='j') {
        let aliases = vec![format!("*{before}"); 10].join(", ");
        bomb.extend([format!("{this}: &{this} [{aliases}]\n")]);
    }
    for (text, said) in [
        (bomb, "aliases expand to too much"),
        (format!("a: {}", "[".repeat(100)), "nested deeper than 32 levels"),
        ("a: &a [*a]".to_owned(), "anchor"),
        (format!("a: \"{}\"", "x".repeat(tree::MAX_BYTES)), "larger than"),
        ("a: 1\nb: 2\na: 3".to_owned(), "p.yaml:3:1: field `a` stands twice, first in line 1"),
        ("a: &x {b: 1}\nc:\n  <<: *x".to_owned(), "merge keys are not supported"),
        ("a: !!python/object 1".to_owned(), "is not supported"),
        ("? [a]\n: b".to_owned(), "cannot be the name of a field"),
        ("a: [1".to_owned(), "this is not YAML"),
    ] {
        let said_here = lines(&read_with(&text, &[])).join("\n");
        assert!(said_here.contains(said), "{said_here}");
    }
    let bytes = read("p.yaml", b"a: 1\nb: \xff", &[]);
    assert_eq!(lines(&bytes), ["p.yaml:2:4: this is not UTF-8; save the file as UTF-8"]);
}

#[test]
fn quoted_text_cannot_command_a_terminal() {
    let said = said_of("name: small", r#"name: "\e[31mred\n""#).join("\n");
    assert!(said.contains("\u{fffd}[31mred\u{fffd}"), "{said:?}");
    let said = said_of("path: state", &format!("path: {}", "7".repeat(100_000)));
    assert!(said[0].len() < 1200, "{}", said[0].len());
}

#[test]
fn relative_paths_resolve_against_the_manifests_folder() {
    let mut spec = accepted(FULL, &["sinks.out.files.path=/abs//out/./"]).pipeline.spec;
    spec.resolve_paths(std::path::Path::new("/jobs/a[1]")).unwrap();
    assert_eq!(spec.sources[0].files.as_ref().unwrap().path, "/jobs/a[[]1[]]/data/orders*.jsonl");
    assert_eq!(spec.sinks[0].files.as_ref().unwrap().path, "/abs/out");
    assert_eq!(spec.checkpoint.storage.local.unwrap().path, "/jobs/a[1]/.onceward/revenue");
}

#[test]
fn max_parallelism_cannot_change() {
    let old = accepted(SMALL, &[]).pipeline;
    let changed = accepted(SMALL, &["maxParallelism=64"]).pipeline;
    let rescaled = accepted(SMALL, &["parallelism=64"]).pipeline;
    assert!(refusals_of_change(&old, &changed)[0].contains("spec.maxParallelism: maxParallelism is immutable"));
    assert_eq!(refusals_of_change(&old, &rescaled), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let report = read("p.yaml", &bytes, &[]);
        prop_assert_eq!(report.manifest.is_none(), report.findings.iter().any(|f| f.severity == Severity::Fault));
    }

    #[test]
    fn no_yaml_like_text_makes_reading_panic(text in "[-a-z0-9:{}\\[\\],&*!|>'\"#%@~<? \n\t]{0,300}") {
        let report = read("p.yaml", text.as_bytes(), &[]);
        prop_assert!(report.manifest.is_none());
    }

    /// Cut, doubled or changed somewhere, with an override; what is accepted survives a round through JSON.
    #[test]
    fn no_mutated_manifest_makes_reading_panic(
        at in 0..FULL.len(), length in 0..60_usize, with in "[-a-z0-9:{}\\[\\],&*!|>'\" \n]{0,20}", key in "[a-z.\\[\\]0-9=]{0,30}",
    ) {
        let end = (at + length).min(FULL.len());
        let text = format!("{}{with}{}", FULL.get(..at).unwrap_or_default(), FULL.get(end..).unwrap_or_default());
        let _without = read("p.yaml", text.as_bytes(), &[]);
        let report = read("p.yaml", text.as_bytes(), &[key]);
        if let Some(manifest) = report.manifest {
            let json = serde_json::to_value(&manifest.pipeline).unwrap();
            prop_assert_eq!(serde_json::from_value::<Pipeline>(json).unwrap(), manifest.pipeline);
        } else {
            prop_assert!(!report.findings.is_empty());
        }
    }
}
