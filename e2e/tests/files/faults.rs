//! What users and machines do wrong: told with its place, state intact, no restart loop on what cannot heal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::seeds::{dice, seed};
use e2e::stage::{SLOW, Stage};
use onceward::child::Child;
use onceward::workload::Workload;

fn stage() -> Result<Stage> {
    Stage::new(Workload { seed: 21, records: 30_000, ..Workload::default() })
}

#[test]
fn a_row_that_cannot_be_read_stops_the_pipeline_with_place_and_fix_and_without_a_restart() -> Result<()> {
    for (row, column, what) in [
        ("{\"id\": tomato}", "column `id`", "expected a value"),
        ("{\"id\": 1.5, \"ts\": 5}", "column `id`", "is not a BIGINT"),
        ("{\"id\": 1}", "column `ts`", "event time is missing or null"),
    ] {
        let stage = stage()?;
        let path = stage.written.inputs.last().context("inputs")?;
        let lines = std::fs::read_to_string(path)?.lines().count();
        writeln!(std::fs::OpenOptions::new().append(true).open(path)?, "{row}")?;
        let place = format!("{}:{}", path.display(), lines + 1);
        for _ in 0..2 {
            stage.run_fails(&[], 1, &["source `orders`", &place, column, what, "onError: Skip"])?;
        }
        stage.assert_nothing_undecided_is_visible()?;
        // As the message says.
        stage.edit_manifest("format: {json: {}}\n    columns", "format: {json: {onError: Skip}}\n    columns")?;
        stage.run_well()?;
        std::fs::write(path, std::fs::read_to_string(path)?.replace(&format!("{row}\n"), ""))?;
        stage.assert_exact_and_tidy()?;
    }
    Ok(())
}

#[test]
fn an_input_that_changed_is_named_with_the_fix_and_put_back_it_goes_on() -> Result<()> {
    type Change = fn(&Path, &[u8]) -> std::io::Result<()>;
    let stage = stage()?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    let path = stage.written.inputs.last().context("inputs")?;
    let away = path.with_extension("away");
    let whole = std::fs::read(path)?;
    let changes: [(&str, Change); 5] = [
        ("has vanished", |_, _| Ok(())),
        ("has shrunk", |path, whole| std::fs::write(path, &whole[..whole.len() / 2])),
        ("first bytes have changed", |path, whole| std::fs::write(path, [b" ", &whole[1..]].concat())),
        ("was modified", |path, whole| std::fs::write(path, [&whole[..whole.len() - 1], b" "].concat())),
        ("is no file any more", |path, _| std::fs::create_dir(path)),
    ];
    for (told, change) in changes {
        // Moved, not copied: the time of its last change is part of what it is known by.
        std::fs::rename(path, &away)?;
        change(path, &whole)?;
        let name = path.display().to_string();
        let words = ["source `orders`", &name, told, "put the original back, or start anew with --fresh"];
        let ended = stage.run_fails(&[], 1, &words)?;
        ensure!(ended.events("failed")[0]["reason"] == "SourceDataLost", "{}", ended.describe());
        if path.is_dir() {
            std::fs::remove_dir(path)?;
        } else {
            std::fs::remove_file(path).or_else(gone)?;
        }
        std::fs::rename(&away, path)?;
    }
    // What is added later is not this pipeline's: rows behind the end, and files.
    writeln!(std::fs::OpenOptions::new().append(true).open(path)?, "{{\"id\": tomato}}")?;
    let more = path.with_file_name("orders-later.jsonl");
    std::fs::write(&more, "{\"id\": tomato}\n")?;
    stage.run_well()?;
    std::fs::write(path, &whole)?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[test]
fn what_may_not_be_read_or_written_is_named() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can run a child as somebody else");
        return Ok(());
    }
    let stage = stage()?;
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    mode(stage.folder(), 0o755)?;
    std::fs::create_dir(&stage.state)?;
    // The binary may lie where nobody else can look, as below root's home.
    let program = stage.folder().join("onceward");
    std::fs::copy(e2e::stage::binary()?, &program)?;
    let as_nobody = |words: &[&str]| -> Result<()> {
        let mut command = Command::new(&program);
        let nobody = 65_534;
        command.arg("run").arg(&stage.manifest).args(["--output", "json"]).uid(nobody).gid(nobody);
        let ended = Child::start(&mut command)?.finish()?;
        let told = ended.lines().any(|line| line.starts_with("error:") && words.iter().all(|word| line.contains(word)));
        ensure!(told && ended.code() == Some(1), "{words:?}: {}", ended.describe());
        ensure!(ended.events("attempt.failed").is_empty(), "rights do not change by waiting: {}", ended.describe());
        Ok(())
    };
    let denied = "Permission denied";
    as_nobody(&["sink `", "out/", denied])?;
    std::fs::create_dir(stage.folder().join("out"))?;
    mode(&stage.folder().join("out"), 0o777)?;
    as_nobody(&["checkpoint store", &stage.state.display().to_string(), denied])?;
    mode(&stage.state, 0o777)?;
    let input = stage.written.inputs.last().context("inputs")?;
    mode(input, 0o600)?;
    as_nobody(&["source `orders`", &input.display().to_string(), denied])?;
    mode(input, 0o644)?;
    let ended = stage.run_well()?;
    ensure!(ended.events("finished").len() == 1, "{}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// A small file system on `folder`; false where this may not be made.
fn small_disk(folder: &Path) -> Result<bool> {
    std::fs::create_dir_all(folder)?;
    let small = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder).status();
    let mounted = small.is_ok_and(|status| status.success());
    if !mounted {
        println!("SKIPPED: a small file system can be mounted only by root");
    }
    Ok(mounted)
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() -> Result<()> {
    for (folder, who) in [("out", "sink `"), ("state", "checkpoint store")] {
        let stage = Stage::new(Workload { seed: 22, records: 60_000, customers: 3_000, ..Workload::default() })?;
        let small = stage.folder().join(folder);
        if !small_disk(&small)? {
            return Ok(());
        }
        let verdict = fills_up(&stage, &small, who);
        let unmounted = Command::new("umount").arg(&small).status()?;
        ensure!(unmounted.success(), "the small file system is still mounted on {}", small.display());
        verdict.with_context(|| folder.to_owned())?;
    }
    Ok(())
}

fn fills_up(stage: &Stage, small: &Path, who: &str) -> Result<()> {
    let policies = ["  restartPolicy: {never: {}}\n  checkpoint:\n", "  checkpoint:\n"];
    stage.edit_manifest(policies[1], policies[0])?;
    let ended = stage.run(SLOW, &[])?;
    let words = [who, &small.display().to_string(), "No space"];
    let told = ended.lines().any(|line| line.starts_with("error:") && words.iter().all(|word| line.contains(word)));
    ensure!(told && ended.code() == Some(1), "{words:?}: {}", ended.describe());
    stage.assert_nothing_undecided_is_visible()?;
    let larger = || -> Result<()> {
        let larger = Command::new("mount").args(["-o", "remount,size=64m"]).arg(small).status()?;
        ensure!(larger.success(), "remount");
        Ok(())
    };
    if small.ends_with("state") {
        // A store that is full at the start is refused before anything is claimed.
        stage.run_fails(&[], 1, &[who, "No space"])?;
        larger()?;
        stage.run_well()?;
    } else {
        // Left to the restart policy it tells, waits, and goes on by itself when there is room.
        stage.edit_manifest(policies[0], policies[1])?;
        let mut child = stage.start(SLOW, &[])?;
        child.wait_for(|said| said.is_event("attempt.failed"))?;
        larger()?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{}", ended.describe());
    }
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_file_that_may_not_grow_is_named_and_loses_nothing() -> Result<()> {
    let stage = stage()?;
    stage.edit_manifest("  checkpoint:\n", "  restartPolicy: {never: {}}\n  checkpoint:\n")?;
    let run = stage.run_command("", &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 40; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let ended = Child::start(&mut limited)?.finish()?;
    let told = ended.lines().any(|line| line.starts_with("error:") && line.contains("File too large"));
    ensure!(told && ended.code() == Some(1), "{}", ended.describe());
    stage.assert_nothing_undecided_is_visible()?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// Mutated manifests, many to a process: whatever they hold, the answer is an exit code and no panic.
#[test]
fn no_manifest_makes_the_binary_panic() -> Result<()> {
    let seed = seed("manifest fuzz", 7);
    let stage = stage()?;
    let whole = std::fs::read(&stage.manifest)?;
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
