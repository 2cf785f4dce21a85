//! Chaos between two topics: records come in all the time, worker and broker are killed again and again, and in the end
//! Kafka's own client compares the two, record by record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use onceward::child::Child;
use runtime::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kafka::judge::{Input, Record};
use crate::kafka::{Broker, Judge, Options, Version};
use crate::seeds::dice;
use crate::site::Site;

const INPUT: &str = "chaos-in";
const OUTPUT: &str = "chaos-out";
const KEYS: u64 = 97;
/// Records a second.
const RATE: u64 = 10_000;
/// Records that are asked for at a time.
const PIECE: u64 = 5_000;
/// While there is something to catch up on, as after the broker was away, up to so many, at so many a second.
const LARGE_PIECE: u64 = 50_000;
const HASTE: u64 = 50_000;
/// One of so many kills is the broker's.
const BROKER_EVERY: u64 = 5;
/// A kill comes within this time after the run has got somewhere (or has begun).
const MOMENT_MS: u64 = 600;
/// A broker that was killed stays away for up to this long.
const MOST_AWAY_MS: u64 = 2_000;
/// In the end everything must be through within this time.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);
/// More than is ever produced: 10 hours.
const MOST: u64 = RATE * 36_000;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// At least so many.
    pub kills: u64,
    /// At least so long.
    pub time: Duration,
}

/// What happened. All counts are of what was seen to happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub worker_kills: u64,
    pub broker_kills: u64,
    /// Of the input, and of the output.
    pub records: u64,
    pub seconds: u64,
}

struct Arena {
    broker: Broker,
    judge: Judge,
    site: Site,
}

/// Runs a plan.
///
/// # Errors
/// Records are missing, doubled, wrong or reordered; something is open in the end; a run failed by itself.
pub fn between_topics(plan: &Plan) -> Result<Tally> {
    let broker = Broker::start(Version::Newest, &Options::default())?;
    let judge = Judge::start(&broker.address())?;
    judge.create(INPUT, 3)?;
    judge.create(OUTPUT, 3)?;
    let site = Site::new()?;
    std::fs::write(&site.manifest, manifest(&broker.address()))?;
    let mut arena = Arena { broker, judge, site };
    let source = Judge::start(&arena.broker.address())?;
    let enough = AtomicBool::new(false);
    let (tally, produced) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(&source, &enough));
        let tally = arena.strike(plan, &enough);
        enough.store(true, Ordering::SeqCst);
        let produced = producing.join().unwrap_or_else(|_| bail!("the producer panicked"));
        (tally, produced)
    });
    let (mut tally, child) = tally?;
    tally.records = produced?;
    arena.drain(child, tally.records)?;
    arena.judge_all(tally.records)?;
    Ok(tally)
}

fn manifest(address: &str) -> String {
    format!(
        "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: chaos}}
spec:
  parallelism: 2
  connections:
  - {{name: main, kafka: {{bootstrapServers: [\"{address}\"]}}}}
  sources:
  - name: orders
    kafka: {{connection: main, topics: [{INPUT}]}}
    format: {{json: {{}}}}
    columns: [{{name: n, type: BIGINT}}, {{name: customer, type: BIGINT}}, {{name: cents, type: BIGINT}}]
  transforms:
  - {{name: doubled, sql: \"SELECT customer, n, cents * 2 AS twice FROM orders\"}}
  sinks:
  - {{name: out, input: doubled, kafka: {{connection: main, topic: {OUTPUT}, key: [customer]}}}}
  checkpoint: {{interval: 200ms, timeout: 20s, tolerableFailedCheckpoints: 3, storage: {{local: {{path: state}}}}}}
  restartPolicy: {{fixedDelay: {{attempts: 1000, delay: 100ms}}}}
"
    )
}

/// Records from 0 on until it is enough; how many. Over the whole time they keep to the rate.
fn produce(source: &Judge, enough: &AtomicBool) -> Result<u64> {
    let clock = SystemClock;
    let begun = clock.monotonic();
    let mut first = 0;
    while !enough.load(Ordering::SeqCst) {
        let due = clock.monotonic().saturating_sub(begun).as_millis() as u64 * RATE / 1_000;
        let behind = due.saturating_sub(first);
        let rate = if behind > PIECE { HASTE } else { RATE };
        let input = Input { first, count: behind.clamp(PIECE, LARGE_PIECE), keys: KEYS, begin_ms: 0, rate };
        source.produce(INPUT, &input).context("input")?;
        first += input.count;
    }
    Ok(first)
}

impl Arena {
    /// Kills until the plan is done; leaves a run that lives.
    fn strike(&mut self, plan: &Plan, enough: &AtomicBool) -> Result<(Tally, Child)> {
        let clock = SystemClock;
        let begun = clock.monotonic();
        let mut dice = dice(plan.seed, 0);
        let mut tally = Tally::default();
        let mut child = self.site.start("", &[])?;
        while tally.worker_kills + tally.broker_kills < plan.kills
            || clock.monotonic().saturating_sub(begun) < plan.time
        {
            ensure!(!enough.load(Ordering::SeqCst), "the input has ended");
            // One of four dies wherever it is at the moment; the others have committed something since they began.
            if dice.below(4) != 0 {
                child.wait_for(|said| said.is_event("commit.completed"))?;
            }
            let moment = Duration::from_millis(dice.below(MOMENT_MS));
            if !child.outlives(moment) {
                bail!("the run ended by itself: {}", child.finish()?.describe());
            }
            if (tally.worker_kills + tally.broker_kills + 1).is_multiple_of(BROKER_EVERY) {
                self.broker.kill()?;
                // It stays away for a while, or the run would hardly notice. Whether that lives is looked at before the
                // next kill.
                let _ = child.outlives(Duration::from_millis(dice.below(MOST_AWAY_MS)));
                self.broker.restart()?;
                tally.broker_kills += 1;
            } else {
                child.kill()?;
                let ended = child.finish()?;
                ensure!(ended.signal() == Some(Signal::KILL.as_raw()), "it was not killed: {}", ended.describe());
                tally.worker_kills += 1;
                child = self.site.start("", &[])?;
            }
        }
        tally.seconds = clock.monotonic().saturating_sub(begun).as_secs();
        Ok((tally, child))
    }

    /// Lets the run get to the end of the input, and stops it.
    fn drain(&self, child: Child, records: u64) -> Result<()> {
        let clock = SystemClock;
        let begun = clock.monotonic();
        // Its offsets are told to the group after each checkpoint.
        let is_through = || -> Result<bool> {
            let told: i64 = self.judge.group_offsets("onceward-chaos")?.iter().map(|found| found.offset).sum();
            Ok(told == i64::try_from(records)?)
        };
        while !is_through()? {
            ensure!(child.outlives(LOOK), "the run ended by itself");
            ensure!(
                clock.monotonic().saturating_sub(begun) < PATIENCE,
                "not through: {:?}",
                self.judge.group_offsets("onceward-chaos")
            );
        }
        kill_process(Pid::from_raw(child.id().cast_signed()).context("a process id")?, Signal::TERM)?;
        let ended = child.finish()?;
        ensure!(ended.code() == Some(0), "{}", ended.describe());
        Ok(())
    }

    fn judge_all(&self, records: u64) -> Result<()> {
        let mut input = Seen::new(records);
        self.judge.each_committed(INPUT, MOST, |record| input.see(&record, |cents| ("cents", cents)))?;
        input.assert_exact().context("the input itself")?;
        let mut output = Seen::new(records);
        self.judge.each_committed(OUTPUT, MOST, |record| output.see(&record, |cents| ("twice", cents * 2)))?;
        output.assert_exact().with_context(|| format!("the output; {}", self.site.describe()))?;
        self.judge.assert_nothing_is_open(&[INPUT, OUTPUT])
    }
}

/// Of one topic.
struct Seen {
    times: Vec<u16>,
    /// Of each key its partition and its last record.
    keys: BTreeMap<u64, (i32, u64)>,
    reordered: u64,
}

impl Seen {
    fn new(records: u64) -> Self {
        Self { times: vec![0; records as usize], keys: BTreeMap::new(), reordered: 0 }
    }

    /// `value`: name and content of the field that follows from a record's cents.
    fn see(&mut self, record: &Record, value: impl Fn(u64) -> (&'static str, u64)) -> Result<()> {
        let row: Value = serde_json::from_str(record.text()).with_context(|| format!("{record:?}"))?;
        let n = row["n"].as_u64().with_context(|| format!("{row}"))?;
        let times = self.times.get_mut(n as usize).with_context(|| format!("record {n} was never produced"))?;
        *times = times.saturating_add(1);
        let (name, expected) = value(n * 7919 % 10_007);
        ensure!(row["customer"] == n % KEYS && row[name] == expected, "record {n} is wrong: {row}");
        let (partition, last) = self.keys.entry(n % KEYS).or_insert((record.partition, n));
        ensure!(*partition == record.partition, "a key in two partitions: {record:?}");
        self.reordered += u64::from(*last > n);
        *last = n;
        Ok(())
    }

    fn assert_exact(&self) -> Result<()> {
        let missing = self.times.iter().filter(|times| **times == 0).count();
        let doubled = self.times.iter().filter(|times| **times > 1).count();
        let reordered = self.reordered;
        ensure!(
            (missing, doubled, reordered) == (0, 0, 0),
            "{} records: missing {missing}, doubled {doubled}, reordered {reordered}",
            self.times.len()
        );
        Ok(())
    }
}
