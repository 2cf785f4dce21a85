//! A pipeline in a folder of its own, run by the shipped binary, struck, and judged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use onceward::checker::expected::Expected;
use onceward::checker::output::{hidden_files, visible_files};
use onceward::child::{Child, Ended};
use onceward::workload::{Workload, Written};
use serde_json::Value;

/// Arms the crash points of a child.
const VARIABLE: &str = "ONCEWARD_CRASHPOINT";
/// Every batch that is read takes this much longer, so that small data lives long enough to have several epochs.
pub const SLOW: &str = "worker.batch_read:*=pause:40ms";

/// The binary under test: `ONCEWARD_BIN`, or the one that was built beside this test.
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ONCEWARD_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    // target/<profile>/deps/<test> or target/<profile>/<binary>
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("onceward"));
    let found = beside.into_iter().find(|path| path.is_file());
    found.context("there is no `onceward` beside this test: build it with `cargo build -p onceward`")
}

/// One pipeline and its folder. The folder is kept, and named, when the test that owns it fails.
pub struct Stage {
    folder: Option<tempfile::TempDir>,
    binary: PathBuf,
    pub workload: Workload,
    pub written: Written,
    /// The highest epoch that each attempt was ever seen to have decided: retention deletes records in time.
    decided: Mutex<BTreeMap<u64, u64>>,
}

impl Stage {
    /// Writes the workload into a fresh folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(workload: Workload) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-e2e-").tempdir()?;
        let written = workload.write(folder.path())?;
        Ok(Self { folder: Some(folder), binary: binary()?, workload, written, decided: Mutex::default() })
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), |folder| folder.path())
    }

    /// Changes the manifest's text.
    ///
    /// # Errors
    /// `from` is not in it: a test that changes nothing would prove nothing.
    pub fn edit_manifest(&self, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(&self.written.manifest)?;
        ensure!(text.contains(from), "`{from}` is not in the manifest");
        Ok(std::fs::write(&self.written.manifest, text.replace(from, to))?)
    }

    /// A command of the binary that is armed with `faults` (none if empty).
    pub fn command(&self, arguments: &[&str], faults: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env(VARIABLE, faults).env("RUST_BACKTRACE", "0");
        command
    }

    /// Starts a run with JSON events.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(&self, faults: &str, more: &[&str]) -> Result<Child> {
        let manifest = self.written.manifest.to_str().context("the folder's name is Unicode")?;
        let mut command = self.command(&["run", manifest, "--output", "json"], faults);
        Ok(Child::start(command.args(more))?)
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
        let ended = self.run("", &[])?;
        ensure!(ended.code() == Some(0), "an undisturbed run failed: {}", ended.describe());
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

    /// The independent checker finds nothing missing, doubled or wrong.
    ///
    /// # Errors
    /// It does; with the first differing rows.
    pub fn assert_exact(&self) -> Result<Expected> {
        let (expected, verdict) = self.written.judge()?;
        ensure!(verdict.is_good(), "{verdict}:\n{}", verdict.examples.join("\n"));
        ensure!(
            expected.records == self.workload.records && expected.late > 0,
            "the workload is not what it should be"
        );
        Ok(expected)
    }

    /// As [`Self::assert_exact`], and nothing hidden is left over.
    ///
    /// # Errors
    /// As there, and any hidden file by its name.
    pub fn assert_exact_and_tidy(&self) -> Result<Expected> {
        for folder in self.sink_folders() {
            let hidden = hidden_files(folder)?;
            ensure!(hidden.is_empty(), "left over after the end: {hidden:?}");
        }
        self.assert_exact()
    }

    pub fn sink_folders(&self) -> [&Path; 2] {
        [&self.written.windows, &self.written.copy]
    }

    /// Every visible file was decided: its attempt's sequence holds, or was seen to hold, a `Completed` of its epoch or
    /// a later one.
    ///
    /// # Errors
    /// The first that was not.
    pub fn assert_nothing_undecided_is_visible(&self) -> Result<()> {
        let decided = self.note_decisions()?;
        for folder in self.sink_folders() {
            for path in visible_files(folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // <sink>-<pipeline>-<attempt>-<epoch>-<subtask>-<part>.jsonl
                let fields: Vec<&str> = name.rsplitn(6, '-').collect();
                let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
                let (Some(epoch), Some(attempt)) = (number(2), number(3)) else { bail!("{name} is no output name") };
                let newest = decided.get(&attempt).copied().unwrap_or(0);
                ensure!(epoch <= newest, "{name} is visible, but attempt {attempt} decided only up to {newest}");
            }
        }
        Ok(())
    }

    /// The highest decided epoch of each attempt, straight from the files of the log, now or earlier.
    fn note_decisions(&self) -> Result<BTreeMap<u64, u64>> {
        let mut newest = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, bytes) in self.log()? {
            let Some((_, rest)) = name.split_once("/attempts/") else { continue };
            let Some((attempt, object)) = rest.split_once('/') else { continue };
            if object.parse::<u64>().is_err() {
                continue;
            }
            // A record that a test has damaged decides nothing, unless it was seen whole before.
            let Ok(record) = serde_json::from_slice::<Value>(&bytes) else { continue };
            let epoch = record["content"]["record"]["completed"]["epoch"].as_u64();
            if let (Some(epoch), Ok(attempt)) = (epoch, attempt.parse::<u64>()) {
                let highest = newest.entry(attempt).or_insert(0);
                *highest = epoch.max(*highest);
            }
        }
        Ok(newest.clone())
    }

    /// Every object of the checkpoint store by its name, without temporaries.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut objects = BTreeMap::new();
        let mut folders = vec![self.written.state.clone()];
        while let Some(folder) = folders.pop() {
            let listing = match std::fs::read_dir(&folder) {
                Ok(listing) => listing,
                // Retention removes folders while this looks.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in listing {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&self.written.state)?.to_string_lossy().into_owned();
                if name.contains("/.tmp-") {
                    continue;
                }
                if let Ok(bytes) = std::fs::read(&path) {
                    objects.insert(name, bytes);
                }
            }
        }
        Ok(objects)
    }

    /// Visible output files with their bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn visible(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for folder in self.sink_folders() {
            for path in visible_files(folder)? {
                let bytes = std::fs::read(&path)?;
                files.insert(path, bytes);
            }
        }
        Ok(files)
    }

    /// What is in the folder, for an error message.
    pub fn describe(&self) -> String {
        let mut text = format!("{} (parallelism {})\n", self.folder().display(), self.workload.parallelism);
        for name in self.log().map(BTreeMap::into_keys).into_iter().flatten() {
            let _ = writeln!(text, "  state/{name}");
        }
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("kept: {}\n", kept.display()));
        }
    }
}
