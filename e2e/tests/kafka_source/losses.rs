//! Records that were taken away before they were read stop a pipeline, with the range.

use anyhow::{Result, ensure};

use crate::stage::{Cluster, Copy, Source, stop};

/// A pipeline that has read 1,000 records of a topic with one partition.
fn begun(cluster: &Cluster, topic: &str) -> Result<Copy> {
    cluster.judge.create(topic, 1)?;
    cluster.produce(topic, 0, 1_000)?;
    let copy = Copy::new(cluster, &Source { topics: &[topic], ..Source::default() })?;
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, 1_000)?;
    stop(child)?;
    Ok(copy)
}

#[test]
fn records_deleted_before_they_were_read_are_a_loss_with_their_range() -> Result<()> {
    let cluster = Cluster::shared()?;
    let copy = begun(&cluster, "retained")?;
    cluster.produce("retained", 1_000, 500)?;
    cluster.judge.delete_records("retained", 0, 1_200)?;
    copy.run_fails(
        &[],
        1,
        &["input was lost", "topic `retained` partition 0", "offsets 1000 to 1199", "begins at 1200"],
    )?;
    // What was read already may go.
    let copy = begun(&cluster, "read-already")?;
    cluster.judge.delete_records("read-already", 0, 1_000)?;
    cluster.produce("read-already", 1_000, 10)?;
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, 1_010)?;
    stop(child)?;
    Ok(())
}

#[test]
fn a_topic_made_anew_is_not_taken_for_the_old_one() -> Result<()> {
    let cluster = Cluster::shared()?;
    let copy = begun(&cluster, "anew")?;
    cluster.judge.delete("anew")?;
    cluster.judge.create("anew", 1)?;
    cluster.produce("anew", 0, 2_000)?;
    copy.run_fails(&[], 1, &["input was lost", "topic `anew`", "deleted and made again"])?;
    Ok(())
}

#[test]
fn a_topic_deleted_under_a_run_stops_it() -> Result<()> {
    let cluster = Cluster::shared()?;
    for (topic, is_made_again, words) in
        [("swapped", true, "deleted and made again"), ("deleted", false, "was deleted")]
    {
        let copy = begun(&cluster, topic)?;
        let mut child = copy.start("", &[])?;
        child.wait_for(|said| said.is_event("checkpoint.completed"))?;
        cluster.judge.delete(topic)?;
        if is_made_again {
            cluster.judge.create(topic, 1)?;
        }
        let ended = child.finish()?;
        ensure!(ended.code() == Some(1), "{}", ended.describe());
        let said = ended.lines().collect::<Vec<_>>().join("\n");
        ensure!(said.contains("input was lost") && said.contains(words), "{said}");
    }
    Ok(())
}

#[test]
fn a_log_that_became_shorter_is_a_loss() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("shorter", 1)?;
    cluster.produce("shorter", 0, 1_000)?;
    // As if an older copy of the log had come back: the position is beyond its end.
    report(&cluster, "beyond", "shorter", 3_000)?;
    let more = "startFrom: CommittedOffsets, groupId: beyond";
    let beyond = Copy::new(&cluster, &Source { topics: &["shorter"], more, ..Source::default() })?;
    beyond.run_fails(&[], 1, &["input was lost", "offsets 1000 to 2999", "it ends at 1000"])?;
    Ok(())
}

/// A group's offset, as any consumer would commit it.
fn report(cluster: &Cluster, group: &str, topic: &str, offset: i64) -> Result<()> {
    use runtime::clock::{SystemClock, SystemRandom};
    use runtime::connectors::kafka::client::{Backoff, Client, Ports, Settings};
    let settings = Settings { bootstrap_servers: vec![cluster.broker.address()], ..Settings::default() };
    let ports = Ports { clock: std::sync::Arc::new(SystemClock), random: std::sync::Arc::new(SystemRandom) };
    let client = Client::new(&settings, ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let offsets = [(topic, 0, offset)];
    Ok(runtime.block_on(client.retried(&Backoff::SHORT, || client.report_offsets(group, &offsets)))?)
}
