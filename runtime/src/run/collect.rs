//! Carries the subtasks' counters into the metrics, a few times a second, beside the data path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::control::TaskId;
use prometheus::Gauge;

use crate::clock::Clock;
use crate::element::Timestamp;
use crate::metrics::Metrics;
use crate::tasks::{self, Task};
use crate::worker::{Snapshot, Statistics, TaskStatistics, Times};

const INTERVAL: Duration = Duration::from_millis(500);

/// Collects until the task is dropped.
pub(super) fn collect(metrics: Metrics, statistics: Statistics, clock: Arc<dyn Clock>) -> Task<()> {
    tasks::spawn("metrics collector", async move {
        let mut collector = Collector { metrics, before: BTreeMap::new() };
        loop {
            collector.take(statistics.read(clock.monotonic()));
            clock.sleep(INTERVAL).await;
        }
    })
}

struct Collector {
    metrics: Metrics,
    before: BTreeMap<TaskId, Snapshot>,
}

impl Collector {
    /// Counters begin anew with each attempt; metrics go on.
    fn take(&mut self, mut now: BTreeMap<TaskId, Snapshot>) {
        let nothing = Snapshot::default();
        for (task, now) in &mut now {
            let before = self.before.get(task).filter(|before| before.attempt == now.attempt).unwrap_or(&nothing);
            self.source(&before.counters, &now.counters);
            self.sinks(&before.counters, &now.counters);
            self.operators(&before.counters, &now.counters);
            now.times = self.times(task, before.times, now.times);
            if let Some(seconds) = seconds(now.counters.watermark) {
                self.metrics.task(&task.stage, task.subtask.0).watermark_timestamp_seconds.set(seconds);
            }
        }
        self.gauges(&now);
        self.before = now;
    }

    /// Returns what has been told. A look between two stores of a subtask can be ahead for a moment: what was told
    /// then is not told again.
    fn times(&self, task: &TaskId, told: Times, now: Times) -> Times {
        let series = self.metrics.task(&task.stage, task.subtask.0);
        let tell = |series: &Gauge, told: Duration, now: Duration| {
            series.add(now.saturating_sub(told).as_secs_f64());
            told.max(now)
        };
        Times {
            busy: tell(&series.busy_seconds, told.busy, now.busy),
            idle: tell(&series.idle_seconds, told.idle, now.idle),
            backpressured: tell(&series.backpressured_seconds, told.backpressured, now.backpressured),
        }
    }

    fn source(&self, before: &TaskStatistics, now: &TaskStatistics) {
        let Some((name, counters)) = &now.source else { return };
        let before = before.source.as_ref().map(|(_, counters)| *counters).unwrap_or_default();
        let series = self.metrics.source(name);
        series.records.inc_by(counters.records.saturating_sub(before.records));
        series.bytes.inc_by(counters.bytes.saturating_sub(before.bytes));
        series.decode_errors.inc_by(counters.decode_errors.saturating_sub(before.decode_errors));
    }

    fn sinks(&self, before: &TaskStatistics, now: &TaskStatistics) {
        for (name, counters) in &now.sinks {
            let before = before.sinks.iter().find(|(other, _)| other == name).map(|(_, c)| *c).unwrap_or_default();
            let series = self.metrics.sink(name);
            series.records.inc_by(counters.records.saturating_sub(before.records));
            series.bytes.inc_by(counters.bytes.saturating_sub(before.bytes));
        }
    }

    fn operators(&self, before: &TaskStatistics, now: &TaskStatistics) {
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

    /// What is held by subtasks and told as one: state by its sum, a source's event time by its minimum.
    fn gauges(&self, now: &BTreeMap<TaskId, Snapshot>) {
        let mut state: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut watermarks: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for task in now.values().map(|task| &task.counters) {
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
    use checkpoint::ids::{Attempt, Subtask};

    use super::*;
    use crate::connectors::SourceCounters;
    use crate::metrics::Names;

    fn snapshot(attempt: u64, records: u64, watermark: Timestamp, seconds: [u64; 3]) -> Snapshot {
        let source = Some(("orders".to_owned(), SourceCounters { records, bytes: 0, decode_errors: 0 }));
        let [busy, idle, backpressured] = seconds.map(Duration::from_secs);
        let counters = TaskStatistics { source, watermark, ..TaskStatistics::default() };
        Snapshot { attempt: Attempt(attempt), counters, times: Times { busy, idle, backpressured } }
    }

    fn task(subtask: u32) -> TaskId {
        TaskId { stage: "orders".into(), subtask: Subtask(subtask) }
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
        let mut collector = Collector { metrics: metrics.clone(), before: BTreeMap::new() };
        let mut take = |first, second| collector.take(BTreeMap::from([(task(0), first), (task(1), second)]));
        take(snapshot(1, 10, 3_000_000, [1, 2, 3]), snapshot(1, 5, 2_000_000, [0, 6, 0]));
        take(snapshot(1, 30, 9_000_000, [2, 4, 6]), snapshot(1, 5, 4_000_000, [0, 12, 0]));
        // A look between two stores of the subtask: what it was ahead is not told again.
        take(snapshot(1, 30, 9_000_000, [5, 4, 6]), snapshot(1, 5, 4_000_000, [0, 12, 0]));
        take(snapshot(1, 30, 9_000_000, [3, 6, 6]), snapshot(1, 5, 4_000_000, [0, 12, 0]));
        // The next attempt has read more than the one before by the time somebody looks.
        take(snapshot(2, 40, 9_000_000, [1, 0, 0]), snapshot(2, 1, 8_000_000, [0, 1, 0]));
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
