//! From topic to topic, exactly once, with one broker on the same machine; with `--peers` beside Flink and Kafka Streams.
//!
//! Every result is compared with what must come out: its records (or the orders in them) and the sum of a column.

mod cases;
mod floor;
mod options;
mod stage;

use std::time::Duration;

use anyhow::Result;
use e2e::kafka::Peer;

use self::cases::Work;
use self::options::Options;
use self::stage::{Figures, Pace, Stage};

const SECOND: Duration = Duration::from_secs(1);
/// 500,000 orders, 50 of each customer.
const WINDOW: Duration = Duration::from_secs(10);
/// No multiple of a checkpoint's interval, so that windows end at all moments between two of them.
const SHORT_WINDOW: Duration = Duration::from_millis(700);

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worker {
    Onceward,
    Peer(Peer),
}

impl Worker {
    fn name(self) -> &'static str {
        match self {
            Self::Onceward => "Onceward",
            Self::Peer(Peer::Flink) => "Flink",
            Self::Peer(Peer::Streams) => "Kafka Streams",
        }
    }
}

/// `bench kafka ...`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let is_given = options.is_smoke || std::env::var_os("ONCEWARD_BIN").is_some();
    let onceward = if is_given { e2e::site::binary()? } else { crate::build_onceward()? };
    let mut stage = Stage::new(&options, onceward)?;
    println!(
        "Orders of 100 bytes in JSON, exactly once, {} partitions, parallelism {}, one broker on this machine.",
        cases::PARTITIONS,
        cases::PARTITIONS
    );
    if options.wants("filter") {
        let filter = compare(&mut stage, &options, "filter and project", Work::Filter, &[Worker::Onceward])?;
        let floor = stage.floor(options.records)?;
        println!(
            "librdkafka alone, producing as many records: {floor:.2} CPU-s per million; ratio (ours / that): {:.2}",
            filter / floor
        );
    }
    let mut workers = vec![Worker::Onceward];
    if options.peers {
        workers.extend(Peer::ALL.map(Worker::Peer));
    }
    if options.wants("sum") {
        compare(&mut stage, &options, "sum of 10 s windows by 10,000 keys", Work::Sum { window: WINDOW }, &workers)?;
    }
    if options.wants("latency") {
        latency(&mut stage, &options, "filter and project", Work::Filter, SECOND, &[Worker::Onceward])?;
        latency(&mut stage, &options, "the same", Work::Filter, SECOND / 10, &[Worker::Onceward])?;
        let windows = Work::Sum { window: SHORT_WINDOW };
        latency(&mut stage, &options, "sum of 0.7 s windows by 1,000 keys", windows, SECOND, &workers)?;
    }
    Ok(())
}

/// As fast as can be, taken in turn. Returns our median of CPU-seconds per million records.
fn compare(stage: &mut Stage, options: &Options, what: &str, work: Work, workers: &[Worker]) -> Result<f64> {
    println!("\n## {what}, {} records, checkpoints every second, median of {}", options.records, options.rounds);
    let mut runs: Vec<Vec<Figures>> = workers.iter().map(|_| vec![]).collect();
    for _ in 0..options.rounds {
        for (worker, runs) in workers.iter().zip(&mut runs) {
            runs.push(stage.measure(*worker, work, SECOND, Pace::Fast { records: options.records })?);
        }
    }
    println!("| who | records/s | CPU-s per million records | MB resident at most | CPU of each |");
    println!("|---|---|---|---|---|");
    let mut medians = vec![];
    for (worker, runs) in workers.iter().zip(&runs) {
        let of = |figure: fn(&Figures) -> f64| crate::median(&mut runs.iter().map(figure).collect::<Vec<_>>());
        let median = (of(|run| run.rate), of(|run| run.cpu), of(|run| run.resident_mb));
        let each: Vec<_> = runs.iter().map(|run| format!("{:.2}", run.cpu)).collect();
        println!("| {} | {:.0} | {:.2} | {:.0} | {} |", worker.name(), median.0, median.1, median.2, each.join(", "));
        medians.push((worker, median));
    }
    let Some(((_, ours), peers)) = medians.split_first() else { return Ok(f64::NAN) };
    for (peer, theirs) in peers {
        println!(
            "ours to {}: {:.2} times the records/s, {:.2} times the CPU, {:.2} times the memory",
            peer.name(),
            ours.0 / theirs.0,
            ours.1 / theirs.1,
            ours.2 / theirs.2
        );
    }
    Ok(ours.1)
}

/// From the time of an order, or the end of a window, to a reader of committed records, at a steady rate.
fn latency(
    stage: &mut Stage,
    options: &Options,
    what: &str,
    work: Work,
    interval: Duration,
    workers: &[Worker],
) -> Result<()> {
    let Options { rate, seconds, warm, .. } = *options;
    println!(
        "\n## visible latency, {what}, checkpoints every {interval:?}, {rate} records/s for {seconds} s after {warm} s"
    );
    println!("| who | p50 ms | p99 ms | most ms | CPU-s per million records | MB resident at most | checkpoints |");
    println!("|---|---|---|---|---|---|---|");
    let mut ours = None;
    for worker in workers {
        let figures = stage.measure(*worker, work, interval, Pace::Steady { rate, warm, seconds })?;
        let Figures { p50_ms, p99_ms, max_ms, cpu, resident_mb, checkpoints, .. } = figures;
        println!(
            "| {} | {p50_ms} | {p99_ms} | {max_ms} | {cpu:.2} | {resident_mb:.0} | {checkpoints} |",
            worker.name()
        );
        let first = *ours.get_or_insert(figures);
        if *worker != Worker::Onceward {
            println!(
                "| ours to that | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | |",
                first.p50_ms as f64 / p50_ms as f64,
                first.p99_ms as f64 / p99_ms as f64,
                first.max_ms as f64 / max_ms as f64,
                first.cpu / cpu,
                first.resident_mb / resident_mb
            );
        }
    }
    Ok(())
}
