//! Runs the binary and reads from the kernel what it used.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
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
    Running::start(command(onceward, manifest, folder.path())?)?.finish()
}

/// A child that lives. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    begin: Instant,
    reader: Option<JoinHandle<Vec<Value>>>,
}

impl Running {
    /// Standard output is read as events if the command pipes it.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| command.get_program().display().to_string())?;
        let reader = child.stdout.take().map(|stdout| std::thread::spawn(move || events(stdout)));
        Ok(Self { child, begin, reader })
    }

    /// Waits for a successful end.
    pub(crate) fn finish(mut self) -> Result<Measured> {
        let pid = Pid::from_child(&self.child);
        let peak_rss_mb = watch(pid)?;
        let wall_seconds = self.begin.elapsed().as_secs_f64();
        let cpu_seconds = cpu_seconds(pid)?;
        let status = self.child.wait()?;
        let events = self.events()?;
        anyhow::ensure!(status.success(), "the run ended with {status}: {:?}", events.last());
        Ok(Measured { wall_seconds, cpu_seconds, peak_rss_mb, events })
    }

    /// User and system time so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(Pid::from_child(&self.child))
    }

    /// Asks it to stop after a look at what it has used so far, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<Measured> {
        let pid = Pid::from_child(&self.child);
        let peak_rss_mb = peak_rss_mb(pid).context("it had ended before it was stopped")?;
        let (wall_seconds, cpu_seconds) = (self.begin.elapsed().as_secs_f64(), cpu_seconds(pid)?);
        kill_process(pid, Signal::TERM)?;
        self.child.wait()?;
        let events = self.events()?;
        Ok(Measured { wall_seconds, cpu_seconds, peak_rss_mb, events })
    }

    fn events(&mut self) -> Result<Vec<Value>> {
        let events = self.reader.take().map_or(Ok(vec![]), JoinHandle::join);
        events.map_err(|_| anyhow::anyhow!("the reader of events died"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(stdout: ChildStdout) -> Vec<Value> {
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
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

/// `onceward run` of a manifest that is written into `folder`.
pub(crate) fn command(onceward: &Path, manifest: &str, folder: &Path) -> Result<Command> {
    let file = folder.join("pipeline.yaml");
    std::fs::write(&file, manifest)?;
    let mut command = Command::new(onceward);
    command.arg("run").arg(&file).args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

const LOOK: Duration = Duration::from_millis(5);
/// An hour, and the time that looking takes.
const MOST_LOOKS: u32 = 720_000;

/// Polls the peak resident size until the child has exited; it stays unreaped, so that its times can still be read.
fn watch(pid: Pid) -> Result<f64> {
    let mut peak = 0.0_f64;
    for _ in 0..MOST_LOOKS {
        peak = peak.max(peak_rss_mb(pid).unwrap_or(0.0));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            return Ok(peak);
        }
        std::thread::sleep(LOOK);
    }
    anyhow::bail!("it has not ended within an hour")
}

/// None: it has exited.
fn peak_rss_mb(pid: Pid) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let kb = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kb.split_whitespace().next()?.parse::<f64>().ok()? / 1e3)
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, in ticks of 10 ms.
fn cpu_seconds(pid: Pid) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let after_name = text.rsplit_once(')').context("no name in /proc/<pid>/stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("short /proc/<pid>/stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
