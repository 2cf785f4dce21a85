//! The machine's file system, with a record of what was called and a fault where a test wants one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::super::filesystem::{FileSystem, LocalFiles, OutputFile};

/// Calls in order, and which of them fails how.
#[derive(Clone, Default)]
pub(super) struct Recording {
    calls: Arc<Mutex<Vec<String>>>,
    fault: Option<(&'static str, io::ErrorKind)>,
}

impl Recording {
    pub(super) fn failing(fault: Option<(&'static str, io::ErrorKind)>) -> Self {
        Self { fault, ..Self::default() }
    }

    fn note(&self, call: &'static str, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fails = self.fault.filter(|(failing, _)| *failing == call);
        self.calls.lock().unwrap().push(format!("{call}{} {name}", if fails.is_some() { " fails" } else { "" }));
        fails.map_or(Ok(()), |(_, kind)| Err(kind.into()))
    }

    /// The calls since the last time.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

struct RecordedFile {
    file: Box<dyn OutputFile>,
    name: std::path::PathBuf,
    recording: Recording,
}

impl Write for RecordedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.recording.note("write", &self.name)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl OutputFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.recording.note("sync", &self.name)?;
        self.file.sync()
    }
}

impl FileSystem for Recording {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.note("create_folder", folder)?;
        LocalFiles.create_folder(folder)
    }

    fn check_writable(&self, folder: &Path) -> io::Result<()> {
        self.note("check_writable", folder)?;
        LocalFiles.check_writable(folder)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        self.note("create_new", path)?;
        let file = LocalFiles.create_new(path)?;
        Ok(Box::new(RecordedFile { file, name: path.to_owned(), recording: self.clone() }))
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", from)?;
        LocalFiles.rename_noreplace(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.note("sync_folder", folder)?;
        LocalFiles.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path)?;
        LocalFiles.remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        LocalFiles.list(folder)
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        LocalFiles.length(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        LocalFiles.is_folder(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        LocalFiles.open(path)
    }
}
