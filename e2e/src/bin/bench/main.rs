//! The benchmark of `docs/benchmarks.md`: CPU-seconds of the shipped binary beside those of peers in the same run.
//!
//! `cargo run --profile dist -p onceward-e2e --bin bench [-- ROWS]` builds `onceward` under the same profile and prints
//! figures and ratios; `-- kafka` does so from topic to topic. It asserts nothing about time.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the wall clock")]

mod batch;
mod child;
mod json;
mod kafka;
mod pipelines;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::child::Measured;
use crate::pipelines::{Shape, Sinks};

/// Of each measurement that is compared with another.
const RUNS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows: u64 = match arguments.first().map(String::as_str) {
        Some("kafka") => return kafka::run(arguments.get(1..).unwrap_or_default()),
        Some(text) => text.parse().context("usage: bench [ROWS | kafka ...]; ROWS is a whole number")?,
        None => 20_000_000,
    };
    let onceward = build_onceward()?;
    windowed_sum(&onceward, rows)?;
    checkpoint_cost(&onceward, "discard sink", Sinks::Discard, rows * 25)?;
    checkpoint_cost(&onceward, "file sink", Sinks::Files, rows * 5)?;
    million_keys(&onceward)?;
    json_lines(&onceward)?;
    first_row(&onceward)
}

/// The binary under test, built by the same cargo and into the same folder as this program.
fn build_onceward() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.args(["build", "--quiet", "--profile", "dist", "--bin", "onceward"]);
    let status = build.status().context("cargo build --profile dist --bin onceward")?;
    anyhow::ensure!(status.success(), "cargo build --profile dist --bin onceward failed");
    let folder = std::env::current_exe()?.parent().context("this program has no folder")?.to_owned();
    Ok(folder.join("onceward"))
}

fn windowed_sum(onceward: &std::path::Path, rows: u64) -> Result<()> {
    println!("## Windowed COUNT and SUM, 10,000 random keys, {rows} rows");
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let ours = child::run(onceward, &pipelines::windowed(rows, &Shape::default()))?;
        report("onceward run", &ours, rows);
        runs.push(ours.cpu_seconds / millions(rows));
    }
    let ours = median(&mut runs);
    let peer = batch::cpu_seconds(rows.min(10_000_000))?;
    println!("DataFusion batch, same GROUP BY over the same batches in memory: {peer:.4} CPU-s per million rows");
    println!("ratio (batch / median of onceward, higher is better): {:.2}", peer / ours);
    let sparse = Shape { is_sparse: true, ..Shape::default() };
    report("the same with keys far apart", &child::run(onceward, &pipelines::windowed(rows, &sparse))?, rows);
    let generator = child::run(onceward, &pipelines::generator_only(rows))?;
    report("of it, generator to discard", &generator, rows);
    Ok(())
}

/// Long enough for several checkpoints at one a second.
fn checkpoint_cost(onceward: &std::path::Path, what: &str, sink: Sinks, rows: u64) -> Result<()> {
    const INTERVALS: [&str; 3] = ["1h", "1s", "100ms"];
    println!("\n## What checkpoints cost, {what}, {rows} rows (median of {RUNS}, taken in turn)");
    let mut runs = INTERVALS.map(|_| (Vec::new(), Vec::new(), 0));
    for _ in 0..RUNS {
        for (interval, (wall, cpu, checkpoints)) in INTERVALS.iter().zip(&mut runs) {
            let shape = Shape { interval, sink, ..Shape::default() };
            let measured = child::run(onceward, &pipelines::windowed(rows, &shape))?;
            wall.push(measured.wall_seconds);
            cpu.push(measured.cpu_seconds);
            *checkpoints = measured.checkpoints().count();
        }
    }
    let mut none = None;
    for (interval, (wall, cpu, checkpoints)) in INTERVALS.iter().zip(&mut runs) {
        let (wall, cpu) = (median(wall), median(cpu));
        let (wall_without, cpu_without) = *none.get_or_insert((wall, cpu));
        println!(
            "every {interval}: {:.2} M rows/s, {checkpoints} checkpoints, {:.1} % fewer rows a second and {:.1} % more \
             CPU than without",
            millions(rows) / wall,
            100.0 * (1.0 - wall_without / wall),
            100.0 * (cpu / cpu_without - 1.0),
        );
    }
    Ok(())
}

fn million_keys(onceward: &std::path::Path) -> Result<()> {
    let rows = 10_000_000;
    let shape = Shape { keys: 1_000_000, step: "1us", window: "1 hour", interval: "200ms", ..Shape::default() };
    let measured = child::run(onceward, &pipelines::windowed(rows, &shape))?;
    println!("\n## One million live keys");
    report("onceward run", &measured, rows);
    let largest =
        |field: &str| measured.checkpoints().filter_map(|c| c["durations"][field].as_u64()).max().unwrap_or(0);
    // The last one comes after the window has fired; one checkpoint writes what changed since the one before.
    let bytes = measured.checkpoints().filter_map(|c| c["writtenBytes"].as_u64()).max().unwrap_or(0);
    println!(
        "synchronous part at most {:.1} ms, upload at most {:.0} ms, {:.0} bytes written per key by the largest checkpoint",
        largest("snapshotUs") as f64 / 1e3,
        largest("uploadUs") as f64 / 1e3,
        bytes as f64 / 1e6
    );
    Ok(())
}

fn json_lines(onceward: &std::path::Path) -> Result<()> {
    let rows = 4_000_000;
    let input = json::Input::write(rows)?;
    let ours = child::run(onceward, &pipelines::json_to_discard(input.path()))?;
    let reader = json::reader_cpu_seconds(input.path())?;
    println!("\n## JSON Lines, {rows} rows, {} MB", input.bytes()? / 1_000_000);
    report("onceward run, files to discard", &ours, rows);
    let ours = ours.cpu_seconds / millions(rows);
    let reader = reader / millions(rows);
    println!(
        "arrow's JSON reader alone: {reader:.4} CPU-s per million rows; ratio (reader / onceward): {:.2}",
        reader / ours
    );
    Ok(())
}

fn first_row(onceward: &std::path::Path) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..11 {
        times.push(child::time_to_first_row(onceward, &pipelines::windowed(1_000_000, &Shape::default()))?);
    }
    println!("\n## Process start to first row: median {:.0} ms of {}", median(&mut times) * 1e3, times.len());
    Ok(())
}

fn report(what: &str, measured: &Measured, rows: u64) {
    println!(
        "{what}: {:.4} CPU-s per million rows, {:.2} M rows/s, {:.0} MB resident at most, {} checkpoints",
        measured.cpu_seconds / millions(rows),
        rows as f64 / measured.wall_seconds / 1e6,
        measured.peak_rss_mb,
        measured.checkpoints().count()
    );
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millions(rows: u64) -> f64 {
    rows as f64 / 1e6
}
