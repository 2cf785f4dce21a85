//! The peer for decoding: arrow's JSON reader over the same file.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::batch::process_cpu;

/// A file of orders that is removed afterwards.
pub(crate) struct Input {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Input {
    pub(crate) fn write(rows: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("orders.jsonl");
        let mut file = BufWriter::new(File::create(&path)?);
        let mut x = 7_u64;
        for k in 0..rows {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (second, customer, cents) = (k / 100_000 % 60, (x >> 33) % 10_000, (x >> 40) % 10_000);
            let country = ["DE", "FR", "SE"][(x >> 50) as usize % 3];
            writeln!(
                file,
                r#"{{"ts":"2026-01-01T00:00:{second:02}Z","customer":{customer},"cents":{cents},"country":"{country}"}}"#
            )?;
        }
        file.flush()?;
        Ok(Self { path, _folder: folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }
}

/// CPU-seconds of reading the whole file into batches.
pub(crate) fn reader_cpu_seconds(path: &Path) -> Result<f64> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("customer", DataType::Int64, true),
        Field::new("cents", DataType::Int64, true),
        Field::new("country", DataType::Utf8, true),
    ]));
    let before = process_cpu();
    let reader = arrow::json::ReaderBuilder::new(schema).with_batch_size(8192);
    let mut rows = 0;
    for batch in reader.build(BufReader::with_capacity(1 << 20, File::open(path)?))? {
        rows += batch?.num_rows();
    }
    anyhow::ensure!(rows > 0, "nothing was read");
    Ok(process_cpu().saturating_sub(before).as_secs_f64())
}
