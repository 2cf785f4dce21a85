//! The files sink's other half: makes a decided file visible by a rename that never replaces.
//!
//! Needs nothing but the committable: any process with the permit does it, again and again with the same result.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::commit::CommitPermit;
use checkpoint::ids::{Attempt, PipelineId};
use checkpoint::manifest::{Committable, ContentHash};
use checkpoint::record::DecisionId;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::filesystem::FileSystem;
use super::names::{decision_of, final_owner, hidden_owner};
use super::sink::{injected, io_error};
use crate::connectors::{Classification, CommitOutcome, Committer, Earlier, SinkError};
use crate::{crashpoint, tasks};

const READ_BYTES: usize = 64 * 1024;

/// What a committable of this sink holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Handle {
    /// Absolute; a committable stays where it was written even if the manifest points elsewhere by now.
    pub(super) folder: String,
    pub(super) hidden: String,
    #[serde(rename = "final")]
    pub(super) published: String,
    pub(super) length: u64,
    pub(super) hash: ContentHash,
}

impl Handle {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under fixed names always encode")
    }
}

/// The committer of one sink.
pub(super) struct FilesCommitter {
    shared: Arc<Shared>,
}

struct Shared {
    sink: String,
    folder: PathBuf,
    files: Arc<dyn FileSystem>,
}

/// The three paths that a committable is about.
struct Target {
    folder: PathBuf,
    hidden: PathBuf,
    published: PathBuf,
    handle: Handle,
}

impl FilesCommitter {
    pub(super) fn new(sink: &str, folder: &Path, files: Arc<dyn FileSystem>) -> Self {
        Self { shared: Arc::new(Shared { sink: sink.to_owned(), folder: folder.to_owned(), files }) }
    }

    /// File operations block: they run off the caller's thread.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, SinkError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, SinkError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let task = tasks::spawn_blocking("files-committer", move || work(&shared));
            match task.await {
                Ok(outcome) => outcome,
                Err(error) => Err(self.shared.failed(&self.shared.folder, "was not done", &io::Error::other(error))),
            }
        })
    }
}

#[cfg(test)]
impl FilesCommitter {
    /// A commit without a permit, which only a decision in a log can give.
    pub(super) fn commit_for_test(&self, committable: &Committable) -> Result<CommitOutcome, SinkError> {
        self.shared.commit_decided(committable)
    }
}

impl Committer for FilesCommitter {
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        let committable = committable.clone();
        self.blocking(move |shared| shared.classify(&shared.target(&committable)?))
    }

    fn commit<'a>(
        &'a self,
        permit: &'a CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        // The permit is the right; whose files these are stands in the committable, which the decision lists.
        let _ = permit;
        let committable = committable.clone();
        self.blocking(move |shared| shared.commit_decided(&committable))
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        let committable = committable.clone();
        self.blocking(move |shared| shared.abort(&shared.target(&committable)?))
    }

    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        let Earlier { pipeline, before, .. } = *earlier;
        self.blocking(move |shared| shared.abort_leftovers(pipeline, before))
    }

    fn newest_visible(&self, pipeline: PipelineId) -> BoxFuture<'_, Result<Option<DecisionId>, SinkError>> {
        self.blocking(move |shared| shared.newest_visible(pipeline))
    }
}

impl Shared {
    fn failed(&self, path: &Path, action: &str, error: &io::Error) -> SinkError {
        io_error(&self.sink, path, action, error)
    }

    fn crashpoint(&self, step: &'static str) -> Result<(), SinkError> {
        crashpoint::hit(step).map_err(|error| injected(&self.sink, &self.folder, error))
    }

    /// Reads a handle; one that names anything but this committable's own files is refused, whoever wrote it.
    fn target(&self, committable: &Committable) -> Result<Target, SinkError> {
        let refuse = |message: String| SinkError::Committable { sink: self.sink.clone(), message };
        let handle: Handle = serde_json::from_str(&committable.handle)
            .map_err(|error| refuse(format!("{}: {error}", committable.handle)))?;
        let hidden =
            hidden_owner(&handle.hidden).ok_or_else(|| refuse(format!("`{}` is no hidden file", handle.hidden)))?;
        let published = final_owner(&handle.published)
            .ok_or_else(|| refuse(format!("`{}` is no output file", handle.published)))?;
        if committable.sink != self.sink || hidden.sink != self.sink || published != hidden {
            return Err(refuse(format!("`{}` belongs to sink `{}`", handle.hidden, hidden.sink)));
        }
        if hidden.attempt != committable.attempt {
            return Err(refuse(format!("`{}` was not written by attempt {}", handle.hidden, committable.attempt)));
        }
        let folder = PathBuf::from(&handle.folder);
        if !folder.is_absolute() {
            return Err(refuse(format!("`{}` is not an absolute folder", handle.folder)));
        }
        Ok(Target { hidden: folder.join(&handle.hidden), published: folder.join(&handle.published), folder, handle })
    }

    fn classify(&self, target: &Target) -> Result<Classification, SinkError> {
        // The target first: where a rename is a link and an unlink, both names can be there.
        if self.is_published(target)? {
            return Ok(Classification::Committed);
        }
        if self.is_hidden(target)? {
            return Ok(Classification::Prepared);
        }
        // Renamed between the two looks by somebody with the same permit.
        if self.is_published(target)? {
            return Ok(Classification::Committed);
        }
        self.prove_folder(target)?;
        Ok(Classification::Lost)
    }

    fn commit_decided(&self, committable: &Committable) -> Result<CommitOutcome, SinkError> {
        let target = &self.target(committable)?;
        let hidden = self.is_hidden(target)?;
        let outcome = if hidden { self.publish(target)? } else { None };
        if outcome.is_none() && !self.is_published(target)? {
            self.prove_folder(target)?;
            return Ok(CommitOutcome::Lost);
        }
        // Also when another process renamed it: it may have died before its own sync.
        self.sync_folder(target)?;
        self.crashpoint("committer.folder_synced")?;
        Ok(outcome.unwrap_or(CommitOutcome::AlreadyCommitted))
    }

    /// Renames; `None` if somebody else did or the hidden file is gone.
    fn publish(&self, target: &Target) -> Result<Option<CommitOutcome>, SinkError> {
        self.crashpoint("committer.before_rename")?;
        match self.files.rename_noreplace(&target.hidden, &target.published) {
            Ok(()) => {
                self.crashpoint("committer.renamed")?;
                Ok(Some(CommitOutcome::Committed))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Same content: a link was made and the unlink is missing. Another: an error, touching nothing.
                if self.is_published(target)? {
                    self.remove(&target.hidden)?;
                }
                Ok(None)
            }
            Err(error) => Err(self.failed(&target.hidden, "cannot be renamed", &error)),
        }
    }

    fn abort(&self, target: &Target) -> Result<(), SinkError> {
        let refuse = || SinkError::Committable {
            sink: self.sink.clone(),
            message: format!("{} is committed and cannot be aborted", target.published.display()),
        };
        if self.is_published(target)? {
            return Err(refuse());
        }
        self.remove(&target.hidden)?;
        // Gone by our removal, or by a rename just before it: only the first proves the abort.
        if self.is_published(target)? {
            return Err(refuse());
        }
        self.prove_folder(target)?;
        self.sync_folder(target)
    }

    /// Names in the folder; none if there is no folder.
    fn list(&self) -> Result<Vec<String>, SinkError> {
        if !self.files.is_folder(&self.folder) {
            return Ok(Vec::new());
        }
        self.files.list(&self.folder).map_err(|error| self.failed(&self.folder, "cannot be listed", &error))
    }

    fn newest_visible(&self, pipeline: PipelineId) -> Result<Option<DecisionId>, SinkError> {
        let names = self.list()?;
        let visible = names.iter().filter_map(|name| decision_of(name));
        let own = visible.filter(|(owner, _)| owner.sink == self.sink && owner.pipeline == pipeline);
        Ok(own.map(|(_, decision)| decision).max())
    }

    fn abort_leftovers(&self, pipeline: PipelineId, before: Attempt) -> Result<u64, SinkError> {
        let names = self.list()?;
        let left = |name: &&String| {
            hidden_owner(name)
                .is_some_and(|owner| owner.sink == self.sink && owner.pipeline == pipeline && owner.attempt < before)
        };
        let mut removed = 0;
        for name in names.iter().filter(left) {
            self.crashpoint("committer.before_abort")?;
            self.remove(&self.folder.join(name))?;
            self.crashpoint("committer.aborted")?;
            removed += 1;
        }
        if removed > 0 {
            let synced = self.files.sync_folder(&self.folder);
            synced.map_err(|error| self.failed(&self.folder, "cannot be synced", &error))?;
        }
        Ok(removed)
    }

    /// Removes a file; one that is gone is fine.
    fn remove(&self, path: &Path) -> Result<(), SinkError> {
        match self.files.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(path, "cannot be removed", &error))
            }
            _ => Ok(()),
        }
    }

    /// Whether the hidden file is there, whole. Its content was synced before anybody heard of it.
    fn is_hidden(&self, target: &Target) -> Result<bool, SinkError> {
        let length = self.length(&target.hidden)?;
        if let Some(length) = length.filter(|length| *length != target.handle.length) {
            return Err(SinkError::Committable {
                sink: self.sink.clone(),
                message: format!(
                    "{} holds {length} bytes, not the {} that were acknowledged",
                    target.hidden.display(),
                    target.handle.length
                ),
            });
        }
        Ok(length.is_some())
    }

    /// Whether the final name holds the committable's content; other content there is a conflict.
    fn is_published(&self, target: &Target) -> Result<bool, SinkError> {
        let Some(length) = self.length(&target.published)? else { return Ok(false) };
        if length == target.handle.length && self.hash(&target.published)? == target.handle.hash {
            return Ok(true);
        }
        Err(SinkError::OutputConflict {
            sink: self.sink.clone(),
            path: target.published.to_string_lossy().into_owned(),
        })
    }

    fn length(&self, path: &Path) -> Result<Option<u64>, SinkError> {
        self.files.length(path).map_err(|error| self.failed(path, "cannot be examined", &error))
    }

    fn hash(&self, path: &Path) -> Result<ContentHash, SinkError> {
        let read = || -> io::Result<ContentHash> {
            let mut file = self.files.open(path)?;
            let (mut hash, mut block) = (blake3::Hasher::new(), vec![0; READ_BYTES]);
            loop {
                match file.read(&mut block) {
                    Ok(0) => return Ok(ContentHash(hash.finalize().to_hex().to_string())),
                    Ok(count) => drop(hash.update(block.get(..count).unwrap_or_default())),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        read().map_err(|error| self.failed(path, "cannot be read", &error))
    }

    /// A folder that is not there (unmounted, moved) proves nothing about its files.
    fn prove_folder(&self, target: &Target) -> Result<(), SinkError> {
        if self.files.is_folder(&target.folder) {
            return Ok(());
        }
        let gone = io::Error::new(
            io::ErrorKind::NotFound,
            "the folder is not there; its files are neither committed nor lost",
        );
        Err(self.failed(&target.folder, "cannot be examined", &gone))
    }

    fn sync_folder(&self, target: &Target) -> Result<(), SinkError> {
        self.files.sync_folder(&target.folder).map_err(|error| self.failed(&target.folder, "cannot be synced", &error))
    }
}
