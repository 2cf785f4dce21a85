use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use checkpoint::ids::{Attempt, Epoch, PipelineId, Subtask};
use checkpoint::manifest::Committable;
use tempfile::{TempDir, tempdir};

use super::super::committer::{FilesCommitter, Handle};
use super::super::filesystem::{FileSystem, LocalFiles};
use super::recording::Recording;
use crate::clock::ManualClock;
use crate::connectors::files::FilesSink;
use crate::connectors::{
    Classification, CommitOutcome, Committer, Earlier, Retry, SinkConnector, SinkError, SinkWriter, WriterContext,
    WriterIdentity,
};

const PIPELINE: PipelineId = PipelineId(0xabc);

pub(super) fn context(attempt: u64, schema: SchemaRef) -> WriterContext {
    let (_, committed) = tokio::sync::watch::channel(Epoch(0));
    let (_, stop) = crate::worker::stop_signal();
    WriterContext { identity: identity(attempt), schema, committed, stop, clock: Arc::new(ManualClock::default()) }
}

fn identity(attempt: u64) -> WriterIdentity {
    WriterIdentity { pipeline: PIPELINE, attempt: Attempt(attempt), sink: "out".to_owned(), subtask: Subtask(1) }
}

fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

/// A folder with its sink and committer.
pub(super) struct Stage {
    folder: TempDir,
    files: Recording,
    pub(super) sink: FilesSink,
    committer: FilesCommitter,
}

fn stage_with(fault: Option<(&'static str, io::ErrorKind)>) -> Stage {
    let folder = tempdir().unwrap();
    let files = Recording::failing(fault);
    let sink = FilesSink::new("out", folder.path(), Arc::new(files.clone()));
    let committer = FilesCommitter::new("out", folder.path(), Arc::new(files.clone()));
    Stage { folder, files, sink, committer }
}

pub(super) fn stage() -> Stage {
    stage_with(None)
}

impl Stage {
    fn writer(&self, attempt: u64) -> Box<dyn SinkWriter> {
        self.sink.open_writer(context(attempt, numbers([]).schema())).unwrap()
    }

    /// What `attempt` pre-commits of some numbers.
    fn prepare(&self, attempt: u64, values: std::ops::Range<i64>) -> Committable {
        let mut writer = self.writer(attempt);
        writer.write(&numbers(values).into()).unwrap();
        writer.pre_commit(Epoch(7)).unwrap()().unwrap().remove(0)
    }

    /// Names and contents of the folder.
    pub(super) fn seen(&self) -> BTreeMap<String, String> {
        let names = LocalFiles.list(self.folder.path()).unwrap();
        let read = |name: String| {
            let text = std::fs::read_to_string(self.folder.path().join(&name)).unwrap();
            (name, text)
        };
        names.into_iter().map(read).collect()
    }

    fn published(&self) -> Vec<String> {
        self.seen().into_keys().filter(|name| !name.starts_with('.')).collect()
    }
}

fn name(attempt: u64, epoch: u64) -> String {
    format!("out-{PIPELINE}-{attempt}-{epoch}-1-0.jsonl")
}

async fn classify(stage: &Stage, committable: &Committable) -> Result<Classification, SinkError> {
    stage.committer.classify(committable).await
}

#[test]
fn nothing_is_acknowledged_before_its_fsync_returned() {
    let stage = stage();
    let mut writer = stage.writer(3);
    writer.write(&numbers(0..100_000).into()).unwrap();
    writer.write(&numbers([1]).into()).unwrap();
    let pre_commit = writer.pre_commit(Epoch(7)).unwrap();
    assert!(!stage.files.calls().iter().any(|call| call.starts_with("sync")), "the slow half is not on the data path");
    let committables = pre_commit().unwrap();
    let calls = stage.files.calls();
    let hidden = format!(".out-{PIPELINE}-3-1-1-0.jsonl.pending");
    let folder = stage.folder.path().file_name().unwrap().to_string_lossy().into_owned();
    let last = [format!("write {hidden}"), format!("sync {hidden}"), format!("sync_folder {folder}")];
    assert!(calls.ends_with(&last), "{calls:?}");
    let [committable] = committables.as_slice() else { panic!("one part") };
    let shape = (committable.attempt, committable.epoch, committable.rows, committable.expiry);
    assert_eq!(shape, (Attempt(3), Epoch(7), 100_001, None));
    let handle: Handle = serde_json::from_str(&committable.handle).unwrap();
    assert_eq!((handle.hidden, handle.published), (hidden.clone(), name(3, 7)));
    let text = &stage.seen()[&hidden];
    assert_eq!(handle.length, text.len() as u64);
    assert_eq!(handle.hash.0, blake3::hash(text.as_bytes()).to_hex().to_string());
    assert_eq!(writer.counters().records, 100_001);
    assert_eq!(writer.counters().bytes, handle.length);
}

#[test]
fn an_epoch_without_rows_has_no_committable_and_no_file() {
    let stage = stage();
    let mut writer = stage.writer(1);
    assert_eq!(writer.pre_commit(Epoch(1)).unwrap()().unwrap(), []);
    writer.write(&numbers([]).into()).unwrap();
    assert_eq!(writer.pre_commit(Epoch(2)).unwrap()().unwrap(), []);
    assert!(stage.seen().is_empty());
}

#[test]
fn every_epoch_has_its_own_file_and_rows_stay_in_order() {
    let stage = stage();
    let mut writer = stage.writer(1);
    let mut committables = Vec::new();
    for epoch in 1..4_i64 {
        writer.write(&numbers(epoch * 10..epoch * 10 + 2).into()).unwrap();
        writer.write(&numbers([epoch]).into()).unwrap();
        committables.push(writer.pre_commit(Epoch(epoch.unsigned_abs())).unwrap());
    }
    // The slow halves may run in any order.
    for pre_commit in committables.into_iter().rev() {
        let committable = pre_commit().unwrap().remove(0);
        assert_eq!(stage.committer.commit_for_test(&committable).unwrap(), CommitOutcome::Committed);
    }
    let expected: BTreeMap<_, _> = (1..4_i64)
        .map(|epoch| {
            let text = [epoch * 10, epoch * 10 + 1, epoch].map(|n| format!("{{\"n\":{n}}}\n")).concat();
            (format!("out-{PIPELINE}-1-{epoch}-1-{}.jsonl", epoch - 1), text)
        })
        .collect();
    assert_eq!(stage.seen(), expected);
}

#[tokio::test]
async fn a_commit_publishes_once_and_again_is_already_committed() {
    let stage = stage();
    let committable = stage.prepare(1, 0..10);
    assert!(stage.published().is_empty());
    assert_eq!(classify(&stage, &committable).await.unwrap(), Classification::Prepared);
    stage.files.calls();
    assert_eq!(stage.committer.commit_for_test(&committable).unwrap(), CommitOutcome::Committed);
    let calls = stage.files.calls();
    assert!(calls[0].starts_with("rename") && calls[1].starts_with("sync_folder"), "{calls:?}");
    assert_eq!(stage.published(), [name(1, 7)]);
    assert_eq!(stage.committer.commit_for_test(&committable).unwrap(), CommitOutcome::AlreadyCommitted);
    // Whoever renamed it may have died before its sync.
    assert!(stage.files.calls().last().unwrap().starts_with("sync_folder"));
    assert_eq!(classify(&stage, &committable).await.unwrap(), Classification::Committed);
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn a_link_without_its_unlink_is_committed_and_cleaned_up() {
    let stage = stage();
    let committable = stage.prepare(1, 0..10);
    let hidden = stage.seen().into_keys().next().unwrap();
    std::fs::hard_link(stage.folder.path().join(hidden), stage.folder.path().join(name(1, 7))).unwrap();
    assert_eq!(classify(&stage, &committable).await.unwrap(), Classification::Committed);
    assert_eq!(stage.committer.commit_for_test(&committable).unwrap(), CommitOutcome::AlreadyCommitted);
    assert_eq!(stage.seen().into_keys().collect::<Vec<_>>(), [name(1, 7)]);
}

#[tokio::test]
async fn other_content_under_the_final_name_is_a_conflict_and_stays() {
    let stage = stage();
    let committable = stage.prepare(1, 0..10);
    std::fs::write(stage.folder.path().join(name(1, 7)), "foreign").unwrap();
    for _ in 0..2 {
        let error = stage.committer.commit_for_test(&committable).unwrap_err();
        assert!(matches!(error, SinkError::OutputConflict { .. }), "{error}");
        assert_eq!(error.retry(), Retry::Never);
        assert!(matches!(classify(&stage, &committable).await, Err(SinkError::OutputConflict { .. })));
    }
    assert_eq!(stage.seen()[&name(1, 7)], "foreign");
    assert_eq!(stage.seen().len(), 2);
}

#[tokio::test]
async fn gone_without_a_trace_is_lost_but_a_missing_folder_proves_nothing() {
    let stage = stage();
    let committable = stage.prepare(1, 0..10);
    let hidden = stage.seen().into_keys().next().unwrap();
    std::fs::remove_file(stage.folder.path().join(hidden)).unwrap();
    assert_eq!(classify(&stage, &committable).await.unwrap(), Classification::Lost);
    assert_eq!(stage.committer.commit_for_test(&committable).unwrap(), CommitOutcome::Lost);
    std::fs::remove_dir(stage.folder.path()).unwrap();
    assert!(matches!(classify(&stage, &committable).await, Err(SinkError::Io { .. })));
    assert!(matches!(stage.committer.commit_for_test(&committable), Err(SinkError::Io { .. })));
    assert!(matches!(stage.committer.abort(&committable).await, Err(SinkError::Io { .. })));
}

#[tokio::test]
async fn classify_touches_nothing() {
    let stage = stage();
    let committable = stage.prepare(1, 0..10);
    stage.files.calls();
    let before = stage.seen();
    classify(&stage, &committable).await.unwrap();
    assert_eq!((stage.files.calls(), stage.seen()), (Vec::new(), before));
}

#[tokio::test]
async fn an_abort_proves_that_it_is_gone_and_refuses_what_is_committed() {
    let stage = stage();
    let (first, second) = (stage.prepare(1, 0..10), stage.prepare(2, 0..10));
    stage.committer.commit_for_test(&second).unwrap();
    for _ in 0..2 {
        stage.committer.abort(&first).await.unwrap();
        assert!(matches!(stage.committer.abort(&second).await, Err(SinkError::Committable { .. })));
    }
    assert_eq!(stage.seen().into_keys().collect::<Vec<_>>(), [name(2, 7)]);
    assert_eq!(stage.committer.commit_for_test(&first).unwrap(), CommitOutcome::Lost);
}

#[tokio::test]
async fn leftovers_of_earlier_attempts_of_this_pipeline_and_sink_are_removed_and_nothing_else() {
    let stage = stage();
    for attempt in 1..=4 {
        stage.prepare(attempt, 0..10);
    }
    let committed = stage.prepare(5, 0..10);
    stage.committer.commit_for_test(&committed).unwrap();
    let foreign = [
        format!(".out-{}-1-1-1-0.jsonl.pending", PipelineId(1)),
        format!(".other-{PIPELINE}-1-1-1-0.jsonl.pending"),
        "notes.txt".to_owned(),
    ];
    for name in &foreign {
        std::fs::write(stage.folder.path().join(name), "").unwrap();
    }
    let earlier = Earlier { pipeline: PIPELINE, before: Attempt(3), ids: [].into() };
    assert_eq!(stage.committer.abort_leftovers(&earlier).await.unwrap(), 2);
    assert_eq!(stage.committer.abort_leftovers(&earlier).await.unwrap(), 0);
    let mut expected: Vec<String> = foreign.into();
    expected.extend([3, 4].map(|attempt| format!(".out-{PIPELINE}-{attempt}-1-1-0.jsonl.pending")));
    expected.push(name(5, 7));
    expected.sort();
    assert_eq!(stage.seen().into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn a_handle_that_names_other_files_is_refused() {
    let stage = stage();
    let good = stage.prepare(1, 0..10);
    let change = |from: &str, to: &str| {
        let handle = good.handle.replace(from, to);
        assert_ne!(handle, good.handle, "{from}");
        Committable { handle, ..good.clone() }
    };
    let folder = stage.folder.path().to_str().unwrap();
    for wrong in [
        change(".out-", "out-"),
        change("\"final\":\"out-", "\"final\":\"../out-"),
        change(".out-", ".other-"),
        change(&PIPELINE.to_string(), &PipelineId(9).to_string()[..31]),
        change("-1-7-1-0.jsonl", "-2-7-1-0.jsonl"),
        change(folder, "relative"),
        change("\"length\":", "\"size\":"),
        Committable { sink: "other".to_owned(), ..good.clone() },
        Committable { attempt: Attempt(2), ..good.clone() },
    ] {
        let error = stage.committer.commit_for_test(&wrong).unwrap_err();
        assert!(matches!(error, SinkError::Committable { .. }), "{wrong:?}: {error}");
    }
    std::fs::OpenOptions::new()
        .append(true)
        .open(stage.folder.path().join(stage.seen().into_keys().next().unwrap()))
        .unwrap()
        .write_all(b"more")
        .unwrap();
    assert!(matches!(stage.committer.commit_for_test(&good), Err(SinkError::Committable { .. })));
    assert!(stage.published().is_empty());
}

#[test]
fn a_fault_at_any_call_is_told_with_its_class_and_acknowledges_nothing() {
    let kinds = [
        (io::ErrorKind::StorageFull, Retry::Backoff),
        (io::ErrorKind::PermissionDenied, Retry::Never),
        (io::ErrorKind::Other, Retry::Backoff),
    ];
    for call in ["create_new", "write", "sync", "sync_folder"] {
        for (kind, retry) in kinds {
            let stage = stage_with(Some((call, kind)));
            let mut writer = stage.writer(1);
            let written = writer.write(&numbers(0..10).into());
            let error = written.and_then(|()| writer.pre_commit(Epoch(1))).and_then(|slow| slow()).unwrap_err();
            let injected = stage.files.calls().iter().filter(|call| call.contains("fails")).count();
            assert_eq!((error.retry(), injected), (retry, 1), "{call}: {error}");
            assert!(error.to_string().contains(stage.folder.path().to_str().unwrap()), "{error}");
            assert!(stage.published().is_empty());
        }
    }
    for call in ["rename", "sync_folder"] {
        for (kind, retry) in kinds {
            let stage = stage();
            let committable = stage.prepare(1, 0..10);
            let files = Recording::failing(Some((call, kind)));
            let failing = FilesCommitter::new("out", stage.folder.path(), Arc::new(files.clone()));
            assert_eq!(failing.commit_for_test(&committable).unwrap_err().retry(), retry);
            assert_eq!(files.calls().iter().filter(|call| call.contains("fails")).count(), 1);
            // Tried again when it has healed.
            let outcome = stage.committer.commit_for_test(&committable).unwrap();
            assert_eq!(outcome == CommitOutcome::Committed, call == "rename");
            assert_eq!(stage.published(), [name(1, 7)]);
        }
    }
}

#[test]
fn a_name_that_is_taken_is_never_opened() {
    let stage = stage();
    let taken = format!(".out-{PIPELINE}-1-1-1-0.jsonl.pending");
    std::fs::write(stage.folder.path().join(&taken), "zombie").unwrap();
    let mut writer = stage.writer(1);
    writer.write(&numbers(0..10).into()).unwrap();
    assert!(matches!(writer.pre_commit(Epoch(1)).unwrap()(), Err(SinkError::Io { .. })));
    assert_eq!(stage.seen()[&taken], "zombie");
}

#[test]
fn a_missing_folder_is_made_only_when_it_is_prepared_and_a_file_in_its_place_is_refused() {
    let folder = tempdir().unwrap();
    let nested = folder.path().join("a/b/c");
    let sink = |path: &Path| FilesSink::new("out", path, Arc::new(LocalFiles));
    sink(&nested).check().unwrap();
    assert!(!folder.path().join("a").exists(), "a check makes nothing");
    let absent = sink(&nested).check_present().unwrap_err();
    assert!(absent.to_string().contains("is not there") && absent.to_string().contains("a/b/c"), "{absent}");
    sink(&nested).prepare().unwrap();
    sink(&nested).check_present().unwrap();
    assert!(nested.is_dir());
    std::fs::write(nested.join("file"), "").unwrap();
    for path in [nested.join("file"), nested.join("file/below")] {
        let error = sink(&path).check().unwrap_err();
        assert!(error.to_string().contains("folder cannot be written"), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
}
