//! Where reading begins and ends.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::stage::{BEGIN_MS, Cluster, Copy, Source, Told, committed, stop};

/// Runs to the end; what was read of the topic is what `wanted` says.
fn reads(cluster: &Cluster, topic: &str, more: &str, wanted: impl Fn(&Told) -> bool) -> Result<usize> {
    let expected: BTreeSet<_> = committed(cluster, topic)?.into_iter().filter(wanted).collect();
    let copy = Copy::new(cluster, &Source { topics: &[topic], more, ..Source::default() })?;
    copy.run_well()?;
    copy.assert_holds(&expected)?;
    Ok(expected.len())
}

/// As a manifest writes a moment of the test's day, so many milliseconds after its begin.
fn moment(millis: i64) -> String {
    // 1,795,000,000 seconds are 2026-11-18T11:06:40Z.
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    format!("\"2026-11-18T11:06:{:02}.{rest:03}Z\"", 40 + seconds)
}

#[test]
fn offsets_moments_and_words_bound_a_read() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("bounds", 2)?;
    cluster.produce("bounds", 0, 10_000)?;
    let begin = moment(3_000);
    let end = moment(7_000);
    let (from, to) = (BEGIN_MS + 3_000, BEGIN_MS + 7_000);
    let more = format!("startFrom: {begin}, until: {end}");
    ensure!(reads(&cluster, "bounds", &more, |told| (from..to).contains(&told.2))? == 4_000);
    let late = moment(15_000);
    ensure!(reads(&cluster, "bounds", &format!("startFrom: {late}, until: Latest"), |_| false)? == 0);
    ensure!(reads(&cluster, "bounds", &format!("until: {late}"), |_| true)? == 10_000);
    ensure!(reads(&cluster, "bounds", "startFrom: Latest, until: Latest", |_| false)? == 0);
    // A partition that is not listed is not read.
    let more = "untilOffsets: [{topic: bounds, partition: 1, offset: 1234}]";
    ensure!(reads(&cluster, "bounds", more, |told| told.0 == 1 && told.1 < 1_234)? == 1_234);
    Ok(())
}

#[test]
fn what_is_not_there_is_refused_by_name() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("narrow", 1)?;
    let copy = Copy::new(&cluster, &Source { topics: &["nowhere"], more: "until: Latest", ..Source::default() })?;
    copy.run_fails(&[], 1, &["topic `nowhere`", "create it"])?;
    let more = "untilOffsets: [{topic: narrow, partition: 7, offset: 1}]";
    let copy = Copy::new(&cluster, &Source { topics: &["narrow"], more, ..Source::default() })?;
    copy.run_fails(&[], 1, &["partition 7", "untilOffsets"])?;
    Ok(())
}

#[test]
fn a_group_is_told_of_checkpoints_and_may_say_where_to_begin() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("grouped", 2)?;
    cluster.produce("grouped", 0, 3_000)?;
    let first = Copy::new(&cluster, &Source { topics: &["grouped"], more: "groupId: lag-tool", ..Source::default() })?;
    let child = first.start("", &[])?;
    first.wait_for_rows(&child, 3_000)?;
    let told =
        || -> Result<i64> { Ok(cluster.judge.group_offsets("lag-tool")?.iter().map(|found| found.offset).sum()) };
    let mut looks = 0;
    while told()? < 3_000 {
        looks += 1;
        ensure!(looks < 500 && child.outlives(std::time::Duration::from_millis(20)), "the group was told {}", told()?);
    }
    stop(child)?;
    let before = committed(&cluster, "grouped")?;
    cluster.produce("grouped", 3_000, 2_000)?;
    let more = "groupId: lag-tool, startFrom: CommittedOffsets, until: Latest";
    ensure!(reads(&cluster, "grouped", more, |told| !before.contains(told))? == 2_000);
    // A group that has committed nothing begins at the beginning.
    let more = "groupId: nobody, startFrom: CommittedOffsets, until: Latest";
    ensure!(reads(&cluster, "grouped", more, |_| true)? == 5_000);
    Ok(())
}

#[test]
fn json_records_are_columns_and_bad_ones_are_named() -> Result<()> {
    let cluster = Cluster::shared()?;
    cluster.judge.create("json", 1)?;
    cluster.put("json", 0, &[Some("{\"n\": 1}"), Some("{\"n\": \"x\"}"), None, Some("{\"n\": 4}")])?;
    let copy = Copy::new(&cluster, &Source { topics: &["json"], more: "until: Latest", ..Source::default() })?;
    copy.edit_manifest("format: {raw: {}}", "format: {json: {}}")?;
    copy.edit_manifest("{name: v, type: VARBINARY}", "{name: n, type: BIGINT}")?;
    copy.edit_manifest("k, v, h FROM", "k, n AS v, h FROM")?;
    copy.run_fails(&[], 1, &["topic `json` partition 0 offset 1 (byte 6), column `n`", "onError: Skip"])?;
    copy.edit_manifest("format: {json: {}}\n    columns", "format: {json: {onError: Skip}}\n    columns")?;
    let ended = copy.run_well()?;
    let rows: Vec<_> = copy.visible()?.into_values().flatten().collect();
    let rows = String::from_utf8(rows).context("rows are text")?;
    ensure!(rows.lines().count() == 2 && rows.contains("\"v\":4"), "{rows}; {}", ended.describe());
    Ok(())
}
