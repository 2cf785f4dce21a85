//! What users and machines do wrong: told with its place, state intact, no restart loop on what cannot heal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::seeds::{dice, seed};
use e2e::stage::Stage;
use onceward::child::Child;
use onceward::workload::Workload;

fn stage() -> Result<Stage> {
    Stage::new(Workload { seed: 21, records: 30_000, ..Workload::default() })
}

#[test]
fn a_malformed_row_stops_the_pipeline_with_file_and_line_and_without_a_restart() -> Result<()> {
    let stage = stage()?;
    let path = stage.written.inputs.last().context("inputs")?;
    let lines = std::fs::read_to_string(path)?.lines().count();
    writeln!(std::fs::OpenOptions::new().append(true).open(path)?, "{{\"id\": tomato}}")?;
    for _ in 0..2 {
        let ended = stage.run("", &[])?;
        ensure!(ended.code() == Some(1), "{}", ended.describe());
        let place = format!("{}:{}", path.display(), lines + 1);
        ensure!(ended.lines().any(|line| line.starts_with("error:") && line.contains(&place)), "{}", ended.describe());
        ensure!(ended.events("attempt.failed").is_empty(), "a restart loop: {}", ended.describe());
    }
    stage.assert_nothing_undecided_is_visible()?;
    Ok(())
}

#[test]
fn an_input_that_vanished_is_named_and_the_pipeline_goes_on_when_it_is_back() -> Result<()> {
    let stage = stage()?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    let path = stage.written.inputs.last().context("inputs")?;
    let away = path.with_extension("away");
    std::fs::rename(path, &away)?;
    let ended = stage.run("", &[])?;
    ensure!(ended.code() == Some(1), "{}", ended.describe());
    let name = path.display().to_string();
    ensure!(ended.lines().any(|line| line.starts_with("error:") && line.contains(&name)), "{}", ended.describe());
    std::fs::rename(&away, path)?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_folder_that_may_not_be_written_is_named() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can run a child as somebody else");
        return Ok(());
    }
    let stage = stage()?;
    let manifest = stage.written.manifest.to_str().context("Unicode")?;
    open_to_all(stage.folder())?;
    std::fs::create_dir(&stage.written.state)?;
    open_to_all(&stage.written.state)?;
    // The binary may lie where nobody else can look, as below root's home.
    let program = stage.folder().join("onceward");
    std::fs::copy(e2e::stage::binary()?, &program)?;
    let mut command = Command::new(program);
    command.args(["run", manifest, "--output", "json"]);
    let nobody = 65_534;
    let ended = Child::start(command.uid(nobody).gid(nobody))?.finish()?;
    ensure!(ended.code() == Some(1) || ended.code() == Some(2), "{}", ended.describe());
    let told = ended.lines().any(|line| line.starts_with("error:") && line.contains("out/"));
    ensure!(told, "the folder is not named: {}", ended.describe());
    Ok(())
}

fn open_to_all(path: &std::path::Path) -> Result<()> {
    // The example's folder stays closed for writing, the store is open.
    let mode = if path.ends_with("state") { 0o777 } else { 0o755 };
    Ok(std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?)
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() -> Result<()> {
    let stage = stage()?;
    let out = stage.folder().join("out");
    std::fs::create_dir(&out)?;
    let small = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&out).status();
    if !small.is_ok_and(|status| status.success()) {
        println!("SKIPPED: a small file system can be mounted only by root");
        return Ok(());
    }
    let verdict = fills_up(&stage, &out);
    let unmounted = Command::new("umount").arg(&out).status()?;
    ensure!(unmounted.success(), "the small file system is still mounted on {}", out.display());
    verdict
}

fn fills_up(stage: &Stage, out: &std::path::Path) -> Result<()> {
    stage.edit_manifest("  checkpoint:\n", "  restartPolicy: {never: {}}\n  checkpoint:\n")?;
    let ended = stage.run("", &[])?;
    ensure!(ended.code() == Some(1), "{}", ended.describe());
    let told = ended.lines().any(|line| line.starts_with("error:") && line.to_lowercase().contains("no space"));
    ensure!(told, "the full disk is not told: {}", ended.describe());
    stage.assert_nothing_undecided_is_visible()?;
    let larger = Command::new("mount").args(["-o", "remount,size=64m"]).arg(out).status()?;
    ensure!(larger.success(), "remount");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// Mutated manifests, many to a process: whatever they hold, the answer is an exit code and no panic.
#[test]
fn no_manifest_makes_the_binary_panic() -> Result<()> {
    let seed = seed("manifest fuzz", 7);
    let stage = stage()?;
    let whole = std::fs::read(&stage.written.manifest)?;
    let mut refused = 0;
    for batch in 0..4 {
        let mut files = vec![];
        for file in 0..100 {
            let mut dice = dice(seed, batch * 1_000 + file);
            let path = stage.folder().join(format!("fuzz-{batch}-{file}.yaml"));
            std::fs::write(&path, mutate(&whole, &mut dice))?;
            files.push(path.to_string_lossy().into_owned());
        }
        let arguments: Vec<&str> = std::iter::once("lint").chain(files.iter().map(String::as_str)).collect();
        let output = stage.command(&arguments, "").output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{}: {errors}", output.status);
        ensure!(!errors.contains("panicked"), "{errors}");
        refused += errors.lines().filter(|line| line.starts_with("error:")).count();
    }
    ensure!(refused > 100, "mutations that break nothing test nothing: {refused}");
    Ok(())
}

fn mutate(whole: &[u8], dice: &mut onceward::workload::Dice) -> Vec<u8> {
    const PIECES: &[&str] =
        &["&a [", "*a", "{", "}", "- ", ": ", "\t", "\u{0}", "99999999999999999999", "'", "\"", "!!"];
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        match dice.below(4) {
            0 => bytes.truncate(at.max(1)),
            1 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            2 => {
                let end = (at + dice.below(40) as usize).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let mut piece = String::new();
                let _ = write!(piece, "{}", PIECES[dice.below(PIECES.len() as u64) as usize]);
                bytes.splice(at..at, piece.into_bytes());
            }
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}
