//! Deaths, restarts, and what changes at the broker meanwhile: no record is missing, none comes twice.

use anyhow::{Result, ensure};

use crate::stage::{Cluster, Copy, Source, committed, stop};

/// Places before, at and after a decision, and while records are on their way.
const STEPS: [(&str, u64); 5] = [
    ("worker.first_record", 1),
    ("worker.barrier_emitted", 3),
    ("coordinator.before_decide", 2),
    ("coordinator.decided", 3),
    ("coordinator.before_commit", 3),
];

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("killed", 3)?;
    // Small answers and little room for them, so that there are many batches.
    let properties = "max.partition.fetch.bytes: 20000, queued.max.messages.kbytes: 1";
    let copy = Copy::new(&cluster, &Source { topics: &["killed"], properties, ..Source::default() })?;
    let mut produced = 0;
    for (step, nth) in STEPS {
        // Enough for several epochs at each step.
        cluster.produce("killed", produced, 30_000)?;
        produced += 30_000;
        copy.crash_at(step, nth, &[])?;
        copy.assert_nothing_undecided_is_visible()?;
    }
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, produced as usize)?;
    stop(child)?;
    copy.assert_tidy()?;
    ensure!(copy.assert_exact(&cluster)?.len() == produced as usize);
    Ok(())
}

#[test]
fn where_an_idle_partition_began_is_remembered() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("idle", 2)?;
    cluster.put("idle", 1, &[Some("before"); 7])?;
    let before = committed(&cluster, "idle")?;
    let copy = Copy::new(&cluster, &Source { topics: &["idle"], more: "startFrom: Latest", ..Source::default() })?;
    let mut child = copy.start("", &[])?;
    child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    cluster.put("idle", 0, &[Some("meanwhile"); 5])?;
    copy.wait_for_rows(&child, 5)?;
    stop(child)?;
    cluster.put("idle", 1, &[Some("after"); 3])?;
    for rows in [8, 12] {
        let child = copy.start("", &[])?;
        copy.wait_for_rows(&child, rows)?;
        stop(child)?;
        cluster.put("idle", 1, &[Some("later"); 4])?;
    }
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, 16)?;
    stop(child)?;
    copy.assert_holds(&committed(&cluster, "idle")?.difference(&before).cloned().collect())
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("grown", 1)?;
    cluster.produce("grown", 0, 1_000)?;
    let more = "startFrom: Latest";
    let copy = Copy::new(&cluster, &Source { topics: &["grown"], more, ..Source::default() })?;
    let before = committed(&cluster, "grown")?;
    let mut child = copy.start("", &[])?;
    child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    cluster.grow("grown", 5)?;
    cluster.produce("grown", 1_000, 2_000)?;
    copy.wait_for_rows(&child, 2_000)?;
    child.kill()?;
    drop(child.finish()?);
    cluster.produce("grown", 3_000, 1_000)?;
    // Also one that is added while nobody runs, and another parallelism.
    cluster.grow("grown", 6)?;
    cluster.put("grown", 5, &[Some("new"); 10])?;
    copy.edit_manifest("parallelism: 2", "parallelism: 3")?;
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, 3_010)?;
    stop(child)?;
    let expected = committed(&cluster, "grown")?.difference(&before).cloned().collect();
    copy.assert_holds(&expected)?;
    let partitions: std::collections::BTreeSet<_> = expected.iter().map(|told| told.0).collect();
    ensure!(partitions.len() == 6, "{partitions:?} hold records");
    Ok(())
}

#[test]
fn a_broker_that_dies_is_waited_for() -> Result<()> {
    let mut cluster = Cluster::new()?;
    cluster.judge.create("outage", 3)?;
    cluster.produce("outage", 0, 2_000)?;
    let copy = Copy::new(&cluster, &Source { topics: &["outage"], ..Source::default() })?;
    let child = copy.start("", &[])?;
    copy.wait_for_rows(&child, 2_000)?;
    for round in 1..=2 {
        cluster.broker.kill()?;
        // Long enough for every connection to notice.
        ensure!(child.outlives(std::time::Duration::from_millis(500)), "the run ended");
        cluster.broker.restart()?;
        cluster.produce("outage", round * 2_000, 2_000)?;
        copy.wait_for_rows(&child, (round as usize + 1) * 2_000)?;
    }
    let ended = stop(child)?;
    ensure!(ended.events("attempt.failed").is_empty(), "{}", ended.describe());
    ensure!(copy.assert_exact(&cluster)?.len() == 6_000);
    Ok(())
}
