//! Made-up orders with everything that makes windows hard: disorder, late rows, files of different lengths that begin
//! and end at different times. The same seed gives the same bytes. Used by `demo` and by the end-to-end tests.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::checker::expected::{Expected, Rules, Window};
use crate::checker::verdict::Verdict;
use crate::checker::{self, time};

const SECOND: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600 * SECOND;
/// What the manifest allows; disorder stays within it, except for one row in [`LATE_ONE_IN`].
const MAX_OUT_OF_ORDERNESS: i64 = 2 * SECOND;
const LATE_ONE_IN: u64 = 100;
/// How far behind a late row may be.
const LATEST: u64 = 60 * SECOND as u64;

/// What to make up.
#[derive(Clone, Debug)]
pub struct Workload {
    pub seed: u64,
    pub records: u64,
    /// File i gets a share of i + 1.
    pub files: u32,
    pub customers: u64,
    pub window: Window,
    pub parallelism: u32,
    pub interval_ms: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            seed: 1,
            records: 20_000,
            files: 24,
            customers: 400,
            window: Window::Tumble { size: 10 * SECOND },
            parallelism: 2,
            interval_ms: 100,
        }
    }
}

/// A workload in a folder, ready to be run and judged.
#[derive(Clone, Debug)]
pub struct Written {
    pub manifest: PathBuf,
    pub inputs: Vec<PathBuf>,
    pub rules: Rules,
    pub windows: PathBuf,
    pub copy: PathBuf,
    pub state: PathBuf,
}

impl Workload {
    /// Writes input files and manifest below `folder`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, folder: &Path) -> io::Result<Written> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let mut inputs = vec![];
        let shares = u64::from(self.files) * (u64::from(self.files) + 1) / 2;
        let mut first = 0;
        for file in 0..self.files {
            let last = file + 1 == self.files;
            let share = if last { self.records - first } else { self.records * (u64::from(file) + 1) / shares };
            let path = data.join(format!("orders-{file}.jsonl"));
            self.write_file(&path, file, first..first + share)?;
            first += share;
            inputs.push(path);
        }
        let manifest = folder.join("pipeline.yaml");
        std::fs::write(&manifest, self.manifest())?;
        Ok(Written {
            manifest,
            inputs,
            rules: Rules { window: self.window, max_out_of_orderness: MAX_OUT_OF_ORDERNESS },
            windows: folder.join("out/windows"),
            copy: folder.join("out/copy"),
            state: folder.join("state"),
        })
    }

    fn write_file(&self, path: &Path, file: u32, ids: std::ops::Range<u64>) -> io::Result<()> {
        let mut dice = Dice::new(self.seed ^ (u64::from(file) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
        let mut clock = BEGIN + i64::from(file) * 3 * SECOND;
        for id in ids {
            clock += dice.below(20_000) as i64;
            let behind = if dice.below(LATE_ONE_IN) == 0 { LATEST } else { MAX_OUT_OF_ORDERNESS as u64 };
            // Whole milliseconds: what most producers write, and half the digits.
            let ts = (clock - dice.below(behind) as i64).div_euclid(1_000) * 1_000;
            let (customer, cents) = (dice.below(self.customers), dice.below(10_000));
            let ts = time::format(ts);
            writeln!(out, r#"{{"id":{id},"ts":"{ts}","customer":{customer},"cents":{cents}}}"#)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn manifest(&self) -> String {
        let (seconds, interval) = (|micros: i64| micros / SECOND, self.interval_ms);
        let table = match self.window {
            Window::Tumble { size } => format!("TUMBLE(orders, ts, INTERVAL '{} seconds')", seconds(size)),
            Window::Hop { slide, size } => {
                format!("HOP(orders, ts, INTERVAL '{} seconds', INTERVAL '{} seconds')", seconds(slide), seconds(size))
            }
            Window::Session { gap } => format!("SESSION(orders, ts, INTERVAL '{} seconds')", seconds(gap)),
        };
        let mut text = String::new();
        // A write to a String cannot fail.
        let _ = write!(
            text,
            r#"apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: orders}}
spec:
  parallelism: {parallelism}
  sources:
  - name: orders
    files: {{path: "data/orders-*.jsonl"}}
    format: {{json: {{}}}}
    columns:
    - {{name: id, type: BIGINT}}
    - {{name: ts, type: TIMESTAMP}}
    - {{name: customer, type: BIGINT}}
    - {{name: cents, type: BIGINT}}
    eventTime: {{column: ts, maxOutOfOrderness: {disorder}s}}
  transforms:
  - name: per_customer
    sql: |
      SELECT window_start, window_end, customer,
             SUM(cents) AS total, COUNT(*) AS orders, MIN(cents) AS smallest, MAX(cents) AS largest
      FROM {table}
      GROUP BY window_start, window_end, customer
  sinks:
  - {{name: windows, input: per_customer, files: {{path: out/windows/}}, format: {{json: {{}}}}}}
  - {{name: copy, input: orders, files: {{path: out/copy/}}, format: {{json: {{}}}}}}
  checkpoint:
    interval: {interval}ms
    storage: {{local: {{path: state}}}}
"#,
            parallelism = self.parallelism,
            disorder = seconds(MAX_OUT_OF_ORDERNESS),
        );
        text
    }
}

impl Written {
    /// Both sinks against the input.
    ///
    /// # Errors
    /// A file that cannot be judged.
    pub fn judge(&self) -> Result<(Expected, Verdict), checker::Error> {
        let (expected, windows) = checker::check_windows(&self.inputs, &self.rules, &self.windows)?;
        let copy = checker::check_copy(&self.inputs, &self.copy)?;
        Ok((expected, windows.and(copy)))
    }
}

/// Seeded randomness for made-up data and for choosing where to strike.
///
/// # Source
/// Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014 (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (0 for a bound of 0), unbiased enough for tests.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        let bytes = |seed| {
            let folder = tempfile::tempdir().unwrap();
            let written = Workload { seed, records: 300, ..Workload::default() }.write(folder.path()).unwrap();
            written.inputs.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn made_up_orders_hold_late_rows_for_every_kind_of_window() {
        for window in [
            Window::Tumble { size: 10 * SECOND },
            Window::Hop { slide: 5 * SECOND, size: 15 * SECOND },
            Window::Session { gap: 2 * SECOND },
        ] {
            let folder = tempfile::tempdir().unwrap();
            let written = Workload { records: 5_000, window, ..Workload::default() }.write(folder.path()).unwrap();
            let (expected, verdict) = written.judge().unwrap();
            assert_eq!(expected.records, 5_000);
            assert!(expected.late > 10, "{window:?}: {} late", expected.late);
            assert_eq!(verdict.missing, expected.rows.len() as u64 + 5_000, "nothing was written yet");
        }
    }
}
