//! A whole run in virtual time, over a source that fails when it is told to.

use std::collections::VecDeque;
use std::sync::Mutex;

use api::pipeline::Pipeline;
use serde_json::{Value, json};

use super::*;
use crate::clock::{RuntimeClock, SeededRandom};
use crate::connectors::{Assignment, Next, Retry, SourceConnector, SourceCounters, SourceError, SourceReader, Split};
use crate::store::MemoryStore;
use crate::worker::Plan;

mod blocked;
mod identity;

/// An endless generator of ten rows a second, with this restart policy; checkpoints are far apart.
fn pipeline(restart_policy: &Value) -> Pipeline {
    let column = json!({"name": "id", "type": "BIGINT", "generate": {"sequence": {"start": 0}}});
    serde_json::from_value(json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "test"},
        "spec": {
            "sources": [{"name": "ticks", "generator": {"rowsPerSecond": 10}, "columns": [column]}],
            "sinks": [{"name": "out", "input": "ticks", "discard": {}}],
            "checkpoint": {"interval": "1h", "storage": {"local": {"path": "/nowhere"}}},
            "restartPolicy": restart_policy,
        },
    }))
    .unwrap()
}

/// The generator, but each attempt's reader fails after it was read for so many seconds; the last time holds for all later ones.
struct Failing {
    source: Arc<dyn SourceConnector>,
    runs: Mutex<VecDeque<u64>>,
    retry: Retry,
}

impl SourceConnector for Failing {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.source.schema()
    }

    fn resolve(&self, parallelism: u32) -> Result<Vec<Split>, SourceError> {
        self.source.resolve(parallelism)
    }

    fn open(&self, assignment: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let mut runs = self.runs.lock().unwrap();
        let run = if runs.len() > 1 { runs.pop_front().unwrap() } else { runs[0] };
        let run = Duration::from_secs(run);
        Ok(Box::new(FailingReader { reader: self.source.open(assignment)?, run, began: None, retry: self.retry }))
    }
}

struct FailingReader {
    reader: Box<dyn SourceReader>,
    run: Duration,
    began: Option<Duration>,
    retry: Retry,
}

impl SourceReader for FailingReader {
    fn next(&mut self, now: Duration) -> Result<Next, SourceError> {
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) >= self.run {
            let (source_name, path, message) = ("ticks".into(), "here".into(), "unplugged".into());
            return Err(SourceError::Io { source_name, path, message, retry: self.retry });
        }
        self.reader.next(now)
    }

    fn snapshot(&self) -> Vec<Split> {
        self.reader.snapshot()
    }

    fn counters(&self) -> SourceCounters {
        self.reader.counters()
    }
}

/// Events with the moment they came.
struct Witness {
    clock: RuntimeClock,
    events: Mutex<Vec<(Duration, RunEvent)>>,
}

impl Observer for Witness {
    fn event(&self, event: RunEvent) {
        self.events.lock().unwrap().push((self.clock.monotonic(), event));
    }
}

impl Witness {
    /// Pauses that were announced, each checked against the time until the next claim.
    fn pauses(&self) -> Vec<u64> {
        let events = self.events.lock().unwrap();
        let mut pauses = Vec::new();
        for (index, (failed, event)) in events.iter().enumerate() {
            let RunEvent::AttemptFailed { retry_in_ms, .. } = event else { continue };
            pauses.push(*retry_in_ms);
            let claim = events[index..].iter().find(|(_, event)| matches!(event, RunEvent::Claimed { .. }));
            let (claimed, _) = claim.expect("another attempt follows");
            assert_eq!(claimed.saturating_sub(*failed).as_millis() as u64, *retry_in_ms, "the pause was kept");
        }
        pauses
    }
}

const NOW: u64 = 0;
const NEVER: u64 = u64::MAX;

/// Runs with attempts that fail after so many seconds.
async fn run_failing(
    policy: &Value,
    runs: &[u64],
    retry: Retry,
    stop: StopSignal,
) -> (Result<Outcome, RunError>, Arc<Witness>) {
    let mut assembled = assemble(&pipeline(policy), &Secrets::new("/nowhere")).unwrap();
    let runs = Mutex::new(runs.iter().copied().collect());
    let source = Arc::clone(&assembled.setup.sources["ticks"]);
    let failing: Arc<dyn SourceConnector> = Arc::new(Failing { source, runs, retry });
    assembled.setup.sources.insert("ticks".into(), Arc::clone(&failing));
    let mut plan: Plan = Arc::into_inner(assembled.plan).unwrap();
    plan.sources.insert("ticks".into(), failing);
    assembled.plan = Arc::new(plan);
    let clock = RuntimeClock::start();
    let world = World {
        store: Arc::new(MemoryStore::new(Arc::new(clock))),
        clock: Arc::new(clock),
        random: Arc::new(SeededRandom::new(7)),
        workers: Arc::new(InProcess),
    };
    let witness = Arc::new(Witness { clock, events: Mutex::default() });
    let options = RunOptions { grace: Duration::from_secs(5), ..RunOptions::default() };
    let ended = run_in(world, assembled, options, Arc::clone(&witness) as Arc<dyn Observer>, stop).await;
    (ended, witness)
}

#[track_caller]
fn assert_exhausted(ended: Result<Outcome, RunError>, why: &str) {
    match ended {
        Err(RunError::Failed { reason: FailureReason::RestartsExhausted, message }) => {
            assert!(message.contains("unplugged") && message.contains(why), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_their_maximum_and_end_with_max_restarts() {
    let policy = json!({"exponentialDelay": {
        "initial": "1s", "max": "3s", "multiplier": "2", "jitter": "0", "maxRestarts": 4,
    }});
    let (ended, witness) = run_failing(&policy, &[NOW], Retry::Backoff, StopSignal::never()).await;
    assert_exhausted(ended, "maxRestarts: 4");
    assert_eq!(witness.pauses(), [1_000, 2_000, 3_000, 3_000]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ran_long_enough_starts_the_count_anew() {
    let policy = json!({"exponentialDelay": {
        "initial": "1s", "max": "1m", "multiplier": "2", "jitter": "0", "resetAfter": "10s", "maxRestarts": 2,
    }});
    let runs = [NOW, NOW, 11, NOW, 9];
    let (ended, witness) = run_failing(&policy, &runs, Retry::Backoff, StopSignal::never()).await;
    assert_exhausted(ended, "maxRestarts: 2");
    assert_eq!(witness.pauses(), [1_000, 2_000, 1_000, 2_000], "nine seconds are not enough, eleven are");
}

#[tokio::test(start_paused = true)]
async fn a_failure_rate_bears_what_its_span_allows() {
    let policy = json!({"failureRate": {"failures": 2, "per": "10s", "delay": "500ms"}});
    let runs = [NOW, NOW, 15, NOW, NOW];
    let (ended, witness) = run_failing(&policy, &runs, Retry::Backoff, StopSignal::never()).await;
    assert_exhausted(ended, "more than 2 failures within 10s");
    assert_eq!(witness.pauses(), [500; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_delay_ends_after_its_attempts_and_never_at_once() {
    let fixed = json!({"fixedDelay": {"attempts": 3, "delay": "2s"}});
    let (ended, witness) = run_failing(&fixed, &[1], Retry::Backoff, StopSignal::never()).await;
    assert_exhausted(ended, "fixedDelay.attempts: 3");
    assert_eq!(witness.pauses(), [2_000; 3]);
    let (ended, witness) = run_failing(&json!({"never": {}}), &[NOW], Retry::Backoff, StopSignal::never()).await;
    assert_exhausted(ended, "never");
    assert_eq!(witness.pauses(), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_heal_is_not_restarted() {
    let (ended, witness) = run_failing(&json!({}), &[3], Retry::Never, StopSignal::never()).await;
    assert!(matches!(ended, Err(RunError::Failed { reason: FailureReason::CannotHeal, .. })), "{ended:?}");
    assert_eq!(witness.pauses(), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_next_attempt() {
    let (stop, stopped) = stop_channel();
    let policy = json!({"fixedDelay": {"attempts": 9, "delay": "1h"}});
    let running = run_failing(&policy, &[NOW], Retry::Backoff, stopped);
    let stopping = async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        stop.stop();
    };
    let ((ended, witness), ()) = futures::join!(running, stopping);
    assert!(matches!(ended, Ok(Outcome::StoppedUndecided { .. })), "{ended:?}");
    assert!(witness.clock.monotonic() < Duration::from_secs(61), "the pause was an hour");
}

#[tokio::test(start_paused = true)]
async fn rows_are_told_every_second_without_a_checkpoint_and_go_on_after_a_restart() {
    let (stop, stopped) = stop_channel();
    let policy = json!({"fixedDelay": {"attempts": 9, "delay": "1s"}});
    let runs = [5, NEVER];
    let running = run_failing(&policy, &runs, Retry::Backoff, stopped);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        stop.stop();
    };
    let ((ended, witness), ()) = futures::join!(running, stopping);
    assert!(matches!(ended, Ok(Outcome::Stopped { .. })), "{ended:?}");
    let events = witness.events.lock().unwrap();
    let told = |number: u64| {
        let of_attempt = events.iter().filter_map(move |(_, event)| match event {
            RunEvent::Progress { attempt, rows_in, rows_written, rows_in_per_second } if attempt.0 == number => {
                Some((*rows_in, *rows_written, *rows_in_per_second))
            }
            _ => None,
        });
        of_attempt.collect::<Vec<_>>()
    };
    for (attempt, seconds) in [(1, 4), (2, 5)] {
        let told = told(attempt);
        assert!(told.len() >= seconds, "attempt {attempt}: {told:?}");
        for (index, (rows_in, rows_written, rate)) in told.iter().enumerate() {
            // Ten rows a second, the first at once; an attempt begins somewhere within a second, and what the worker has
            // said is up to a quarter of a second old.
            let second = index as u64;
            let (least, most) = ((second * 10).saturating_sub(13), second * 10 + 21);
            assert!((least..=most).contains(rows_in), "attempt {attempt}: {told:?}");
            assert_eq!(rows_in, rows_written, "nothing is held back");
            assert!(index == 0 || (7..=13).contains(rate), "attempt {attempt}: {told:?}");
        }
    }
}
