//! Runs the binary and reads from the kernel what it used.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;

/// One finished child.
pub(crate) struct Measured {
    pub(crate) wall_seconds: f64,
    /// User and system time of all threads.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_mb: f64,
    events: Vec<Value>,
}

impl Measured {
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|event| event["event"] == "checkpoint.completed")
    }
}

/// Runs a manifest in a fresh folder to its end.
pub(crate) fn run(onceward: &Path, manifest: &str) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let mut command = command(onceward, manifest, folder.path())?;
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| onceward.display().to_string())?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let reader = std::thread::spawn(move || -> Vec<Value> {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str(&line).ok())
            .collect()
    });
    let pid = Pid::from_child(&child);
    let peak_rss_mb = watch(pid)?;
    let wall_seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds(pid)?;
    let status = child.wait()?;
    let events = reader.join().map_err(|_| anyhow::anyhow!("the reader of events died"))?;
    anyhow::ensure!(status.success(), "onceward run ended with {status}: {:?}", events.last());
    Ok(Measured { wall_seconds, cpu_seconds, peak_rss_mb, events })
}

/// Seconds from the start of the process to its first row's way through the first stage, where the process is killed.
pub(crate) fn time_to_first_row(onceward: &Path, manifest: &str) -> Result<f64> {
    const KILLED: i32 = 9;
    let folder = tempfile::tempdir()?;
    let mut command = command(onceward, manifest, folder.path())?;
    command.env("ONCEWARD_CRASHPOINT", "worker.first_record=kill");
    let begin = Instant::now();
    let status = command.spawn().with_context(|| onceward.display().to_string())?.wait()?;
    let seconds = begin.elapsed().as_secs_f64();
    anyhow::ensure!(status.signal() == Some(KILLED), "the run ended with {status} before its first row");
    Ok(seconds)
}

fn command(onceward: &Path, manifest: &str, folder: &Path) -> Result<Command> {
    let file = folder.join("pipeline.yaml");
    std::fs::write(&file, manifest)?;
    let mut command = Command::new(onceward);
    command.arg("run").arg(&file).args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

/// Polls the peak resident size until the child has exited; it stays unreaped, so that its times can still be read.
fn watch(pid: Pid) -> Result<f64> {
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let mut peak = 0.0_f64;
    loop {
        if let Ok(text) = std::fs::read_to_string(&status)
            && let Some(kb) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
            && let Some(kb) = kb.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok())
        {
            peak = peak.max(kb / 1e3);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            return Ok(peak);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, in ticks of 10 ms.
fn cpu_seconds(pid: Pid) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let after_name = text.rsplit_once(')').context("no name in /proc/<pid>/stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("short /proc/<pid>/stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
