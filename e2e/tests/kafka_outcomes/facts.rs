//! What the raw client reads of topics, offsets and configuration, compared with what Kafka's own client says.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::Version;
use e2e::kafka::judge::Input;
use runtime::connectors::kafka::client::{Code, Isolation, OffsetAt, Resource};

use super::stage::{LONG, PATIENT, Stage};

pub(crate) fn features_are_those_decided_on(stage: &Stage) -> Result<()> {
    let features = stage.wait(stage.client.features())?;
    let level = features.get("transaction.version").copied().unwrap_or_default();
    let wanted = if stage.broker.version() == Version::Newest { 2 } else { 0 };
    ensure!(level == wanted && features.contains_key("metadata.version"), "{features:?}");
    Ok(())
}

pub(crate) fn offsets_are_those_of_the_log(stage: &Stage) -> Result<()> {
    stage.judge.create("offsets", 1)?;
    stage.judge.produce("offsets", &Input { first: 0, count: 100, keys: 10, begin_ms: 5_000, rate: 0 })?;
    stage.prepare("offsets", "offsets", 0, LONG)?;
    stage.judge.delete_records("offsets", 0, 10)?;
    let offset = |at| Ok::<_, anyhow::Error>(stage.wait(stage.client.offset("offsets", 0, at))?.offset);
    ensure!(offset(OffsetAt::Earliest)? == Some(10));
    ensure!(offset(OffsetAt::Latest(Isolation::Uncommitted))? == Some(103));
    ensure!(offset(OffsetAt::Latest(Isolation::Committed))? == Some(100), "what is open is not for readers");
    ensure!(offset(OffsetAt::Time(5_050))? == Some(50));
    ensure!(offset(OffsetAt::Time(i64::MAX))?.is_none(), "no record is that late");
    let ends = stage.judge.ends("offsets")?;
    ensure!(ends.first().is_some_and(|ends| (ends.begin, ends.stable, ends.end) == (10, 100, 103)), "{ends:?}");

    let metadata = stage.wait(stage.client.metadata(&["offsets", "nowhere"]))?;
    let [found, missing] = ["offsets", "nowhere"].map(|name| metadata.topics.iter().find(|topic| topic.name == name));
    let epoch = found.and_then(|topic| topic.partitions.first()).context("one partition")?.leader_epoch;
    ensure!(
        missing.is_some_and(|topic| topic.code == Code::UNKNOWN_TOPIC_OR_PARTITION),
        "and it is not made by asking"
    );
    let end = stage.wait(stage.client.epoch_end("offsets", 0, epoch))?;
    ensure!((end.leader_epoch, end.end_offset) == (epoch, 103), "{end:?}");
    let end = stage.wait(stage.client.epoch_end("offsets", 0, epoch + 1))?;
    ensure!(end.end_offset == -1, "an epoch that never was: {end:?}");

    let report = || stage.client.report_offsets("offsets-readers", &[("offsets", 0, 42)]);
    stage.wait(stage.client.retried(&PATIENT, report))?;
    let reported = stage.judge.group_offsets("offsets-readers")?;
    ensure!(reported.len() == 1 && reported.iter().all(|found| found.topic == "offsets" && found.offset == 42));
    let open = stage.wait(stage.client.describe_transaction("offsets"))?.context("it is open")?;
    stage.wait(stage.client.end_transaction("offsets", open.producer, false))?;
    Ok(())
}

pub(crate) fn configuration_is_that_in_force(stage: &Stage) -> Result<()> {
    stage.judge.create_with("configured", 1, 1, &[("max.message.bytes", "12345")])?;
    let value = |resource, name: &str| {
        let found = stage.wait(stage.client.configuration(resource, &[name, "no.such.setting"]))?;
        ensure!(found.len() == 1, "{found:?}");
        Ok(found.into_iter().next().and_then(|config| config.value))
    };
    ensure!(value(Resource::Topic("configured"), "max.message.bytes")?.as_deref() == Some("12345"));
    ensure!(value(Resource::Topic("configured"), "min.insync.replicas")?.as_deref() == Some("1"));
    let broker = Resource::Broker(stage.broker.id());
    ensure!(value(broker, "transaction.max.timeout.ms")?.as_deref() == Some("2147483647"));
    let refused = stage.wait(stage.client.configuration(Resource::Topic("nowhere"), &["min.insync.replicas"]));
    ensure!(refused.err().and_then(|error| error.code()) == Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    Ok(())
}
