//! The checkpoint store on local files.
//!
//! Create-if-absent = a temporary file in the object's own folder, synced, then hard-linked to the object's name (the
//! link fails if the name is taken, on every file system that has hard links), then the folder synced. A reader sees
//! the whole object or none; a crash leaves at most a temporary.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;

use self::disk::{Disk, LocalDisk};
use super::{CheckpointStore, Created, StoreError};
use crate::clock::Random;
use crate::connectors::{Retry, retry_of};
use crate::crashpoint::{self, Injected};
use crate::durable;
use crate::tasks;

mod disk;
#[cfg(test)]
mod tests;

/// What every temporary's name begins with; no object has such a name.
const TEMPORARY: &str = ".tmp-";

/// Objects as files below one folder.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    random: Arc<dyn Random>,
    disk: Arc<dyn Disk>,
    /// Folders whose own entry this process has synced: one that somebody else made may not be durable yet.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStore {
    /// `root` must be absolute; it is made at the first create.
    pub fn new(root: impl Into<PathBuf>, random: Arc<dyn Random>) -> Self {
        Self::on(root, random, Arc::new(LocalDisk))
    }

    fn on(root: impl Into<PathBuf>, random: Arc<dyn Random>, disk: Arc<dyn Disk>) -> Self {
        Self { inner: Arc::new(Inner { root: root.into(), random, disk, durable: Mutex::default() }) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        name: &str,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let failed = |message, retry| StoreError { operation, address: self.address(name), message, retry };
        match tasks::spawn_blocking("store", move || work(&inner)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(error.to_string(), retry_of(&error))),
            Err(error) => Err(failed(error.to_string(), Retry::Backoff)),
        }
    }
}

impl CheckpointStore for LocalStore {
    fn create<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Created, StoreError>> {
        let object = name.to_owned();
        Box::pin(self.blocking("create", name, move |inner| inner.create(&object, &body)))
    }

    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let object = name.to_owned();
        Box::pin(self.blocking("read", name, move |inner| match fs::read(inner.path(&object)?) {
            Ok(body) => Ok(Some(Bytes::from(body))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let folder = prefix.to_owned();
        Box::pin(self.blocking("list", prefix, move |inner| {
            let mut names = Vec::new();
            walk(&inner.path(&folder)?, &mut |path, file| {
                let name = path.strip_prefix(&inner.root).ok().and_then(Path::to_str);
                // Hidden files are no objects; a name that is no text was not written by us.
                if let (false, Some(name)) = (file.starts_with('.'), name) {
                    names.push(name.to_owned());
                }
                Ok(())
            })?;
            Ok(names)
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let object = name.to_owned();
        Box::pin(self.blocking("delete", name, move |inner| ignore_missing(fs::remove_file(inner.path(&object)?))))
    }

    /// Temporaries of a crash. That of a living writer would make its create fail, never succeed wrongly.
    fn remove_litter<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        let name = prefix.to_owned();
        Box::pin(self.blocking("clean", prefix, move |inner| {
            let mut removed = 0;
            walk(&inner.path(&name)?, &mut |path, file| {
                if file.starts_with(TEMPORARY) {
                    ignore_missing(fs::remove_file(path))?;
                    removed += 1;
                }
                Ok(())
            })?;
            Ok(removed)
        }))
    }

    fn address(&self, name: &str) -> String {
        format!("file://{}", self.inner.root.join(name).display())
    }
}

impl Inner {
    /// Where an object lies. Names that could leave the root are refused.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if inside && !name.contains('\0') {
            Ok(self.root.join(name))
        } else {
            Err(io::Error::new(ErrorKind::InvalidInput, "not a name of an object"))
        }
    }

    fn create(&self, name: &str, body: &[u8]) -> io::Result<Created> {
        let path = self.path(name)?;
        let folder = path.parent().filter(|_| !name.is_empty());
        let folder = folder.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not a name of an object"))?;
        self.make_durable(folder)?;
        let temporary = folder.join(format!("{TEMPORARY}{:032x}", self.random.u128()));
        let linked = self.write_and_link(&temporary, &path, body);
        // The name, if it was given, holds the bytes now; the temporary is only litter, also when the disk is full.
        let removed = ignore_missing(self.disk.remove(&temporary));
        let created = linked?;
        removed?;
        // Synced also when the object was there already: whoever made it may have died before its own sync, and what
        // the caller concludes from `Exists` must survive a power loss as well.
        self.disk.sync_folder(folder)?;
        step("store.created")?;
        Ok(created)
    }

    /// Makes `folder` and sees to it that its name survives a power loss. Not under the lock, as that takes a while.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        let mut known = {
            let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            if durable.contains(folder) {
                return Ok(());
            }
            durable.clone()
        };
        durable::create_folder(folder, &self.root, &mut known, &|folder| self.disk.sync_folder(folder))?;
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
        Ok(())
    }

    fn write_and_link(&self, temporary: &Path, path: &Path, body: &[u8]) -> io::Result<Created> {
        let mut file = self.disk.create(temporary)?;
        file.write_all(body)?;
        step("store.temporary_written")?;
        file.sync()?;
        step("store.temporary_synced")?;
        let created = match self.disk.link(temporary, path) {
            Ok(()) => Created::New,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Created::Exists,
            Err(error) => return Err(error),
        };
        step("store.linked")?;
        Ok(created)
    }
}

fn step(name: &'static str) -> io::Result<()> {
    crashpoint::hit(name).map_err(|injected: Injected| io::Error::other(injected))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Visits every file below `folder` with its path and name. What vanishes during the walk is skipped: deletions by
/// retention run beside listings. Iterative, so that no depth of folders can exhaust the stack.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &str) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => visit(&entry.path(), &entry.file_name().to_string_lossy())?,
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
