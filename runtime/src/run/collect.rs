//! Carries the subtasks' counters into the metrics, a few times a second, beside the data path.

use std::collections::BTreeMap;

use api::control::TaskId;
use api::statistics::{TaskCounters, Times};
use checkpoint::ids::Attempt;
use prometheus::Gauge;
use tokio::sync::watch;

use crate::coordinator::Statistics;
use crate::element::Timestamp;
use crate::metrics::Metrics;
use crate::tasks::{self, Task};

/// Collects until the task is dropped.
pub(super) fn collect(metrics: Metrics, mut statistics: watch::Receiver<Statistics>) -> Task<()> {
    tasks::spawn("metrics collector", async move {
        let mut collector = Collector { metrics, attempt: Attempt(0), before: BTreeMap::new() };
        while statistics.changed().await.is_ok() {
            let newest = statistics.borrow_and_update().clone();
            collector.take(newest);
        }
    })
}

struct Collector {
    metrics: Metrics,
    /// Whose counters have been told last.
    attempt: Attempt,
    before: BTreeMap<TaskId, (TaskCounters, Times)>,
}

impl Collector {
    /// Counters begin anew with each attempt; metrics go on.
    fn take(&mut self, statistics: Statistics) {
        if statistics.attempt != self.attempt {
            self.attempt = statistics.attempt;
            self.before.clear();
        }
        let nothing = (TaskCounters::default(), Times::default());
        let mut told = BTreeMap::new();
        for (id, task) in statistics.tasks {
            let now = task.counters;
            let (before, times) = self.before.get(&id).unwrap_or(&nothing);
            self.source(before, &now);
            self.sinks(before, &now);
            self.operators(before, &now);
            let times = self.times(&id, *times, task.times);
            if let Some(seconds) = seconds(now.watermark) {
                self.metrics.task(&id.stage, id.subtask.0).watermark_timestamp_seconds.set(seconds);
            }
            told.insert(id, (now, times));
        }
        self.gauges(told.values().map(|(counters, _)| counters));
        self.before = told;
    }

    /// Returns what has been told. A look between two stores of a subtask can be ahead for a moment: what was told
    /// then is not told again.
    fn times(&self, task: &TaskId, told: Times, now: Times) -> Times {
        let series = self.metrics.task(&task.stage, task.subtask.0);
        let tell = |series: &Gauge, told: u64, now: u64| {
            series.add(now.saturating_sub(told) as f64 / 1e6);
            told.max(now)
        };
        Times {
            busy_us: tell(&series.busy_seconds, told.busy_us, now.busy_us),
            idle_us: tell(&series.idle_seconds, told.idle_us, now.idle_us),
            backpressured_us: tell(&series.backpressured_seconds, told.backpressured_us, now.backpressured_us),
        }
    }

    fn source(&self, before: &TaskCounters, now: &TaskCounters) {
        let Some((name, counters)) = &now.source else { return };
        let before = before.source.as_ref().map(|(_, counters)| *counters).unwrap_or_default();
        for lag in &now.lag {
            self.metrics.lag(name, &lag.topic, lag.partition).set(lag.records as i64);
        }
        let series = self.metrics.source(name);
        series.records.inc_by(counters.records.saturating_sub(before.records));
        series.bytes.inc_by(counters.bytes.saturating_sub(before.bytes));
        series.decode_errors.inc_by(counters.decode_errors.saturating_sub(before.decode_errors));
    }

    fn sinks(&self, before: &TaskCounters, now: &TaskCounters) {
        for (name, counters) in &now.sinks {
            let before = before.sinks.iter().find(|(other, _)| other == name).map(|(_, c)| *c).unwrap_or_default();
            let series = self.metrics.sink(name);
            series.records.inc_by(counters.records.saturating_sub(before.records));
            series.bytes.inc_by(counters.bytes.saturating_sub(before.bytes));
            series.errors.inc_by(counters.errors.saturating_sub(before.errors));
        }
    }

    fn operators(&self, before: &TaskCounters, now: &TaskCounters) {
        for counters in &now.operators {
            let before = before.operators.iter().find(|other| other.operator == counters.operator);
            let since = |now: u64, before: Option<u64>| now.saturating_sub(before.unwrap_or_default());
            let (operator, is_first_half) = whole(&counters.operator);
            let series = self.metrics.operator(operator);
            if is_first_half {
                series.records_in.inc_by(since(counters.records_in, before.map(|b| b.records_in)));
            } else {
                series.records_out.inc_by(since(counters.records_out, before.map(|b| b.records_out)));
            }
            series.late_records_dropped.inc_by(since(counters.late_dropped, before.map(|b| b.late_dropped)));
            series.windows_fired.inc_by(since(counters.windows_fired, before.map(|b| b.windows_fired)));
        }
    }

    /// What is held by subtasks and told as one: state by its sum, a source's event time and a sink's oldest transaction by
    /// their minimum.
    fn gauges<'a>(&self, now: impl Iterator<Item = &'a TaskCounters>) {
        let mut state: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut watermarks: BTreeMap<&str, Timestamp> = BTreeMap::new();
        let mut open: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for task in now {
            for (sink, counters) in &task.sinks {
                let oldest = open.entry(sink).or_default();
                *oldest = oldest.iter().copied().chain(counters.open_since_ms).min();
            }
            for counters in &task.operators {
                let (keys, bytes) = state.entry(whole(&counters.operator).0).or_default();
                *keys += counters.state_keys;
                *bytes += counters.state_bytes;
            }
            if let Some((source, _)) = &task.source {
                let lowest = watermarks.entry(source).or_insert(Timestamp::MAX);
                *lowest = task.watermark.min(*lowest);
            }
        }
        for (sink, since_ms) in open {
            let seconds = since_ms.unwrap_or(0) as f64 / 1e3;
            self.metrics.sink(sink).transaction_oldest_open_timestamp_seconds.set(seconds);
        }
        for (operator, (keys, bytes)) in state {
            let series = self.metrics.operator(operator);
            series.state_keys.set(keys as i64);
            series.state_size_bytes.set(bytes as i64);
        }
        for (source, watermark) in watermarks {
            if let Some(seconds) = seconds(watermark) {
                self.metrics.source(source).watermark_timestamp_seconds.set(seconds);
            }
        }
    }
}

/// A windowed GROUP BY is one operator to whoever looks on. Here it has two halves: `<operator>/pre` takes the rows in
/// before the exchange, the other takes partial results and gives the rows on. Either may find a row late.
fn whole(operator: &str) -> (&str, bool) {
    match operator.strip_suffix("/pre") {
        Some(whole) => (whole, true),
        None => (operator, false),
    }
}

/// `None` before the first watermark and after the last.
fn seconds(watermark: Timestamp) -> Option<f64> {
    (watermark != Timestamp::MIN && watermark != Timestamp::MAX).then(|| watermark as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use api::statistics::{SourceCounters, TaskStatistics};
    use checkpoint::ids::Subtask;

    use super::*;
    use crate::metrics::Names;

    fn task(subtask: u32, records: u64, watermark: Timestamp, seconds: [u64; 3]) -> TaskStatistics {
        let source = Some(("orders".to_owned(), SourceCounters { records, bytes: 0, decode_errors: 0 }));
        let [busy_us, idle_us, backpressured_us] = seconds.map(|seconds| seconds * 1_000_000);
        TaskStatistics {
            task: TaskId { stage: "orders".into(), subtask: Subtask(subtask) },
            counters: TaskCounters { source, watermark, ..TaskCounters::default() },
            times: Times { busy_us, idle_us, backpressured_us },
            rows_read: records,
            rows_written: 0,
        }
    }

    #[test]
    fn counters_go_on_over_attempts_and_a_source_is_as_far_as_its_slowest_subtask() {
        let names = Names {
            pipeline: "p".into(),
            sources: vec!["orders".into()],
            stages: vec![("orders".into(), 2)],
            ..Names::default()
        };
        let metrics = Metrics::new(&names).unwrap();
        let mut collector = Collector { metrics: metrics.clone(), attempt: Attempt(0), before: BTreeMap::new() };
        let mut take = |attempt, first, second| {
            let tasks = [first, second].map(|task: TaskStatistics| (task.task.clone(), task));
            collector.take(Statistics { attempt: Attempt(attempt), tasks: tasks.into() });
        };
        take(1, task(0, 10, 3_000_000, [1, 2, 3]), task(1, 5, 2_000_000, [0, 6, 0]));
        take(1, task(0, 30, 9_000_000, [2, 4, 6]), task(1, 5, 4_000_000, [0, 12, 0]));
        // A look between two stores of the subtask: what it was ahead is not told again.
        take(1, task(0, 30, 9_000_000, [5, 4, 6]), task(1, 5, 4_000_000, [0, 12, 0]));
        take(1, task(0, 30, 9_000_000, [3, 6, 6]), task(1, 5, 4_000_000, [0, 12, 0]));
        // The next attempt has read more than the one before by the time somebody looks.
        take(2, task(0, 40, 9_000_000, [1, 0, 0]), task(1, 1, 8_000_000, [0, 1, 0]));
        let text = metrics.text().unwrap();
        let time = |kind: &str, subtask: u32| {
            format!(
                "onceward_operator_{kind}_seconds_total{{operator=\"orders\",pipeline=\"p\",subtask=\"{subtask}\"}}"
            )
        };
        for series in [
            "onceward_source_records_total{pipeline=\"p\",source=\"orders\"} 76".to_owned(),
            "onceward_source_watermark_timestamp_seconds{pipeline=\"p\",source=\"orders\"} 8".to_owned(),
            time("busy", 0) + " 6",
            time("idle", 0) + " 6",
            time("backpressured", 0) + " 6",
            time("idle", 1) + " 13",
        ] {
            assert!(text.lines().any(|line| line == series), "{series} is missing in\n{text}");
        }
    }
}
