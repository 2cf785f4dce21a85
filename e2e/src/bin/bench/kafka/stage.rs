//! A broker, its topics, and one measurement after the other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use e2e::kafka::meter::{Looked, Orders, Seen, Times};
use e2e::kafka::peers::Sum;
use e2e::kafka::{Broker, Judge, Load, Options as BrokerOptions, Peer, Version, Watch};

use super::cases::{PARTITIONS, Way, Work};
use super::options::Options;
use super::{Worker, floor};
use crate::child::{self, Measured, Running};

/// Event time between two orders that are read as fast as can be: half a million in ten seconds.
const STEP: Duration = Duration::from_micros(20);
/// Customers of orders that are read as fast as can be, and of those at a steady rate.
const KEYS: (u64, u64) = (10_000, 1_000);
/// After which a run is taken for stuck.
const MOST: Duration = Duration::from_mins(10);
const INPUT: &str = "orders";

/// How orders come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// They are there already.
    Fast { records: u64 },
    /// So many a second, `warm` seconds before latency counts and `seconds` after it.
    Steady { rate: u64, warm: u64, seconds: u64 },
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Orders a second, from the start of the process until the last result was visible.
    pub(crate) rate: f64,
    /// CPU-seconds per million orders, of the process alone.
    pub(crate) cpu: f64,
    pub(crate) resident_mb: f64,
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    pub(crate) max_ms: u64,
    pub(crate) checkpoints: usize,
}

struct Ran {
    measured: Measured,
    seen: Seen,
    /// CPU-seconds before latency counted.
    start_cpu: f64,
    began_ms: u64,
}

pub(crate) struct Stage {
    onceward: PathBuf,
    properties: String,
    judge: Judge,
    broker: Broker,
    /// Topics made so far.
    topics: u32,
    /// The input for all that goes as fast as can be was written.
    is_loaded: bool,
}

impl Stage {
    pub(crate) fn new(options: &Options, onceward: PathBuf) -> Result<Self> {
        let mut broker = BrokerOptions::default();
        if !options.is_smoke {
            // It lives for long enough that the second compiler pays, and must not be what is measured.
            broker.java = ["-XX:TieredStopAtLevel=4", "-Xmx1g"].map(ToOwned::to_owned).into();
        }
        let broker = Broker::start(Version::Newest, &broker)?;
        let judge = Judge::start(&broker.address())?;
        let properties = options.properties.clone();
        Ok(Self { onceward, properties, judge, broker, topics: 0, is_loaded: false })
    }

    /// librdkafka's own cost of writing.
    pub(crate) fn floor(&mut self, records: u64) -> Result<f64> {
        let topic = self.topic("floor")?;
        let floor = floor::cpu_seconds(&self.broker, &topic, records)?;
        self.judge.delete(&topic)?;
        Ok(floor)
    }

    fn topic(&mut self, what: &str) -> Result<String> {
        self.topics += 1;
        let topic = format!("{what}-{}", self.topics);
        self.judge.create(&topic, PARTITIONS)?;
        Ok(topic)
    }

    /// One run, whose output must be right.
    pub(crate) fn measure(&mut self, worker: Worker, work: Work, interval: Duration, pace: Pace) -> Result<Figures> {
        let (from, records) = match pace {
            Pace::Fast { records } => (self.input(records)?, records),
            Pace::Steady { rate, warm, seconds } => (self.topic("steady")?, rate * (warm + seconds)),
        };
        let to = self.topic("out")?;
        let (bootstrap, properties) = (self.broker.address(), self.properties.clone());
        let is_bounded = matches!(pace, Pace::Fast { .. });
        let way = Way { bootstrap: &bootstrap, properties: &properties, from: &from, to: &to, interval, is_bounded };
        let ran = self.ran(worker, work, &way, pace, records)?;
        let (seen, expected) = (ran.seen, work.expected(records));
        ensure!(
            (seen.weight, seen.sum) == (expected.weight, expected.sum),
            "{worker:?} {work:?}: {seen:?} where {expected:?} is right"
        );
        self.judge.delete(&to)?;
        if !is_bounded {
            self.judge.delete(&from)?;
        }
        let (cpu, counted) = match pace {
            Pace::Fast { .. } => (ran.measured.cpu_seconds, records),
            Pace::Steady { rate, seconds, .. } => (ran.measured.cpu_seconds - ran.start_cpu, rate * seconds),
        };
        Ok(Figures {
            rate: records as f64 * 1e3 / seen.last_ms.saturating_sub(ran.began_ms) as f64,
            cpu: cpu * 1e6 / counted as f64,
            resident_mb: ran.measured.peak_rss_mb,
            p50_ms: seen.p50_ms,
            p99_ms: seen.p99_ms,
            max_ms: seen.max_ms,
            checkpoints: ran.measured.checkpoints().count(),
        })
    }

    fn ran(&self, worker: Worker, work: Work, way: &Way<'_>, pace: Pace, records: u64) -> Result<Ran> {
        let (weight, value, time) = work.fields();
        let warm = match pace {
            Pace::Fast { .. } => None,
            Pace::Steady { warm, .. } => Some(warm),
        };
        // Where nothing is sent now, no latency counts.
        let from_ms = warm.map_or(u64::MAX >> 1, |warm| now_ms() + warm * 1_000);
        let until = work.expected(records).weight;
        let watch = Watch::start(way.bootstrap, way.to, &Looked { weight, value, time, from_ms, until, most: MOST })?;
        let folder = tempfile::tempdir()?;
        let began_ms = now_ms();
        let running = Running::start(self.command(worker, work, way, folder.path())?)?;
        let load = match pace {
            Pace::Steady { rate, .. } => Some((records, Times::Sent { per_second: rate })),
            // What closes windows by later records only needs some.
            Pace::Fast { .. } if worker == Worker::Peer(Peer::Streams) => Some((0, Times::Sent { per_second: 1 })),
            Pace::Fast { .. } => None,
        };
        let orders = |(count, times)| Orders { count, keys: KEYS.1, times };
        let load = load.map(|load| Load::start(way.bootstrap, way.from, &orders(load))).transpose()?;
        let (measured, seen, start_cpu) = if way.is_bounded && worker != Worker::Peer(Peer::Streams) {
            (running.finish()?, watch.seen()?, 0.0)
        } else {
            if warm.is_some() {
                std::thread::sleep(Duration::from_millis(from_ms.saturating_sub(now_ms())));
            }
            let start_cpu = running.cpu_seconds()?;
            let seen = watch.seen()?;
            (running.stop()?, seen, start_cpu)
        };
        drop(load);
        Ok(Ran { measured, seen, start_cpu, began_ms })
    }

    /// Written once, for all that reads it.
    fn input(&mut self, records: u64) -> Result<String> {
        if !self.is_loaded {
            self.judge.create(INPUT, PARTITIONS)?;
            // Retention and ticks ask for times near now.
            let times =
                Times::Made { begin_ms: now_ms() - 600_000 - records * STEP.as_micros() as u64 / 1_000, step: STEP };
            Load::start(&self.broker.address(), INPUT, &Orders { count: records, keys: KEYS.0, times })?.loaded()?;
            self.is_loaded = true;
        }
        Ok(INPUT.to_owned())
    }

    fn command(
        &self,
        worker: Worker,
        work: Work,
        way: &Way<'_>,
        folder: &std::path::Path,
    ) -> Result<std::process::Command> {
        let Way { bootstrap, from, to, interval, is_bounded, .. } = *way;
        match (worker, work) {
            (Worker::Onceward, _) => child::command(&self.onceward, &work.manifest(way), folder),
            (Worker::Peer(peer), Work::Sum { window }) => peer.command(&Sum {
                bootstrap,
                from,
                to,
                parallelism: PARTITIONS,
                window,
                interval,
                folder,
                is_bounded,
            }),
            (Worker::Peer(_), Work::Filter) => anyhow::bail!("peers are compared at sums"),
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
