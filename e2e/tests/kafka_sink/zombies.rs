//! A run that is stopped in the middle of something while another one takes over, and goes on afterwards.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::Said;
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Cluster, Shape, Stage};

/// Where it could initialise, produce, commit or abort.
const PLACES: [&str; 6] = [
    "kafka.before_init",
    "kafka.initialised",
    "kafka.flushed",
    "coordinator.decided",
    "kafka.before_end",
    "kafka.ended",
];

#[test]
fn a_zombie_aborts_nothing_that_is_decided_and_commits_nothing_that_is_not() -> Result<()> {
    let cluster = Cluster::new(Version::Newest, &Options::default())?;
    for place in PLACES {
        let topic = format!("zombie-{}", place.replace(['.', '_'], "-"));
        let stage = Stage::new(&cluster, Shape::struck(&topic))?;
        // Long enough that only the signal can end it.
        let mut zombie = stage.start(&format!("{place}:3=pause:2s,{SLOW}"), &[])?;
        let there = Said::Line(format!("crashpoint {place} 3"));
        zombie.wait_for(|said| *said == there)?;
        let id = Pid::from_raw(zombie.id().cast_signed()).context("a process id")?;
        kill_process(id, Signal::STOP)?;
        stage.run_out(&[]).with_context(|| place.to_owned())?;
        kill_process(id, Signal::CONT)?;
        let ended = zombie.finish()?;
        ensure!(ended.code() == Some(3), "{place}: a fenced run leaves with 3: {}", ended.describe());
        // It may have opened another transaction before it learned; that one may stay open until it expires.
        stage.assert_rows().with_context(|| place.to_owned())?;
    }
    Ok(())
}
