//! The files sink's writing half: rows go to a hidden file that is on stable storage before its acknowledgement.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use checkpoint::ids::Epoch;
use checkpoint::manifest::{Committable, ContentHash};

use super::committer::{FilesCommitter, Handle};
use super::filesystem::{FileSystem, OutputFile};
use super::names::{final_name, hidden_name};
use crate::connectors::error::retry_of;
use crate::connectors::formats::encode::JsonEncoder;
use crate::connectors::{
    Committer, PreCommit, SinkConnector, SinkCounters, SinkError, SinkWriter, WriterContext, WriterIdentity,
};
use crate::crashpoint;
use crate::element::Batch;

/// Encoded bytes that a writer holds back; what never exceeds it within an epoch is created, written and synced off the
/// data path altogether.
const BUFFER_BYTES: usize = 128 * 1024;

/// A configured files sink.
pub struct FilesSink {
    name: String,
    folder: PathBuf,
    files: Arc<dyn FileSystem>,
}

impl FilesSink {
    /// `folder`: absolute; created by [`SinkConnector::prepare`] when missing.
    pub fn new(name: &str, folder: &Path, files: Arc<dyn FileSystem>) -> Self {
        Self { name: name.to_owned(), folder: folder.to_owned(), files }
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<JsonEncoder, SinkError> {
        JsonEncoder::new(schema).map_err(|message| SinkError::Schema { sink: self.name.clone(), message })
    }
}

impl SinkConnector for FilesSink {
    fn check(&self) -> Result<(), SinkError> {
        // A folder that is missing can be made if the nearest one above it can be written.
        let there = self.folder.ancestors().find(|folder| matches!(self.files.length(folder), Ok(Some(_))));
        let there = there.unwrap_or(&self.folder);
        let writable = if self.files.is_folder(there) {
            self.files.check_writable(there)
        } else {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"))
        };
        writable.map_err(|error| io_error(&self.name, &self.folder, "folder cannot be written", &error))
    }

    fn check_present(&self) -> Result<(), SinkError> {
        if self.files.is_folder(&self.folder) {
            return Ok(());
        }
        let gone = io::Error::new(
            io::ErrorKind::NotFound,
            "the folder is not there, and output that was decided may wait in it; put it back, and run again",
        );
        Err(io_error(&self.name, &self.folder, "cannot be examined", &gone))
    }

    fn prepare(&self) -> Result<(), SinkError> {
        let made = self.files.create_folder(&self.folder);
        made.map_err(|error| io_error(&self.name, &self.folder, "folder cannot be made", &error))
    }

    fn check_schema(&self, schema: &SchemaRef) -> Result<(), SinkError> {
        self.encoder(schema).map(drop)
    }

    fn open_writer(
        &self,
        WriterContext { identity, schema, .. }: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, SinkError> {
        let encoder = self.encoder(&schema)?;
        Ok(Box::new(FilesWriter {
            place: Arc::new(Place { identity, folder: self.folder.clone(), files: Arc::clone(&self.files) }),
            encoder,
            first_epoch: Epoch(1),
            part: 0,
            pending: Pending::default(),
            counters: SinkCounters::default(),
        }))
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(FilesCommitter::new(&self.name, &self.folder, Arc::clone(&self.files)))
    }

    fn kind(&self) -> &'static str {
        "files"
    }

    fn target(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }
}

pub(super) fn io_error(sink: &str, path: &Path, action: &str, error: &io::Error) -> SinkError {
    SinkError::Io {
        sink: sink.to_owned(),
        path: path.to_string_lossy().into_owned(),
        message: format!("{action}: {error}"),
        retry: retry_of(error),
    }
}

/// A crash point that was armed to fail is a failure of the disk.
pub(super) fn injected(sink: &str, folder: &Path, error: crashpoint::Injected) -> SinkError {
    io_error(sink, folder, "failed", &io::Error::other(error))
}

/// Where a writer writes, and as whom.
struct Place {
    identity: WriterIdentity,
    folder: PathBuf,
    files: Arc<dyn FileSystem>,
}

impl Place {
    fn failed(&self, path: &Path, action: &str, error: &io::Error) -> SinkError {
        io_error(&self.identity.sink, path, action, error)
    }

    fn crashpoint(&self, step: &'static str) -> Result<(), SinkError> {
        crashpoint::hit(step).map_err(|error| injected(&self.identity.sink, &self.folder, error))
    }
}

struct FilesWriter {
    place: Arc<Place>,
    encoder: JsonEncoder,
    /// The first epoch that rows written now can belong to.
    first_epoch: Epoch,
    part: u64,
    pending: Pending,
    counters: SinkCounters,
}

/// Rows since the last barrier.
#[derive(Default)]
struct Pending {
    buffer: Vec<u8>,
    rows: u64,
    file: Option<HiddenFile>,
}

/// A hidden file and what was written to it.
struct HiddenFile {
    name: String,
    path: PathBuf,
    file: Box<dyn OutputFile>,
    hash: blake3::Hasher,
    length: u64,
}

impl HiddenFile {
    fn create(place: &Place, first_epoch: Epoch, part: u64) -> Result<Self, SinkError> {
        let name = hidden_name(&place.identity, first_epoch, part);
        let path = place.folder.join(&name);
        let file = place.files.create_new(&path).map_err(|error| place.failed(&path, "cannot be created", &error))?;
        place.crashpoint("sink.hidden_created")?;
        Ok(Self { name, path, file, hash: blake3::Hasher::new(), length: 0 })
    }

    fn append(&mut self, place: &Place, bytes: &[u8]) -> Result<(), SinkError> {
        self.file.write_all(bytes).map_err(|error| place.failed(&self.path, "cannot be written", &error))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl FilesWriter {
    /// Moves the buffer to the file.
    fn spill(&mut self) -> Result<(), SinkError> {
        let file = match &mut self.pending.file {
            Some(file) => file,
            empty => empty.insert(HiddenFile::create(&self.place, self.first_epoch, self.part)?),
        };
        file.append(&self.place, &self.pending.buffer)?;
        self.pending.buffer.clear();
        Ok(())
    }
}

impl SinkWriter for FilesWriter {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let rows = &batch.rows;
        let before = self.pending.buffer.len();
        self.encoder.encode(rows, &mut self.pending.buffer).map_err(|message| SinkError::Row {
            sink: self.place.identity.sink.clone(),
            message,
            origin: None,
        })?;
        let (records, bytes) = (rows.num_rows() as u64, (self.pending.buffer.len() - before) as u64);
        self.pending.rows += records;
        self.counters.records += records;
        self.counters.bytes += bytes;
        if self.pending.buffer.len() >= BUFFER_BYTES { self.spill() } else { Ok(()) }
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        let pending = std::mem::take(&mut self.pending);
        let (place, part, first_epoch) = (Arc::clone(&self.place), self.part, self.first_epoch);
        self.first_epoch = epoch.next();
        if pending.rows == 0 {
            return Ok(Box::new(|| Ok(Vec::new())));
        }
        self.part += 1;
        Ok(Box::new(move || {
            let file = match pending.file {
                Some(file) => file,
                None => HiddenFile::create(&place, first_epoch, part)?,
            };
            let handle = seal(&place, file, &pending.buffer, final_name(&place.identity, epoch, part))?;
            Ok(vec![Committable {
                sink: place.identity.sink.clone(),
                writer: place.identity.subtask,
                attempt: place.identity.attempt,
                epoch,
                rows: pending.rows,
                expiry: None,
                handle: handle.encode(),
            }])
        }))
    }

    fn counters(&self) -> SinkCounters {
        self.counters
    }
}

/// Writes the rest and makes file and name durable: only then is there something to acknowledge.
fn seal(place: &Place, mut file: HiddenFile, rest: &[u8], final_name: String) -> Result<Handle, SinkError> {
    file.append(place, rest)?;
    place.crashpoint("sink.written")?;
    file.file.flush().map_err(|error| place.failed(&file.path, "cannot be written", &error))?;
    place.crashpoint("sink.flushed")?;
    file.file.sync().map_err(|error| place.failed(&file.path, "cannot be synced", &error))?;
    place.files.sync_folder(&place.folder).map_err(|error| place.failed(&place.folder, "cannot be synced", &error))?;
    place.crashpoint("sink.synced")?;
    Ok(Handle {
        folder: place.folder.to_string_lossy().into_owned(),
        hidden: file.name,
        published: final_name,
        length: file.length,
        hash: ContentHash(file.hash.finalize().to_hex().to_string()),
    })
}
