//! Programs of the system that a cluster is made of, processes that outlive whoever started them, and what is the whole
//! machine's: settings of the kernel and cgroups.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::layout::entry;
use crate::cache;

const LOOK: Duration = Duration::from_millis(20);
/// Processes that are killed are gone after so many looks, or never.
const MOST_LOOKS: u32 = 1_500;
/// What programs come from.
const FIX: &str = "install it (Debian: apt-get install --no-install-recommends containerd runc \
                   containernetworking-plugins umoci iptables iproute2 util-linux procps)";
/// What a kubelet sets for the whole machine.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Runs a program to its end; what it printed.
pub(super) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(program: &str, arguments: I) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    cache::run(&mut command, FIX).with_context(|| format!("{command:?}"))
}

/// `ip` with words that stand in one text.
pub(super) fn ip(words: &str) -> Result<String> {
    run("ip", words.split_whitespace())
}

/// A program in a network namespace. Not `ip netns exec`, which hides the cgroups.
pub(super) fn within(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", entry(namespace).display())).arg(program);
    command
}

/// A process that was started here or by somebody before: its id and when it began, since ids come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// In ticks since the machine was started.
    begun: u64,
}

impl Process {
    /// Starts a program in a session of its own, so that it outlives this process, and writes down which it is.
    pub(super) fn start(mut command: Command, record: &Path, log: &Path) -> Result<Self> {
        let said = File::options().create(true).append(true).open(log)?;
        let mut detached = Command::new("setsid");
        detached.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => detached.env(name, value),
                None => detached.env_remove(name),
            };
        }
        command = detached;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let pid = i32::try_from(child.id())?;
        let process = Self::of(pid);
        let process = process.with_context(|| format!("{command:?} ended at once; see {}", log.display()))?;
        // As a whole or not at all: half a record names nobody.
        let part = record.with_extension("part");
        fs::write(&part, format!("{pid} {}\n", process.begun))?;
        fs::rename(&part, record)?;
        Ok(process)
    }

    /// The process that has this id now; `None`: there is none.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let (_, _, begun) = stat(pid)?;
        Some(Self { pid, begun })
    }

    /// What was written down; `None`: nothing was.
    pub(super) fn recorded(record: &Path) -> Option<Self> {
        let text = fs::read_to_string(record).ok()?;
        let (pid, begun) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, begun: begun.parse().ok()? })
    }

    /// Whether it runs, or is not done dying: one that is dead but for other threads still holds its sockets.
    pub fn is_alive(self) -> bool {
        let Some((state, threads, begun)) = stat(self.pid) else { return false };
        begun == self.begun && (threads > 1 || !matches!(state, 'Z' | 'X'))
    }

    /// `SIGKILL`; returns when it is gone. One that is gone already is fine.
    pub(super) fn kill(self) -> Result<()> {
        if self.is_alive() {
            self.signal(Signal::KILL)?;
        }
        self.wait_until_gone()
    }

    /// Returns when it is gone.
    pub(super) fn wait_until_gone(self) -> Result<()> {
        for _ in 0..MOST_LOOKS {
            if !self.is_alive() {
                // If it was ours, nothing of it stays.
                let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG);
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("process {} does not go", self.pid)
    }

    /// # Errors
    /// It is gone.
    pub(super) fn signal(self, signal: Signal) -> Result<()> {
        ensure!(self.is_alive(), "process {} is gone", self.pid);
        let pid = Pid::from_raw(self.pid).context("an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Its only child, if it has one.
    pub(super) fn child(self) -> Option<Self> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let pid = fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()?;
        Self::of(pid)
    }
}

/// State, threads and beginning of a process; `None`: there is none.
fn stat(pid: i32) -> Option<(char, u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything.
    let rest = text.rsplit_once(") ")?.1;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let mut fields = fields.skip(16);
    let threads = fields.next()?.parse().ok()?;
    Some((state, threads, fields.nth(1)?.parse().ok()?))
}

/// Ids of all processes of the machine whose command is as wanted, word by word.
pub(super) fn of_command(is_wanted: impl Fn(&[&str]) -> bool) -> Vec<i32> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may be gone by now.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if is_wanted(&command.split('\0').collect::<Vec<_>>()) {
            found.push(pid);
        }
    }
    found
}

/// Writes down what a kubelet will change, unless another cluster's start has done it.
pub(super) fn save_settings(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let mut text = String::new();
    for name in SETTINGS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).with_context(|| name.to_owned())?;
        let _ = writeln!(text, "{name} {}", value.trim());
    }
    Ok(fs::write(file, text)?)
}

/// Puts back what was written down.
pub(super) fn restore_settings(file: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(()) };
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        fs::write(Path::new("/proc/sys").join(name), value).with_context(|| name.to_owned())?;
    }
    Ok(fs::remove_file(file)?)
}

/// The folders of a cgroup in every hierarchy; those that exist.
pub(super) fn cgroups(name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    hierarchies.map(|entry| entry.path().join(name)).filter(|path| path.is_dir()).collect()
}

/// Takes a cgroup and everything below it away. Its processes must be gone.
pub(super) fn remove_cgroup(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    // The kernel may still be busy with processes that have just ended.
    for _ in 0..MOST_LOOKS {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(16) => std::thread::sleep(LOOK),
            ended => return ended.with_context(|| path.display().to_string()),
        }
    }
    bail!("{} stays busy", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning_too_and_ends_when_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = Process::start(command, &record, &folder.path().join("log")).unwrap();
        assert_eq!(Process::recorded(&record), Some(process));
        assert!(process.is_alive());
        let another = Process { begun: process.begun + 1, ..process };
        assert!(!another.is_alive(), "an id that came again is another process");
        process.kill().unwrap();
        assert!(!process.is_alive());
        process.kill().unwrap();
    }
}
