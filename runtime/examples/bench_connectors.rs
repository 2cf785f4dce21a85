//! What the edges cost: nanoseconds of CPU per row for the generator, for decoding JSON Lines (beside the Arrow JSON
//! reader and `serde_json` over the same bytes) and for encoding them.
//!
//! `cargo run --profile dist -p onceward-runtime --example bench_connectors`

use std::error::Error;
use std::hint::black_box;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::pipeline::Source;
use arrow::record_batch::RecordBatch;
use checkpoint::ids::{Attempt, Epoch, PipelineId, Subtask};
use runtime::connectors::files::FilesSink;
use runtime::connectors::files::filesystem::{FileSystem, LocalFiles, OutputFile};
use runtime::connectors::{Next, SinkConnector, SourceConnector, WriterIdentity, registry};
use rustix::time::{ClockId, clock_gettime};

const ROWS: u64 = 2_000_000;
const COLUMNS: &str = r#"[
    {"name": "ts", "type": "TIMESTAMP", "generate": {"sequence": {"start": "2026-01-01T00:00:00Z", "step": "10ms"}}},
    {"name": "customer", "type": "BIGINT", "generate": {"random": {"min": 0, "max": 9999}}},
    {"name": "cents", "type": "BIGINT", "generate": {"random": {"min": 1, "max": 100000}}},
    {"name": "country", "type": "VARCHAR", "generate": {"choice": ["DE", "FR", "SE"]}}]"#;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let source = |input: &str| -> Outcome<Source> {
        let event_time = r#"{"column": "ts"}"#;
        let text = format!(r#"{{"name": "orders", {input}, "columns": {COLUMNS}, "eventTime": {event_time}}}"#);
        Ok(serde_json::from_str(&text)?)
    };
    let generated = source(&format!(r#""generator": {{"rows": {ROWS}, "seed": 7}}"#))?;
    let names: Vec<String> = generated.columns.iter().map(|column| column.name.clone()).collect();
    for wanted in names.iter().map(std::slice::from_ref).chain([names.as_slice()]) {
        let generator = registry::build_source(&generated, wanted)?;
        let (_, cost) = measured(|| drain(generator.as_ref(), |_| Ok(())))?;
        report(&format!("generate {}", wanted.join(", ")), cost);
    }
    let mut batches = Vec::new();
    let generator = registry::build_source(&generated, &names)?;
    drain(generator.as_ref(), |rows| {
        batches.push(rows);
        Ok(())
    })?;

    let path = std::env::temp_dir().join(format!("onceward-bench-{}.jsonl", std::process::id()));
    let (bytes, cost) = measured(|| encode(&batches))?;
    report(&format!("encode JSON Lines ({} bytes a row)", bytes.len() as u64 / ROWS), cost);
    LocalFiles.create_new(&path)?.write_all(&bytes)?;
    let decoded = decode(&source(&format!(r#""files": {{"path": "{}"}}"#, path.display()))?, &names, &bytes, &batches);
    LocalFiles.remove(&path)?;
    decoded
}

/// Rows of the file by ours, by the Arrow JSON reader alone, by `serde_json` alone.
fn decode(files: &Source, names: &[String], bytes: &[u8], batches: &[RecordBatch]) -> Outcome<()> {
    let decoder = registry::build_source(files, names)?;
    let (rows, ours) = measured(|| drain(decoder.as_ref(), |_| Ok(())))?;
    assert_eq!(rows, ROWS, "all rows are read");
    report("decode JSON Lines, source with file and event time", ours);
    let schema = batches.first().ok_or("no rows")?.schema();
    let (rows, arrow) = measured(|| {
        let reader = arrow::json::ReaderBuilder::new(schema).with_batch_size(8192).build(BufReader::new(bytes))?;
        let mut rows = 0;
        for batch in reader {
            rows += black_box(batch?).num_rows() as u64;
        }
        Ok(rows)
    })?;
    assert_eq!(rows, ROWS, "all rows are read");
    report("decode JSON Lines, Arrow's reader alone", arrow);
    let ((), serde) = measured(|| {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            black_box(serde_json::from_slice::<serde_json::Value>(line)?);
        }
        Ok(())
    })?;
    report("parse JSON Lines, serde_json alone", serde);
    let ratio = |other: Duration| other.as_secs_f64() / ours.as_secs_f64();
    say(&format!("Arrow's reader : ours = {:.2}, serde_json : ours = {:.2}", ratio(arrow), ratio(serde)));
    Ok(())
}

fn drain(source: &dyn SourceConnector, mut take: impl FnMut(RecordBatch) -> Outcome<()>) -> Outcome<u64> {
    let mut reader = source.open(source.resolve(1)?)?;
    let mut rows = 0;
    loop {
        match reader.next(Duration::ZERO)? {
            Next::Batch(batch) => {
                rows += batch.rows.num_rows() as u64;
                take(black_box(batch.rows))?;
            }
            Next::Watermark(_) | Next::Wait(_) => {}
            Next::Ended => return Ok(rows),
        }
    }
}

/// Writes through the files sink into memory.
fn encode(batches: &[RecordBatch]) -> Outcome<Vec<u8>> {
    let memory = Memory::default();
    let sink = FilesSink::new("bench", Path::new("/bench"), Arc::new(memory.clone()));
    let identity =
        WriterIdentity { pipeline: PipelineId(1), attempt: Attempt(1), sink: "bench".to_owned(), subtask: Subtask(0) };
    let mut writer = sink.open_writer(identity, batches.first().ok_or("no rows")?.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.pre_commit(Epoch(1))?()?;
    drop(writer);
    Ok(std::mem::take(&mut *memory.0.lock().map_err(|_| "poisoned")?))
}

/// CPU time of this thread.
fn measured<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    };
    let begin = now();
    let done = work()?;
    Ok((done, now().saturating_sub(begin)))
}

fn report(what: &str, cost: Duration) {
    say(&format!("{:8.1} ns a row  {what}", cost.as_nanos() as f64 / ROWS as f64));
}

fn say(line: &str) {
    // A closed pipe ends the output, not the measurement.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A folder that keeps what is written and forgets where.
#[derive(Clone, Default)]
struct Memory(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::Error::other("poisoned"))?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputFile for Memory {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileSystem for Memory {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn check_writable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_new(&self, _: &Path) -> io::Result<Box<dyn OutputFile>> {
        Ok(Box::new(self.clone()))
    }

    fn rename_noreplace(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn length(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn is_folder(&self, _: &Path) -> bool {
        true
    }

    fn open(&self, _: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(io::empty()))
    }
}
