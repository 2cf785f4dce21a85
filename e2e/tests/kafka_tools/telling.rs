//! `list` and `describe`: the same as Kafka's own client tells, and what the log says of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version, Writer};

use crate::stage::{Cluster, Shape, Stage};
use crate::struck::{bootstrap, expect, ids, list, open, struck, tool};

#[test]
fn open_transactions_are_told_with_age_partitions_and_decision() -> Result<()> {
    for version in [Version::Newest, Version::V3] {
        let cluster = Cluster::new(version, &Options::default())?;
        let shape = Shape { rows: 40_000, ..Shape::new("told") };
        let stage = struck(&cluster, shape)?;
        agrees_with_the_judge(&stage)?;
        describes(&stage)?;
        tells_foreign_ones_apart(&cluster, &stage)?;
        stage.run_well()?;
        ensure!(list(&stage)?.is_empty(), "nothing is open any more");
        expect(tool(&stage, &["transactions", "list"], &[], "")?, 0, &["no open transactions"])?;
        stage.assert_rows()?;
    }
    Ok(())
}

fn agrees_with_the_judge(stage: &Stage<'_>) -> Result<()> {
    let listed = list(stage)?;
    let by_id: BTreeMap<&str, _> = listed.iter().filter_map(|one| Some((one["id"].as_str()?, one))).collect();
    let open = open(stage)?;
    ensure!(open.len() == by_id.len() && open.len() == 3, "{open:?}, {by_id:?}");
    let newest = &stage.checkpoints()?[0];
    let checkpoint = format!("{}/{}", newest["attempt"], newest["epoch"]);
    for judged in &open {
        let told = by_id.get(judged.id.as_str()).with_context(|| format!("{} is not listed", judged.id))?;
        ensure!(told["producerId"] == judged.producer_id && told["producerEpoch"] == judged.producer_epoch, "{told}");
        ensure!(told["startMs"].as_i64() == judged.start_ms && told["timeoutMs"] == judged.timeout_ms, "{told}");
        ensure!(told["partitions"].as_array().map(Vec::len) == Some(judged.partitions as usize), "{told}");
        ensure!(told["state"] == judged.state && told["phase"] == "open", "{told}");
        let (age, left) = (told["ageMs"].as_i64().context("age")?, told["leftMs"].as_i64().context("left")?);
        ensure!(age > 0 && age + left == judged.timeout_ms, "age {age}, left {left} of {}", judged.timeout_ms);
        let owner = &told["owner"];
        let id = format!(
            "{}/{}/1/out0/0/{}",
            owner["prefix"].as_str().unwrap(),
            owner["pipeline"].as_str().unwrap(),
            owner["slot"]
        );
        ensure!(id == judged.id && owner["attempt"] == 1 && owner["sink"] == "out0" && owner["writer"] == 0, "{told}");
        let is_decided = told["standing"] == "decided";
        ensure!(is_decided == (told["checkpoint"] == checkpoint.as_str()), "{told}");
    }
    let words = ["decided by checkpoint", "undecided", "told-", "age ", " left", "-> ", "onceward commit", "--fence"];
    expect(tool(stage, &["transactions", "list"], &[], "")?, 0, &words)?;
    Ok(())
}

fn describes(stage: &Stage<'_>) -> Result<()> {
    let (decided, undecided) = (ids(stage, "decided")?.remove(0), ids(stage, "undecided")?.remove(0));
    let describe = |id: &str, more: &[&str]| tool(stage, &["transactions", "describe"], &[&[id], more].concat(), "");
    let words =
        ["Ongoing", "out0", "partitions", "told-0", "prepared", "not written down yet", "offsets", "decided by"];
    expect(describe(&decided, &[])?, 0, &words)?;
    let ended = expect(describe(&undecided, &[])?, 0, &["undecided", "Ongoing"])?;
    ensure!(!ended.describe().contains("prepared"), "{}", ended.describe());
    let ended = expect(describe(&decided, &["-o", "json"])?, 0, &[])?;
    let said = ended.describe();
    ensure!(said.contains("\"now\":\"prepared\"") && said.contains("\"expiresMs\":"), "{said}");
    expect(describe("onceward/nobody", &[])?, 1, &["nobody knows a transaction `onceward/nobody`"])?;
    Ok(())
}

/// Another program's transaction is shown where its prefix is asked for, and never touched.
fn tells_foreign_ones_apart(cluster: &Cluster, stage: &Stage<'_>) -> Result<()> {
    cluster.judge.create("foreign", 1)?;
    let foreign = "onceward/foreign";
    let writer = Writer::start(&bootstrap(stage)?, foreign, Duration::from_mins(10))?;
    writer.write(&[("foreign", 0)], 1)?;
    let ended = tool(stage, &["transactions", "list"], &["--prefix", "onceward/"], "")?;
    let ended = expect(ended, 0, &[foreign, "of no attempt known", "not this pipeline's", "decided by checkpoint"])?;
    ensure!(ended.describe().matches("foreign-0").count() == 1, "{}", ended.describe());
    ensure!(list(stage)?.iter().all(|one| one["id"] != foreign), "it is not this pipeline's");
    for verb in ["commit", "abort"] {
        expect(tool(stage, &["transactions", verb], &[foreign], "")?, 2, &[foreign])?;
    }
    ensure!(cluster.judge.transaction(foreign)?.is_some_and(|one| one.is_open()), "it was touched");
    Ok(())
}
