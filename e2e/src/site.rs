//! A pipeline's folder and the shipped binary: started, killed, watched, and its log read as plain files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use onceward::checker::output::{hidden_files, visible_files};
use onceward::child::{Child, Ended};
use serde_json::Value;
pub use stage::shipped::binary;

use crate::decisions::{Decisions, log_files};

/// Arms the crash points of a child.
const VARIABLE: &str = "ONCEWARD_CRASHPOINT";
/// Every batch that is read takes this much longer, so that small data lives long enough to have several epochs.
pub const SLOW: &str = "worker.batch_read:*=pause:40ms";
/// A watched run is looked at this often.
const LOOK: Duration = Duration::from_millis(10);
/// A watched run that is not over after so many looks is taken for stuck.
const MOST_LOOKS: u64 = 30_000;

/// One pipeline and its folder. The folder is kept, and named, when the test that owns it fails.
pub struct Site {
    folder: Option<tempfile::TempDir>,
    binary: PathBuf,
    pub manifest: PathBuf,
    /// The checkpoint store.
    pub state: PathBuf,
    /// Folders of all file sinks that the pipeline has or had.
    pub sinks: Vec<PathBuf>,
    decided: Mutex<Decisions>,
}

/// What was seen while a run lived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    pub looks: u64,
    /// Looks at which there was a visible file.
    pub with_output: u64,
}

impl Site {
    /// A fresh folder with nothing in it yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-e2e-").tempdir()?;
        let (manifest, state) = (folder.path().join("pipeline.yaml"), folder.path().join("state"));
        let folder = Some(folder);
        Ok(Self { folder, binary: binary()?, manifest, state, sinks: vec![], decided: Mutex::default() })
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), |folder| folder.path())
    }

    /// Changes the manifest's text.
    ///
    /// # Errors
    /// `from` is not in it: a test that changes nothing would prove nothing.
    pub fn edit_manifest(&self, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(&self.manifest)?;
        ensure!(text.contains(from), "`{from}` is not in the manifest");
        Ok(std::fs::write(&self.manifest, text.replace(from, to))?)
    }

    /// A command of the binary that is armed with `faults` (none if empty).
    pub fn command(&self, arguments: &[&str], faults: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env(VARIABLE, faults).env("RUST_BACKTRACE", "0");
        command
    }

    /// The command that runs the pipeline with JSON events.
    pub fn run_command(&self, faults: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["run"], faults);
        command.arg(&self.manifest).args(["--output", "json"]).args(more);
        command
    }

    /// Starts a run with JSON events.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(&self, faults: &str, more: &[&str]) -> Result<Child> {
        Ok(Child::start(&mut self.run_command(faults, more))?)
    }

    /// Runs to the end, whatever that is.
    ///
    /// # Errors
    /// A child that is stuck.
    pub fn run(&self, faults: &str, more: &[&str]) -> Result<Ended> {
        let ended = self.start(faults, more)?.finish()?;
        self.note_decisions()?;
        Ok(ended)
    }

    /// Runs undisturbed, which must succeed.
    ///
    /// # Errors
    /// Another exit code than 0, with everything that the child said.
    pub fn run_well(&self) -> Result<Ended> {
        self.run_well_with(&[])
    }

    /// As [`Self::run_well`], with more arguments.
    ///
    /// # Errors
    /// As there.
    pub fn run_well_with(&self, more: &[&str]) -> Result<Ended> {
        let ended = self.run("", more)?;
        ensure!(ended.code() == Some(0), "an undisturbed run failed: {}", ended.describe());
        Ok(ended)
    }

    /// Runs, which must end with `code` and an error that holds all of `words`, without another attempt.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn run_fails(&self, more: &[&str], code: i32, words: &[&str]) -> Result<Ended> {
        let ended = self.run("", more)?;
        ensure!(ended.code() == Some(code), "not exit code {code}: {}", ended.describe());
        let told = |line: &str| words.iter().all(|word| line.contains(word));
        let errors: Vec<_> = ended.lines().skip_while(|line| !line.starts_with("error:")).collect();
        ensure!(told(&errors.join("\n")), "the error does not say {words:?}: {}", ended.describe());
        ensure!(ended.events("attempt.failed").is_empty(), "this does not heal by trying again: {}", ended.describe());
        Ok(ended)
    }

    /// Runs slowly until the child kills itself at the `nth` hit of `step`, which must happen.
    ///
    /// # Errors
    /// It ended otherwise.
    pub fn crash_at(&self, step: &str, nth: u64, more: &[&str]) -> Result<Ended> {
        let ended = self.run(&format!("{step}:{nth}=kill,{SLOW}"), more)?;
        ensure!(ended.died_at(step, nth), "the child did not die at {step}:{nth}: {}", ended.describe());
        Ok(ended)
    }

    /// Looks at the output again and again until the child ends or `until` is over; whatever is visible must be decided.
    ///
    /// # Errors
    /// Something was visible that was not decided, or the child is stuck.
    pub fn watch(&self, child: &Child, until: Option<Duration>) -> Result<Looks> {
        let most = until.map_or(MOST_LOOKS, |until| (until.as_millis() / LOOK.as_millis()) as u64);
        let mut seen = Looks::default();
        while seen.looks < most && child.outlives(LOOK) {
            seen.looks += 1;
            seen.with_output += u64::from(self.assert_nothing_undecided_is_visible()? > 0);
        }
        ensure!(until.is_some() || seen.looks < most, "the run is stuck");
        Ok(seen)
    }

    /// Every visible file was decided: a `Completed` of its attempt names it. Where retention was faster than this look,
    /// the oldest `Completed` that is left must be later than the file. Answers how many files are visible.
    ///
    /// # Errors
    /// The first that was not.
    pub fn assert_nothing_undecided_is_visible(&self) -> Result<usize> {
        // Files first: what decides them was in the log before they appeared.
        let mut files = vec![];
        for folder in &self.sinks {
            files.extend(visible_files(folder)?);
        }
        let decided = self.note_decisions()?;
        for path in &files {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            ensure!(decided.covers(name)?, "{name} is visible, but not decided: {}", decided.describe());
        }
        Ok(files.len())
    }

    /// All that was ever decided, and not only what was looked at, is visible, and nothing else.
    ///
    /// # Errors
    /// The difference.
    pub fn assert_all_decided_is_visible(&self) -> Result<()> {
        self.assert_nothing_undecided_is_visible()?;
        let visible: Vec<String> =
            self.visible()?.into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
        let decided = self.note_decisions()?;
        let missing: Vec<_> =
            decided.files().filter(|name| !visible.iter().any(|path| path.ends_with(*name))).collect();
        ensure!(missing.is_empty(), "decided, and not visible at the end: {missing:?}");
        Ok(())
    }

    /// No hidden file is left over.
    ///
    /// # Errors
    /// Any by its name.
    pub fn assert_tidy(&self) -> Result<()> {
        for folder in &self.sinks {
            let hidden = hidden_files(folder)?;
            ensure!(hidden.is_empty(), "left over after the end: {hidden:?}");
        }
        Ok(())
    }

    fn note_decisions(&self) -> Result<Decisions> {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.read(&self.state)?;
        Ok(decided.clone())
    }

    /// Every object of the checkpoint store by its name, without temporaries.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut objects = BTreeMap::new();
        for name in log_files(&self.state)? {
            if let Ok(bytes) = std::fs::read(self.state.join(&name)) {
                objects.insert(name, bytes);
            }
        }
        Ok(objects)
    }

    /// What `onceward checkpoints --output json` lists, newest first.
    ///
    /// # Errors
    /// It failed, or what it says is no JSON.
    pub fn checkpoints(&self) -> Result<Vec<Value>> {
        let mut command = self.command(&["checkpoints"], "");
        let output = command.arg(&self.manifest).args(["--output", "json"]).output()?;
        if !output.status.success() {
            bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Visible output files with their bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn visible(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for folder in &self.sinks {
            for path in visible_files(folder)? {
                let bytes = std::fs::read(&path)?;
                files.insert(path, bytes);
            }
        }
        Ok(files)
    }

    /// What is in the folder, for an error message.
    pub fn describe(&self) -> String {
        let mut text = format!("{}\n", self.folder().display());
        for name in log_files(&self.state).into_iter().flatten() {
            let _ = writeln!(text, "  state/{name}");
        }
        text
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("kept: {}\n", kept.display()));
        }
    }
}
