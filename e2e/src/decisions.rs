//! What a log has decided, straight from its files and with no code of the engine: which output files may be visible.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// An attempt of a pipeline: attempts of two logs may have the same number.
type Of = (String, u64);

/// Grows with each look: retention deletes records in time.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// Objects that were read; they never change.
    known: BTreeSet<String>,
    /// Pipeline id of each log.
    pipelines: BTreeMap<String, String>,
    /// Final names that a `Completed` lists.
    files: BTreeSet<String>,
    /// The lowest and the highest epoch that each attempt is known to have decided.
    epochs: BTreeMap<Of, (u64, u64)>,
}

impl Decisions {
    /// Takes in what is new in the checkpoint store `state`. What is damaged decides nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&mut self, state: &Path) -> Result<()> {
        let is_record = |name: &String| name.rsplit('/').next().is_some_and(|last| last.parse::<u64>().is_ok());
        let (records, others): (Vec<_>, Vec<_>) = log_files(state)?.into_iter().partition(is_record);
        let claims = others.into_iter().filter(|name| name.ends_with("/claim"));
        for name in claims.chain(records) {
            if self.known.contains(&name) {
                continue;
            }
            let Some(content) = content(&state.join(&name)) else { continue };
            if self.take(state, &name, &content).is_some() {
                self.known.insert(name);
            }
        }
        Ok(())
    }

    fn take(&mut self, state: &Path, name: &str, content: &Value) -> Option<()> {
        // <log>/attempts/<attempt>/<object>
        let mut parts = name.split('/');
        let (log, attempt) = (parts.next()?, parts.nth(1)?.parse().ok()?);
        if name.ends_with("/claim") {
            self.pipelines.insert(log.to_owned(), content["pipeline"].as_str()?.to_owned());
            return Some(());
        }
        let completed = &content["record"]["completed"];
        let Some(epoch) = completed["epoch"].as_u64() else { return Some(()) };
        let pipeline = self.pipelines.get(log)?.clone();
        let stored = completed["manifest"]["stored"]["name"].as_str();
        let manifest = match stored {
            Some(stored) => self::content(&state.join(stored))?,
            None => completed["manifest"]["inline"].clone(),
        };
        for committable in manifest["committables"].as_array()? {
            let handle: Value = serde_json::from_str(committable["handle"].as_str()?).ok()?;
            self.files.insert(handle["final"].as_str()?.to_owned());
        }
        let (lowest, highest) = self.epochs.entry((pipeline, attempt)).or_insert((epoch, epoch));
        (*lowest, *highest) = (epoch.min(*lowest), epoch.max(*highest));
        Some(())
    }

    /// Was this output file decided?
    ///
    /// # Errors
    /// It is not named as output is.
    pub fn covers(&self, name: &str) -> Result<bool> {
        // <sink>-<pipeline>-<attempt>-<epoch>-<subtask>-<part>.jsonl
        let fields: Vec<&str> = name.rsplitn(6, '-').collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let (epoch, attempt) = number(2).zip(number(3)).with_context(|| format!("{name} is no output name"))?;
        let pipeline = fields.get(4).map(|field| (*field).to_owned()).unwrap_or_default();
        // Records that came and went unseen were decided before the first one that was seen.
        let unseen = self.epochs.get(&(pipeline, attempt)).is_some_and(|(lowest, _)| epoch < *lowest);
        Ok(self.files.contains(name) || unseen)
    }

    /// Every output file that is known to be decided.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// For an error message.
    pub fn describe(&self) -> String {
        let epoch = |((_, attempt), (lowest, highest)): (&Of, &(u64, u64))| format!("{attempt}/{lowest}..={highest}");
        self.epochs.iter().map(epoch).collect::<Vec<_>>().join(", ")
    }
}

/// What a stored object holds; `None` if it is gone, torn or damaged.
fn content(path: &Path) -> Option<Value> {
    let object: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(object["content"].clone())
}

/// Names of all objects of a checkpoint store, without temporaries.
///
/// # Errors
/// What the file system says.
pub fn log_files(state: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        let listing = match std::fs::read_dir(&folder) {
            Ok(listing) => listing,
            // Retention removes folders while this looks.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in listing {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(state)?.to_string_lossy().into_owned();
            if !name.contains("/.tmp-") {
                names.insert(name);
            }
        }
    }
    Ok(names)
}
