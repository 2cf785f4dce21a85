//! One component as a child process: started, killed, paused, started again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

pub(super) struct Component {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// Of what it says.
    folder: PathBuf,
    process: Option<Child>,
    starts: u32,
}

impl Component {
    pub(super) fn new(name: &'static str, program: PathBuf, arguments: Vec<String>, folder: PathBuf) -> Self {
        Self { name, program, arguments, folder, process: None, starts: 0 }
    }

    /// Returns at once: whoever starts it waits until it serves.
    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        self.starts += 1;
        let said = File::create(self.said_path())?;
        let mut command = Command::new(&self.program);
        command.arg(self.name).args(&self.arguments).env("ONCEWARD_ENDS_WITH_INPUT", "1");
        command.current_dir(&self.folder).stdin(Stdio::piped()).stdout(said.try_clone()?).stderr(said);
        self.process = Some(command.spawn().with_context(|| self.program.display().to_string())?);
        Ok(())
    }

    /// # Errors
    /// It does not run (any more).
    pub(super) fn runs(&mut self) -> Result<()> {
        let process = self.process.as_mut().with_context(|| format!("{} was not started", self.name))?;
        if let Some(status) = process.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.said());
        }
        Ok(())
    }

    /// `SIGKILL`; returns when the process is gone.
    ///
    /// # Errors
    /// It had ended already: then this kill proves nothing.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.runs()?;
        let mut process = self.process.take().context("it runs")?;
        process.kill()?;
        let status = process.wait()?;
        ensure!(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "it ended with {status}");
        Ok(())
    }

    /// `SIGSTOP`; returns when it has stopped: until then its threads go on with what they have at hand.
    pub(super) fn pause(&self) -> Result<()> {
        let pid = self.pid()?;
        kill_process(pid, Signal::STOP)?;
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED)?.context("it is a child")?;
        ensure!(status.stopped(), "{} ended instead: {}", self.name, self.said());
        Ok(())
    }

    /// `SIGCONT`.
    pub(super) fn resume(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    fn pid(&self) -> Result<Pid> {
        let process = self.process.as_ref().with_context(|| format!("{} does not run", self.name))?;
        Ok(Pid::from_child(process))
    }

    /// Lets go of it, as a starter does that is gone.
    #[cfg(test)]
    pub(super) fn leave(&mut self) {
        drop(self.process.as_mut().and_then(|process| process.stdin.take()));
    }

    /// Everything that the present process said.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(self.said_path()).unwrap_or_default()
    }

    fn said_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.log", self.name, self.starts))
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
