//! Records that were taken away before they were read stop a pipeline, with the range.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::Judge;
use onceward::child::Said;

use crate::stage::{Cluster, Copy, Source, stop};

/// A pipeline that has read 1,000 records of a topic with one partition.
fn begun(cluster: &Cluster, topic: &str) -> Result<Copy> {
    cluster.judge.create(topic, 1)?;
    // In several batches.
    (0..10).try_for_each(|piece| cluster.produce(topic, 100 * piece, 100))?;
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

/// The run stands still with answers of before in hand, and asks for what is gone by then.
#[test]
fn records_deleted_under_a_run_are_a_loss_with_their_range() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("overtaken", 1)?;
    cluster.produce("overtaken", 0, 30_000)?;
    let properties = "max.partition.fetch.bytes: 20000, queued.max.messages.kbytes: 1";
    let copy = Copy::new(&cluster, &Source { topics: &["overtaken"], properties, ..Source::default() })?;
    let mut child = copy.start("worker.batch_read:3=pause:3s", &[])?;
    child.wait_for(|said| *said == Said::Line("crashpoint worker.batch_read 3".to_owned()))?;
    cluster.judge.delete_records("overtaken", 0, 29_000)?;
    let ended = child.finish()?;
    let said = ended.lines().collect::<Vec<_>>().join("\n");
    ensure!(ended.code() == Some(1), "{said}");
    for word in ["input was lost", "topic `overtaken` partition 0", "to 28999", "begins at 29000"] {
        ensure!(said.contains(word), "`{word}` is not in {said}");
    }
    Ok(())
}

/// The broker's log is cut, as an unclean election cuts it, and grows beyond the position again: only the leader's epoch tells.
#[test]
fn a_log_that_was_cut_and_has_grown_again_is_a_loss_with_its_range() -> Result<()> {
    for is_live in [false, true] {
        let mut cluster = Cluster::new()?;
        let copy = begun(&cluster, "cut")?;
        let live = is_live.then(|| copy.start("", &[])).transpose()?;
        if let Some(child) = &live {
            copy.wait_for_rows(child, 1_000)?;
        }
        cluster.broker.kill()?;
        let data = cluster.broker.data();
        let log = data.join("cut-0/00000000000000000000.log");
        let bytes = std::fs::metadata(&log)?.len();
        std::fs::File::options().write(true).open(&log)?.set_len(bytes / 2)?;
        // Or the broker would believe that all of it was flushed.
        for name in ["recovery-point-offset-checkpoint", ".kafka_cleanshutdown"] {
            let _ = std::fs::remove_file(data.join(name));
        }
        cluster.broker.restart()?;
        cluster.judge = Judge::start(&cluster.broker.address())?;
        let end = cluster.judge.ends("cut")?.first().context("a partition")?.end;
        ensure!((1..1_000).contains(&end), "the log was not cut: it ends at {end}");
        cluster.produce("cut", 1_000, 2_000)?;
        let range = format!("offsets {end} to 999");
        let words = ["input was lost", "topic `cut` partition 0", range.as_str()];
        let Some(child) = live else {
            copy.run_fails(&[], 1, &words)?;
            continue;
        };
        let ended = child.finish()?;
        let said = ended.lines().collect::<Vec<_>>().join("\n");
        ensure!(ended.code() == Some(1), "{said}");
        ensure!(words.iter().all(|word| said.contains(word)), "{words:?} are not in {said}");
    }
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
