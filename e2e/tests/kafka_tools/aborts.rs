//! `onceward transactions abort`: what nobody decided, and by force what a checkpoint did.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use onceward::screen::thousands;

use crate::stage::{Cluster, Shape, Stage};
use crate::struck::{decided, expect, finish_without, ids, open, records, struck, tool, visible};

const ABORT: [&str; 2] = ["transactions", "abort"];
const REASON: &str = "its readers cannot wait any longer";

fn shape(topic: &str) -> Shape {
    Shape { sinks: 2, ..Shape::struck(topic) }
}

/// What one forced abort is to throw away: the first sink's transaction, and its rows.
struct Victim {
    id: String,
    rows: BTreeSet<u64>,
}

fn victim(stage: &Stage<'_>) -> Result<Victim> {
    let id = ids(stage, "decided")?.into_iter().find(|id| id.contains("/out0/")).context("of the first sink")?;
    let rows = decided(stage, &stage.shape.topic)?;
    ensure!(!rows.is_empty());
    Ok(Victim { id, rows })
}

fn force(victim: &Victim) -> [&str; 4] {
    [&victim.id, "--force", "--reason", REASON]
}

#[test]
fn what_nobody_decided_is_aborted_and_what_was_decided_is_refused() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = struck(&cluster, shape("undecided"))?;
    let (good, bad) = (ids(&stage, "decided")?, ids(&stage, "undecided")?);
    let log = stage.log()?;
    let refusals: [(&[&str], &str); 5] = [
        (&[&good[0]], "everything of it must become visible"),
        (&[&good[0], "--fence"], "--force --reason TEXT"),
        (&[&bad[0], &good[0], "--fence"], "everything of it must become visible"),
        (&[&bad[0]], "it may be at work"),
        (&["--all"], "--fence"),
    ];
    for (more, words) in refusals {
        expect(tool(&stage, &ABORT, more, "")?, 2, &[words])?;
        ensure!(open(&stage)?.len() == 6 && stage.log()? == log, "{more:?}: a refusal did something");
    }
    expect(tool(&stage, &ABORT, &["onceward/nobody"], "")?, 0, &["nothing of that is open"])?;
    let before = visible(&stage, "undecided")?;
    let waiting = decided(&stage, "undecided")?;
    expect(tool(&stage, &ABORT, &[&bad[0], "--fence"], "")?, 0, &["is fenced now", "aborted", &bad[0]])?;
    // After the log was taken over nobody can decide the others either; and what was decided is committed first.
    ensure!(open(&stage)?.is_empty(), "{:?}", open(&stage)?);
    ensure!(visible(&stage, "undecided")? == &before | &waiting);
    stage.run_out(&[])?;
    stage.assert_exact()
}

#[test]
fn a_forced_abort_loses_exactly_what_it_names_and_the_next_run_goes_on() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    let stage = struck(&cluster, shape("forced"))?;
    let victim = victim(&stage)?;
    expect(tool(&stage, &ABORT, &[&victim.id, "--force"], "")?, 2, &["--reason"])?;
    let ended = tool(&stage, &ABORT, &force(&victim), "")?;
    let lost = format!("1 aborted by force ({} rows are lost)", thousands(victim.rows.len() as u64));
    expect(ended, 0, &["1 committed", &lost, "4 undecided aborted"])?;
    ensure!(records(&stage, &["\"outcome\":\"lossAccepted\"", REASON])? == 1, "{}", stage.describe());
    ensure!(records(&stage, &["\"cause\":\"forced\""])? == 1, "{}", stage.describe());
    ensure!(open(&stage)?.is_empty());
    expect(tool(&stage, &ABORT, &force(&victim), "")?, 2, &["is settled"])?;
    finish_without(&stage, "forced", &victim.rows)?;
    finish_without(&stage, "forced-2", &BTreeSet::new())
}

/// Steps of a forced abort in their order, and whether its victim is gone by then without a record of it.
const STEPS: [(&str, State); 9] = [
    ("claim.created", State::Whole),
    ("claim.finished", State::Whole),
    ("recovery.classified", State::Whole),
    ("kafka.ended", State::Whole),
    ("recovery.committed", State::Whole),
    ("recovery.before_take_back", State::Whole),
    ("recovery.taken_back", State::Lost),
    ("recovery.before_append", State::Lost),
    ("recovery.appended", State::Accepted),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The victim is decided as before: the next run commits it.
    Whole,
    /// It is gone, and nobody has accepted that: the next run stops.
    Lost,
    /// It is gone, and the log says why.
    Accepted,
}

#[test]
fn a_forced_abort_that_dies_at_any_step_is_undone_or_found_as_a_loss_or_done() -> Result<()> {
    let only = std::env::var("STEP").ok();
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    for (step, state) in STEPS {
        if only.as_ref().is_none_or(|only| step.starts_with(only.as_str())) {
            dies_at(&cluster, step, state).with_context(|| format!("{step}, {state:?}"))?;
        }
    }
    Ok(())
}

fn dies_at(cluster: &Cluster, step: &str, state: State) -> Result<()> {
    let topic = format!("dies-{}", step.replace(['.', '_'], "-"));
    let stage = struck(cluster, shape(&topic))?;
    let victim = victim(&stage)?;
    let ended = tool(&stage, &ABORT, &force(&victim), &format!("{step}=kill"))?;
    ensure!(ended.died_at(step, 1), "it did not die at {step}: {}", ended.describe());
    let none = BTreeSet::new();
    let missing = if state == State::Whole { &none } else { &victim.rows };
    if state == State::Lost {
        stage.run_fails(&[], 1, &["CommitLost", "--accept-loss"])?;
        // Also to whoever only wants to commit, and told again from the record.
        let rows = format!("{} rows of sink `out0`", victim.rows.len());
        expect(tool(&stage, &["commit"], &[], "")?, 1, &["CommitLost", &rows])?;
        ensure!(records(&stage, &["\"outcome\":\"lost\"", &rows])? >= 1, "{}", stage.describe());
        expect(tool(&stage, &ABORT, &force(&victim), "")?, 0, &["settled"])?;
    }
    finish_without(&stage, &topic, missing)?;
    finish_without(&stage, &format!("{topic}-2"), &none)?;
    let accepted = records(&stage, &["\"outcome\":\"lossAccepted\"", REASON])?;
    ensure!(accepted <= 1, "{accepted} records of it");
    Ok(())
}
