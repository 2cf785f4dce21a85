//! A child process that is watched and struck: its standard output as events, its standard error as lines.
//!
//! Waiting is always for something that the child says or for its end, with a limit after which it is killed.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// A child that says nothing for so long is taken for stuck.
const SILENCE: Duration = Duration::from_mins(1);
/// Lines kept unread before the child has to wait.
const BACKLOG: usize = 1 << 16;

/// One line of a child.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// An object on standard output.
    Event(Value),
    /// A line on standard error, or one on standard output that is no object.
    Line(String),
}

impl Said {
    /// Whether this is the event of that name.
    pub fn is_event(&self, name: &str) -> bool {
        matches!(self, Self::Event(event) if event["event"] == name)
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    said: Receiver<Said>,
    /// Closed once both pipes are: the child has ended.
    ended: Receiver<()>,
    transcript: Vec<Said>,
}

/// How a child ended, and everything it said.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub transcript: Vec<Said>,
}

impl Child {
    /// Starts `command` with both outputs piped and no input.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (say, said) = sync_channel(BACKLOG);
        // Nothing is ever sent here: both readers hold an end, and it closes when the second one is done.
        let (alive, ended) = sync_channel(1);
        if let Some(pipe) = process.stdout.take() {
            read_lines("child-stdout", pipe, (say.clone(), alive.clone()), |line| {
                serde_json::from_str(&line).map_or(Said::Line(line), Said::Event)
            })?;
        }
        if let Some(pipe) = process.stderr.take() {
            read_lines("child-stderr", pipe, (say, alive), Said::Line)?;
        }
        Ok(Self { process, said, ended, transcript: vec![] })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `SIGKILL`: the child does not get to say goodbye. A child that ended already is left alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Lets `moment` pass unless the child ends before; true if it is still running then.
    pub fn outlives(&self, moment: Duration) -> bool {
        matches!(self.ended.recv_timeout(moment), Err(RecvTimeoutError::Timeout))
    }

    /// Waits until the child says what `wanted` accepts.
    ///
    /// # Errors
    /// [`Error::Ended`] if it ended without, [`Error::Silent`] if it said nothing for a minute.
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&Said) -> bool) -> Result<Said, Error> {
        loop {
            match self.said.recv_timeout(SILENCE) {
                Ok(said) => {
                    self.transcript.push(said.clone());
                    if wanted(&said) {
                        return Ok(said);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Ended { transcript: describe(&self.transcript) });
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.silent()),
            }
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`Error::Silent`] if it said nothing for a minute, [`Error::Io`].
    pub fn finish(mut self) -> Result<Ended, Error> {
        loop {
            match self.said.recv_timeout(SILENCE) {
                Ok(said) => self.transcript.push(said),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(self.silent()),
            }
        }
        let status = self.process.wait()?;
        Ok(Ended { status, transcript: std::mem::take(&mut self.transcript) })
    }

    fn silent(&mut self) -> Error {
        // It is beyond help either way; the error tells what matters.
        let _ = self.process.kill();
        Error::Silent { transcript: describe(&self.transcript) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that it has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn signal(&self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.status)
    }

    /// Events of that name, in order.
    pub fn events(&self, name: &str) -> Vec<&Value> {
        let named = |said: &'_ Said| said.is_event(name);
        self.transcript
            .iter()
            .filter(|said| named(said))
            .filter_map(|said| match said {
                Said::Event(event) => Some(event),
                Said::Line(_) => None,
            })
            .collect()
    }

    /// Whether the child was killed, and said that it had come to the `nth` hit of `step`, where it was to die.
    pub fn died_at(&self, step: &str, nth: u64) -> bool {
        let there = format!("crashpoint {step} {nth}");
        self.signal() == Some(rustix::process::Signal::KILL.as_raw()) && self.lines().any(|line| line == there)
    }

    /// Lines on standard error.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.transcript.iter().filter_map(|said| match said {
            Said::Line(line) => Some(line.as_str()),
            Said::Event(_) => None,
        })
    }

    /// Everything it said, as text for an error message.
    pub fn describe(&self) -> String {
        format!("{}\n{}", self.status, describe(&self.transcript))
    }
}

fn describe(transcript: &[Said]) -> String {
    let lines = transcript.iter().map(|said| match said {
        Said::Event(event) => format!("  out: {event}"),
        Said::Line(line) => format!("  err: {line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read_lines(
    name: &str,
    pipe: impl Read + Send + 'static,
    (say, alive): (SyncSender<Said>, SyncSender<()>),
    parse: impl Fn(String) -> Said + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // `alive` is dropped with this thread, after the last line.
        let _alive = alive;
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            if say.send(parse(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// A child that did not do what was waited for. Both carry what it said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the child ended before it said what was waited for; it said:\n{transcript}")]
    Ended { transcript: String },
    #[error("the child said nothing for {SILENCE:?} and was killed; before, it said:\n{transcript}")]
    Silent { transcript: String },
    #[error("the child's end could not be waited for")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        Child::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn events_and_lines_are_told_apart_and_the_exit_code_is_kept() {
        let mut child = shell(r#"echo '{"event":"restored"}'; echo 'crashpoint a.b 2' >&2; echo hello; exit 3"#);
        assert!(child.wait_for(|said| said.is_event("restored")).is_ok());
        let ended = child.finish().unwrap();
        assert_eq!((ended.code(), ended.signal()), (Some(3), None));
        assert!(!ended.died_at("a.b", 2), "it came there, but did not die");
        assert_eq!(ended.events("restored").len(), 1);
    }

    #[test]
    fn a_child_that_ends_early_is_an_error_and_not_a_wait() {
        let fault = shell("echo nothing").wait_for(|said| said.is_event("restored")).unwrap_err();
        assert!(matches!(fault, Error::Ended { .. }));
    }

    #[test]
    fn a_child_that_dies_where_it_was_to_is_told_from_one_that_dies_elsewhere() {
        let ended = shell("echo 'crashpoint a.b 2' >&2; kill -9 $$").finish().unwrap();
        assert!(ended.died_at("a.b", 2) && !ended.died_at("a.b", 1));
    }

    #[test]
    fn a_killed_child_tells_its_signal() {
        let mut child = shell("exec tail -f /dev/null");
        assert!(child.outlives(Duration::from_millis(1)));
        child.kill().unwrap();
        assert!(!child.outlives(Duration::from_secs(30)));
        assert_eq!(child.finish().unwrap().signal(), Some(9));
    }
}
