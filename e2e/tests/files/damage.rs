//! Damage in the checkpoint store is refused with path and reason, never restored from; healed, the pipeline goes on.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::stage::Stage;
use onceward::workload::Workload;

#[derive(Clone, Copy, Debug)]
enum Damage {
    FlippedBit,
    Truncated,
    Emptied,
    Missing,
    NewerVersion,
}

/// A stage with state: killed after some epochs.
fn struck() -> Result<Stage> {
    let stage = Stage::new(Workload { seed: 3, records: 30_000, customers: 2_000, ..Workload::default() })?;
    stage.crash_at("coordinator.all_committed", 4, &[])?;
    Ok(stage)
}

/// The object that the newest checkpoint needs: its record, or one of its parts.
fn newest(stage: &Stage, parts: bool) -> Result<PathBuf> {
    let mut newest = None;
    for (name, bytes) in stage.log()? {
        let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let completed = &record["content"]["record"]["completed"];
        let Some(epoch) = completed["epoch"].as_u64() else { continue };
        if newest.as_ref().is_none_or(|(highest, _, _)| epoch > *highest) {
            newest = Some((epoch, name, completed.clone()));
        }
    }
    let (_, name, completed) = newest.context("no checkpoint")?;
    if !parts {
        return Ok(stage.written.state.join(name));
    }
    let text = completed.to_string();
    let log = name.split('/').next().unwrap_or("0");
    let part = stage.log()?.into_keys().find(|name| {
        name.strip_prefix(log)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|part| part.contains("/parts/") && text.contains(part))
    });
    Ok(stage.written.state.join(part.context("the checkpoint has no part of its own")?))
}

fn damage(path: &PathBuf, how: Damage) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    match how {
        Damage::Missing => return Ok(std::fs::remove_file(path)?),
        Damage::FlippedBit => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Damage::Truncated => bytes.truncate(bytes.len() / 2),
        Damage::Emptied => bytes.clear(),
        Damage::NewerVersion => {
            let text = String::from_utf8(bytes)?;
            bytes = text.replacen("\"version\":1", "\"version\":2", 1).into_bytes();
        }
    }
    Ok(std::fs::write(path, bytes)?)
}

fn refuses(parts: bool, how: Damage) -> Result<()> {
    let stage = struck()?;
    let path = newest(&stage, parts)?;
    let (whole, visible) = (std::fs::read(&path)?, stage.visible()?);
    damage(&path, how)?;
    let name = path.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
    let ended = stage.run("", &[])?;
    ensure!(ended.code() == Some(1), "damage must end the run with 1: {}", ended.describe());
    let told = ended.lines().any(|line| line.starts_with("error:") && line.contains(&name));
    ensure!(told, "{name} is not named: {}", ended.describe());
    ensure!(ended.events("attempt.failed").is_empty(), "damage does not heal by trying again: {}", ended.describe());
    ensure!(stage.visible()? == visible, "something became visible");
    let state = stage.written.state.to_str().context("Unicode")?.to_owned();
    let verified = stage.command(&["checkpoints", &state, "--verify"], "").output()?;
    let errors = String::from_utf8_lossy(&verified.stderr).into_owned();
    ensure!(verified.status.code() == Some(1) && errors.contains(&name), "verify does not tell: {errors}");
    std::fs::write(&path, whole)?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_damaged_record_or_part_is_refused_by_name_and_healed_it_goes_on() {
    let mut cases = vec![];
    for how in [Damage::FlippedBit, Damage::Truncated, Damage::Emptied, Damage::Missing] {
        cases.push((true, how));
    }
    // A record that is missing is told by the output that it made visible: see `starts`.
    for how in [Damage::FlippedBit, Damage::Truncated, Damage::Emptied, Damage::NewerVersion] {
        cases.push((false, how));
    }
    super::in_lanes(&cases, |(parts, how)| {
        refuses(*parts, *how).with_context(|| format!("{how:?} of a {}", if *parts { "part" } else { "record" }))
    });
}
