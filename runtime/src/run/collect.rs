//! Carries the subtasks' counters into the metrics, a few times a second, beside the data path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::control::TaskId;

use crate::clock::Clock;
use crate::element::Timestamp;
use crate::metrics::Metrics;
use crate::tasks::{self, Task};
use crate::worker::{Statistics, TaskStatistics};

const INTERVAL: Duration = Duration::from_millis(500);

/// Collects until the task is dropped.
pub(super) fn collect(metrics: Metrics, statistics: Statistics, clock: Arc<dyn Clock>) -> Task<()> {
    tasks::spawn("metrics collector", async move {
        let mut collector = Collector { metrics, before: BTreeMap::new() };
        loop {
            collector.take(statistics.read());
            clock.sleep(INTERVAL).await;
        }
    })
}

struct Collector {
    metrics: Metrics,
    before: BTreeMap<TaskId, TaskStatistics>,
}

impl Collector {
    /// Counters begin anew with each attempt; metrics go on.
    fn take(&mut self, now: BTreeMap<TaskId, TaskStatistics>) {
        let nothing = TaskStatistics::default();
        for (task, now) in &now {
            let before = self.before.get(task).filter(|before| !is_new_attempt(before, now)).unwrap_or(&nothing);
            self.source(before, now);
            self.sinks(before, now);
            self.operators(before, now);
            let series = self.metrics.task(&task.stage, task.subtask.0);
            for (counter, now, before) in [
                (&series.busy_seconds, now.busy, before.busy),
                (&series.idle_seconds, now.idle, before.idle),
                (&series.backpressured_seconds, now.backpressure, before.backpressure),
            ] {
                counter.add(now.saturating_sub(before).as_secs_f64());
            }
            if let Some(seconds) = seconds(now.watermark) {
                series.watermark_timestamp_seconds.set(seconds);
            }
        }
        self.gauges(&now);
        self.before = now;
    }

    fn source(&self, before: &TaskStatistics, now: &TaskStatistics) {
        let Some((name, counters)) = &now.source else { return };
        let before = before.source.as_ref().map(|(_, counters)| *counters).unwrap_or_default();
        let series = self.metrics.source(name);
        series.records.inc_by(counters.records.saturating_sub(before.records));
        series.bytes.inc_by(counters.bytes.saturating_sub(before.bytes));
        series.decode_errors.inc_by(counters.decode_errors.saturating_sub(before.decode_errors));
        if let Some(seconds) = seconds(now.watermark) {
            series.watermark_timestamp_seconds.set(seconds);
        }
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

    /// State is held by subtasks and told as one.
    fn gauges(&self, now: &BTreeMap<TaskId, TaskStatistics>) {
        let mut state: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for counters in now.values().flat_map(|task| &task.operators) {
            let (keys, bytes) = state.entry(whole(&counters.operator).0).or_default();
            *keys += counters.state_keys;
            *bytes += counters.state_bytes;
        }
        for (operator, (keys, bytes)) in state {
            let series = self.metrics.operator(operator);
            series.state_keys.set(keys as i64);
            series.state_size_bytes.set(bytes as i64);
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

fn is_new_attempt(before: &TaskStatistics, now: &TaskStatistics) -> bool {
    let records = |task: &TaskStatistics| {
        let source = task.source.as_ref().map_or(0, |(_, counters)| counters.records);
        source + task.operators.iter().map(|operator| operator.records_in).sum::<u64>()
    };
    records(now) < records(before)
}

/// `None` before the first watermark and after the last.
fn seconds(watermark: Timestamp) -> Option<f64> {
    (watermark != Timestamp::MIN && watermark != Timestamp::MAX).then(|| watermark as f64 / 1e6)
}
