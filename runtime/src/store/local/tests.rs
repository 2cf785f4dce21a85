use std::io::Write;

use super::disk::DiskFile;
use super::*;
use crate::clock::SeededRandom;

/// The machine's disk, with a record of what was done, and a call that fails.
#[derive(Clone, Default)]
struct Recording {
    calls: Arc<Mutex<Vec<String>>>,
    /// How many calls go through before one fails.
    healthy: Option<usize>,
}

impl Recording {
    fn note(&self, call: &str, path: &Path) -> io::Result<()> {
        let mut calls = self.calls.lock().unwrap();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if name.starts_with(TEMPORARY) { "temporary" } else { &name };
        calls.push(format!("{call} {name}"));
        if self.healthy.is_some_and(|healthy| calls.len() > healthy) {
            return Err(io::Error::other("no"));
        }
        Ok(())
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

struct RecordedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    recording: Recording,
}

impl Write for RecordedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.recording.note("write", &self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.recording.note("sync", &self.path)?;
        self.file.sync()
    }
}

impl Disk for Recording {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.note("create", path)?;
        let file = LocalDisk.create(path)?;
        Ok(Box::new(RecordedFile { file, path: path.to_owned(), recording: self.clone() }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("link", to)?;
        LocalDisk.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path)?;
        LocalDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.note("sync", folder)?;
        LocalDisk.sync_folder(folder)
    }
}

fn store(root: &Path, recording: &Recording) -> LocalStore {
    LocalStore::on(root, Arc::new(SeededRandom::new(7)), Arc::new(recording.clone()))
}

const CREATE: [&str; 6] =
    ["create temporary", "write temporary", "sync temporary", "link claim", "remove temporary", "sync 1"];

#[tokio::test]
async fn nothing_is_answered_before_the_fsyncs_of_file_and_folder_returned() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::default();
    let root = folder.path().join("root");
    let body = Bytes::from_static(b"body");
    let first = store(&root, &recording);
    assert_eq!(first.create("0/attempts/1/claim", body.clone()).await, Ok(Created::New));
    let calls = recording.taken();
    let (folders, object) = calls.split_at(calls.len() - CREATE.len());
    assert_eq!(object, CREATE);
    // Each folder's own name is synced in its parent before anything is written in it.
    assert!(folders.ends_with(&["sync root", "sync 0", "sync attempts"].map(str::to_owned)), "{folders:?}");
    // What is there already is as durable as what is new; its folders have been seen to.
    assert_eq!(first.create("0/attempts/1/claim", body.clone()).await, Ok(Created::Exists));
    assert_eq!(recording.taken(), CREATE);
    // Another process cannot know who synced the folders.
    assert_eq!(store(&root, &recording).create("0/attempts/1/claim", body).await, Ok(Created::Exists));
    assert_eq!(recording.taken(), calls);
}

#[tokio::test]
async fn a_create_whose_sync_failed_is_never_said_to_be_done() {
    let body = Bytes::from_static(b"body");
    let mut failed = 0;
    // One more healthy call each time, until all go through.
    for healthy in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording { healthy: Some(healthy), ..Recording::default() };
        match store(&folder.path().join("root"), &recording).create("0/attempts/1/claim", body.clone()).await {
            Ok(created) => {
                assert_eq!(created, Created::New);
                assert_eq!(recording.taken().len(), healthy, "every call succeeded");
                break;
            }
            Err(error) => assert!(error.to_string().contains("0/attempts/1/claim"), "{error}"),
        }
        failed += 1;
        let answer = store(&folder.path().join("root"), &Recording::default());
        let there = answer.read("0/attempts/1/claim").await.unwrap();
        assert!(there.is_none_or(|there| there == body), "whole or not at all");
    }
    assert!(failed > 3 + CREATE.len(), "each call has failed once");
}
