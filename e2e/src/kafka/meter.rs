//! Input of benchmarks, and a `read_committed` reader that tells when output became visible: Java processes on Kafka's
//! own client.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::broker::java;

const RELEASE: &str = "4.3.1";

/// Order n is `{"n", "customer": n * 7919 % keys, "cents": n * 7919 % 10007, "ts", "note"}` in 100 bytes, with its
/// customer as key. `ts` is also the record's time.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    pub count: u64,
    pub keys: u64,
    pub times: Times,
}

/// When an order was.
#[derive(Clone, Copy, Debug)]
pub enum Times {
    /// Written as fast as can be, so far apart from this moment on (milliseconds since 1970).
    Made { begin_ms: u64, step: Duration },
    /// The time of sending, so many a second.
    Sent { per_second: u64 },
}

impl Orders {
    /// Worth of order n.
    pub fn cents(n: u64) -> u64 {
        n * 7919 % 10_007
    }
}

/// Writes orders, and then ticks (customer -1, worth nothing, now) to every partition until it is dropped, so that
/// event time goes on.
pub struct Load {
    meter: Meter,
}

impl Load {
    /// # Errors
    /// Java is missing.
    pub fn start(bootstrap: &str, topic: &str, orders: &Orders) -> Result<Self> {
        let Orders { count, keys, times } = *orders;
        let (begin_ms, step_us, rate) = match times {
            Times::Made { begin_ms, step } => (begin_ms, step.as_micros() as u64, 0),
            Times::Sent { per_second } => (0, 0, per_second),
        };
        let numbers = [count, keys, begin_ms, step_us, rate].map(|number| number.to_string());
        let arguments = ["load", bootstrap, topic].map(ToOwned::to_owned).into_iter().chain(numbers);
        Ok(Self { meter: Meter::start(arguments)? })
    }

    /// Waits until all orders are acknowledged.
    ///
    /// # Errors
    /// They were not.
    pub fn loaded(&mut self) -> Result<()> {
        let told: Value = self.meter.told()?;
        ensure!(told["loaded"].is_u64(), "{told}");
        Ok(())
    }
}

/// What of a topic's records is looked at; those of customer -1 are left out.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// Field that counts; `None`: each counts one.
    pub weight: Option<&'a str>,
    /// Field that is added up.
    pub value: &'a str,
    /// Field with the time that latency counts from: milliseconds since 1970, or as in RFC 3339.
    pub time: &'a str,
    /// Times before it are not looked at: the start is over by then.
    pub from_ms: u64,
    /// Weight at which it is done.
    pub until: u64,
    /// After which it is given up.
    pub most: Duration,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Seen {
    pub records: u64,
    pub weight: u64,
    pub sum: u64,
    /// When the last record became visible, in milliseconds since 1970.
    pub last_ms: u64,
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// A reader of committed records.
pub struct Watch {
    meter: Meter,
}

impl Watch {
    /// Returns when it reads.
    ///
    /// # Errors
    /// Java is missing, or there is no such topic.
    pub fn start(bootstrap: &str, topic: &str, looked: &Looked<'_>) -> Result<Self> {
        let Looked { weight, value, time, from_ms, until, most } = *looked;
        let texts = ["watch", bootstrap, topic, weight.unwrap_or("-"), value, time].map(ToOwned::to_owned);
        let numbers = [from_ms, until, most.as_secs()].map(|number| number.to_string());
        let mut meter = Meter::start(texts.into_iter().chain(numbers))?;
        let told: Value = meter.told()?;
        ensure!(told["ready"] == true, "{told}");
        Ok(Self { meter })
    }

    /// Waits until it is done or has given up.
    ///
    /// # Errors
    /// It ended without a word.
    pub fn seen(mut self) -> Result<Seen> {
        self.meter.told()
    }
}

/// Ends with its standard input.
struct Meter {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Meter {
    fn start(arguments: impl Iterator<Item = String>) -> Result<Self> {
        // It runs for longer than other processes of the stage, so that the second compiler pays.
        let mut command = java(RELEASE, &["-XX:TieredStopAtLevel=4".to_owned()], "Meter")?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().context("java")?;
        let out = BufReader::new(process.stdout.take().context("it is piped")?);
        Ok(Self { process, out })
    }

    fn told<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        ensure!(self.out.read_line(&mut line)? > 0, "the meter ended without a word");
        serde_json::from_str(&line).with_context(|| line.clone())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
