//! The README's five minutes with Kafka, typed into Kafka's own tools; and what those tools say afterwards.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Broker, Options, Version};
use e2e::site::Site;

/// The README's alias leads to these.
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const SEGMENTS: &str = "org.apache.kafka.tools.DumpLogSegments";

fn tool(broker: &Broker, class: &str, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = broker.tool(class)?;
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("piped")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = || format!("{class}: {}{}", text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{}", said());
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// So many records as the console consumer sees them, sorted. It waits for them.
fn consumed(broker: &Broker, address: &str, count: &str) -> Result<Vec<String>> {
    let consume = ["--topic", "large-orders", "--isolation-level", "read_committed", "--from-beginning"];
    let bounds = ["--bootstrap-server", address, "--max-messages", count, "--timeout-ms", "30000"];
    let output = tool(broker, CONSUMER, &[&consume[..], &bounds[..]].concat(), "")?;
    let mut lines: Vec<String> = text(&output.stdout).lines().map(ToOwned::to_owned).collect();
    lines.sort();
    Ok(lines)
}

#[test]
fn five_minutes_with_kafka_end_as_the_readme_says() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    for words in ["examples/08-kafka-filter.yaml", "--isolation-level read_committed", "{\"customer\":7,\"cents\":250}"]
    {
        ensure!(readme.contains(words), "the README does not say `{words}`");
    }
    let broker = Broker::start(Version::Newest, &Options::default())?;
    let address = broker.address();
    for topic in ["orders", "large-orders"] {
        tool(&broker, TOPICS, &["--bootstrap-server", &address, "--create", "--topic", topic], "")?;
    }
    let site = Site::new()?;
    let example = std::fs::read_to_string(root.join("examples/08-kafka-filter.yaml"))?;
    ensure!(example.contains("127.0.0.1:9092"));
    std::fs::write(&site.manifest, example.replace("127.0.0.1:9092", &address))?;
    let produce = ["--bootstrap-server", &address, "--topic", "orders"];

    let mut child = site.start("", &[])?;
    tool(&broker, PRODUCER, &produce, "{\"customer\": 7, \"cents\": 250}\n{\"customer\": 8, \"cents\": 1}\n")?;
    ensure!(consumed(&broker, &address, "1")? == ["{\"customer\":7,\"cents\":250}"]);
    child.kill()?;
    ensure!(child.finish()?.signal() == Some(9), "it was not killed");
    tool(&broker, PRODUCER, &produce, "{\"customer\": 9, \"cents\": 101}\n")?;
    let child = site.start("", &[])?;
    ensure!(consumed(&broker, &address, "2")? == ["{\"customer\":7,\"cents\":250}", "{\"customer\":9,\"cents\":101}"]);
    let id = rustix::process::Pid::from_raw(child.id().cast_signed()).context("a process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());

    let listed = text(&tool(&broker, TRANSACTIONS, &["--bootstrap-server", &address, "list"], "")?.stdout);
    ensure!(listed.contains("CompleteCommit") && !listed.contains("Ongoing"), "{listed}");
    let segment = broker.data().join("large-orders-0/00000000000000000000.log");
    let files = segment.display().to_string();
    let dumped = text(&tool(&broker, SEGMENTS, &["--print-data-log", "--files", &files], "")?.stdout);
    let (commits, aborts) =
        (dumped.matches("endTxnMarker: COMMIT").count(), dumped.matches("endTxnMarker: ABORT").count());
    ensure!((commits, aborts) == (2, 0), "{dumped}");
    Ok(())
}
