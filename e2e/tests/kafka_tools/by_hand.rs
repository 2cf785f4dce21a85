//! `onceward transactions commit`: what was decided, and nothing else; nobody is fenced.

use anyhow::{Result, ensure};
use e2e::kafka::{Options, Version};
use rustix::process::{Signal, kill_process};

use crate::stage::{Cluster, Shape};
use crate::struck::{decided, expect, ids, open, stopped, struck, tool, visible};

const COMMIT: [&str; 2] = ["transactions", "commit"];

#[test]
fn only_what_a_checkpoint_decided_can_be_committed_by_hand() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = struck(&cluster, Shape { rows: 40_000, ..Shape::new("hand") })?;
    let (good, bad) = (ids(&stage, "decided")?.remove(0), ids(&stage, "undecided")?.remove(0));
    let (before, waiting) = (visible(&stage, "hand")?, decided(&stage, "hand")?);
    ensure!(!waiting.is_empty() && before.is_disjoint(&waiting));
    let log = stage.log()?;
    for named in [vec![bad.as_str()], vec![good.as_str(), bad.as_str()]] {
        expect(tool(&stage, &COMMIT, &named, "")?, 2, &["no checkpoint decided it", "may not become visible"])?;
        ensure!(visible(&stage, "hand")? == before && open(&stage)?.len() == 3, "a refusal did something");
    }
    for override_ in ["--force", "--fence"] {
        expect(tool(&stage, &COMMIT, &[&bad, override_], "")?, 2, &["unexpected argument"])?;
    }
    expect(tool(&stage, &COMMIT, &[&good], "")?, 0, &["committed", "are visible"])?;
    ensure!(visible(&stage, "hand")? == &before | &waiting, "the decided rows, and they alone");
    expect(tool(&stage, &COMMIT, &["--all"], "")?, 0, &["visible already"])?;
    ensure!(stage.log()? == log, "nothing is claimed or written down");
    ensure!(open(&stage)?.len() == 2, "the others are left alone");
    stage.run_well()?;
    stage.assert_exact()?;
    expect(tool(&stage, &COMMIT, &["--all"], "")?, 0, &["no decided transaction waits to be committed"])?;
    expect(tool(&stage, &COMMIT, &[&good], "")?, 2, &["no"])?;

    // A run that lives is not disturbed, though all it waits for is done for it.
    let (stage, child, id) = stopped(&cluster, Shape { rows: 40_000, ..Shape::new("beside") })?;
    expect(tool(&stage, &COMMIT, &["--all"], "")?, 0, &["committed"])?;
    kill_process(id, Signal::CONT)?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0) && ended.events("attempt.failed").is_empty(), "{}", ended.describe());
    stage.assert_exact()
}
