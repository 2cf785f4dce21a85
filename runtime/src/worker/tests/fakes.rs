//! A pipeline in miniature: numbers from splits, summed by key over an exchange, into a sink in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use checkpoint::commit::CommitPermit;
use checkpoint::ids::{Epoch, OperatorId, Subtask};
use checkpoint::manifest::Committable;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::connectors::*;
use crate::dataflow::graph::{ChainBuilder, Edge, Graph, Leaf, Partitioning, Stage, StageInput, StatefulOperator};
use crate::dataflow::key_groups;
use crate::element::{Batch, Timestamp, Watermark};
use crate::operators::{Chain, OperatorCounters, OperatorError, Output};
use crate::state::{OperatorRuns, Run};
use crate::worker::Plan;

pub(super) const MAX_PARALLELISM: u32 = 16;
pub(super) const KEYS: i64 = 1_000;

/// Faults that a test switches on.
#[derive(Default)]
pub(super) struct Faults {
    pub panic_in_chain: AtomicBool,
    pub fail_pre_commit: AtomicBool,
    pub no_room: AtomicBool,
    pub no_slot: AtomicBool,
}

pub(super) fn schema() -> SchemaRef {
    let column = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![column("key"), column("value")]))
}

fn rows_of(pairs: impl Iterator<Item = (i64, i64)>) -> RecordBatch {
    let (keys, values): (Vec<i64>, Vec<i64>) = pairs.unzip();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(keys)), Arc::new(Int64Array::from(values))];
    RecordBatch::try_new(schema(), columns).expect("two columns of one length")
}

pub(super) fn pairs_of(rows: &RecordBatch) -> Vec<(i64, i64)> {
    let (keys, values) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
    keys.values().iter().copied().zip(values.values().iter().copied()).collect()
}

/// Split s of n holds the numbers below `end` that are s modulo n.
pub(super) struct Numbers {
    pub splits: u32,
    pub end: i64,
    pub batch: i64,
    /// Rows that all readers have given, to be waited for.
    pub given: watch::Sender<u64>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Position {
    next: i64,
    step: i64,
    end: i64,
}

impl SourceConnector for Numbers {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn resolve(&self, _: u32) -> Result<Vec<Split>, SourceError> {
        let split = |index: u32| Split {
            id: format!("{index:03}"),
            position: serde_json::to_string(&Position {
                next: i64::from(index),
                step: i64::from(self.splits),
                end: self.end,
            })
            .expect("numbers"),
            watermark: Watermark::START,
            finished: false,
        };
        Ok((0..self.splits).map(split).collect())
    }

    fn open(&self, Assignment { splits, .. }: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let positions = splits.iter().map(|split| serde_json::from_str(&split.position).expect("ours")).collect();
        let given = self.given.clone();
        Ok(Box::new(NumberReader {
            splits,
            positions,
            batch: self.batch,
            given,
            rested: false,
            ended: false,
            records: 0,
        }))
    }
}

struct NumberReader {
    splits: Vec<Split>,
    positions: Vec<Position>,
    batch: i64,
    given: watch::Sender<u64>,
    rested: bool,
    ended: bool,
    records: u64,
}

impl SourceReader for NumberReader {
    fn next(&mut self, _: Duration) -> Result<Next, SourceError> {
        // A pause after each batch gives a test time to say something in between.
        if !std::mem::replace(&mut self.rested, true) {
            return Ok(Next::Wait(Duration::from_millis(1)));
        }
        self.rested = false;
        let Some(position) =
            self.positions.iter_mut().filter(|position| position.next < position.end).min_by_key(|p| p.next)
        else {
            self.rested = true;
            if std::mem::replace(&mut self.ended, true) {
                return Ok(Next::Ended);
            }
            return Ok(Next::Watermark(Watermark::END));
        };
        let (first, step) = (position.next, position.step);
        let numbers = (0..self.batch).map(|i| first + i * step).take_while(|n| *n < position.end);
        let rows = rows_of(numbers.map(|n| (n % KEYS, n)));
        position.next += rows.num_rows() as i64 * step;
        self.records += rows.num_rows() as u64;
        self.given.send_modify(|given| *given += rows.num_rows() as u64);
        Ok(Next::Batch(rows.into()))
    }

    fn snapshot(&self) -> Vec<Split> {
        let now = self.splits.iter().zip(&self.positions).map(|(split, position)| Split {
            position: serde_json::to_string(position).expect("numbers"),
            finished: position.next >= position.end,
            ..split.clone()
        });
        now.collect()
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters { records: self.records, bytes: 0, decode_errors: 0 }
    }
}

/// Passes everything to leaf 0.
struct Pass {
    faults: Arc<Faults>,
}

impl ChainBuilder for Pass {
    fn build(&self, _: Subtask, _: u32) -> Result<Box<dyn Chain>, OperatorError> {
        Ok(Box::new(Pass { faults: Arc::clone(&self.faults) }))
    }

    fn stateful_operators(&self) -> Vec<StatefulOperator> {
        Vec::new()
    }

    fn describe(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Chain for Pass {
    fn process(&mut self, batch: Batch, out: &mut dyn Output) -> Result<(), OperatorError> {
        assert!(!self.faults.panic_in_chain.load(Ordering::Relaxed), "asked to");
        out.emit(0, batch)
    }
    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError> {
        out.watermark(0, watermark)
    }
    fn flush(&mut self, _: &mut dyn Output) -> Result<(), OperatorError> {
        Ok(())
    }
    fn snapshot(&mut self) -> Result<Vec<OperatorRuns>, OperatorError> {
        Ok(Vec::new())
    }
    fn restore(&mut self, _: &OperatorId, _: Vec<Run>) -> Result<(), OperatorError> {
        Ok(())
    }
    fn counters(&self) -> Vec<OperatorCounters> {
        Vec::new()
    }
}

/// Sums by key; live sums are sealed as a run at each barrier; all is emitted when the input ends.
struct SumBuilder;

struct Sum {
    subtask: u32,
    parallelism: u32,
    live: BTreeMap<i64, i64>,
    runs: Vec<Run>,
    emitted: bool,
}

fn sum_operator() -> OperatorId {
    OperatorId("sum/window".into())
}

impl ChainBuilder for SumBuilder {
    fn build(&self, subtask: Subtask, parallelism: u32) -> Result<Box<dyn Chain>, OperatorError> {
        Ok(Box::new(Sum { subtask: subtask.0, parallelism, live: BTreeMap::new(), runs: Vec::new(), emitted: false }))
    }

    fn stateful_operators(&self) -> Vec<StatefulOperator> {
        vec![StatefulOperator { id: sum_operator(), fingerprint: "sum".into() }]
    }

    fn describe(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Chain for Sum {
    fn process(&mut self, batch: Batch, _: &mut dyn Output) -> Result<(), OperatorError> {
        for (key, value) in pairs_of(&batch.rows) {
            *self.live.entry(key).or_default() += value;
        }
        Ok(())
    }

    fn advance(&mut self, watermark: Timestamp, out: &mut dyn Output) -> Result<(), OperatorError> {
        if watermark == Timestamp::MAX && !std::mem::replace(&mut self.emitted, true) {
            let mut sums = std::mem::take(&mut self.live);
            for run in std::mem::take(&mut self.runs) {
                for (key, value) in run.rows.iter().flat_map(pairs_of) {
                    *sums.entry(key).or_default() += value;
                }
            }
            out.emit(0, Batch { rows: rows_of(sums.into_iter()), late_before: 0, origin: None })?;
        }
        out.watermark(0, watermark)
    }

    fn flush(&mut self, _: &mut dyn Output) -> Result<(), OperatorError> {
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<OperatorRuns>, OperatorError> {
        if !self.live.is_empty() {
            let rows = rows_of(std::mem::take(&mut self.live).into_iter());
            self.runs.push(Run { rows: Arc::new(vec![rows]), part: Arc::new(OnceLock::new()) });
        }
        Ok(vec![OperatorRuns { operator: sum_operator(), runs: self.runs.clone() }])
    }

    fn restore(&mut self, operator: &OperatorId, runs: Vec<Run>) -> Result<(), OperatorError> {
        assert_eq!(*operator, sum_operator());
        for run in runs {
            let ours = |rows: &RecordBatch| -> Vec<(i64, i64)> {
                let owners = key_groups::assign(rows, &[0], self.parallelism, MAX_PARALLELISM).expect("a key");
                pairs_of(rows)
                    .into_iter()
                    .zip(owners)
                    .filter(|(_, owner)| *owner == self.subtask)
                    .map(|(p, _)| p)
                    .collect()
            };
            let rows = rows_of(run.rows.iter().flat_map(ours));
            self.runs.push(Run { rows: Arc::new(vec![rows]), part: run.part });
        }
        Ok(())
    }

    fn counters(&self) -> Vec<OperatorCounters> {
        Vec::new()
    }
}

/// What the sink was given, by committable handle.
#[derive(Default)]
pub(super) struct Target {
    /// Rows that the source has given.
    pub given: watch::Sender<u64>,
    pub prepared: Mutex<BTreeMap<String, Vec<(i64, i64)>>>,
    pub faults: Arc<Faults>,
    /// How often the writer had no room.
    pub refused: AtomicU64,
    /// What the newest writer is told.
    pub committed: Mutex<Option<watch::Receiver<Epoch>>>,
}

pub(super) struct MemorySink(pub Arc<Target>);

struct MemoryWriter {
    target: Arc<Target>,
    identity: WriterIdentity,
    open: Vec<(i64, i64)>,
}

impl SinkConnector for MemorySink {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
    fn open_writer(
        &self,
        WriterContext { identity, committed, .. }: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, SinkError> {
        *self.0.committed.lock().expect("no panic inside") = Some(committed);
        Ok(Box::new(MemoryWriter { target: Arc::clone(&self.0), identity, open: Vec::new() }))
    }
    fn committer(&self) -> Box<dyn Committer> {
        Box::new(NoCommitter)
    }
    fn kind(&self) -> &'static str {
        "memory"
    }
    fn target(&self) -> String {
        "memory".into()
    }
}

impl SinkWriter for MemoryWriter {
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.open.extend(pairs_of(&batch.rows));
        Ok(())
    }

    fn room(&mut self) -> Result<Option<Duration>, SinkError> {
        if !self.target.faults.no_room.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.target.refused.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Duration::from_millis(10)))
    }

    fn declines(&mut self) -> Option<String> {
        self.target.faults.no_slot.load(Ordering::Relaxed).then(|| "no free slot".to_owned())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<PreCommit, SinkError> {
        let rows = std::mem::take(&mut self.open);
        let (target, identity) = (Arc::clone(&self.target), self.identity.clone());
        Ok(Box::new(move || {
            if target.faults.fail_pre_commit.load(Ordering::Relaxed) {
                let (sink, path) = (identity.sink, "memory".to_owned());
                return Err(SinkError::Io { sink, path, message: "no space".into(), retry: Retry::Backoff });
            }
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let handle = format!("{}-{}-{}", identity.attempt, epoch, identity.subtask);
            let count = rows.len() as u64;
            target.prepared.lock().expect("no panic inside").insert(handle.clone(), rows);
            Ok(vec![Committable {
                sink: identity.sink,
                writer: identity.subtask,
                attempt: identity.attempt,
                epoch,
                rows: count,
                expiry: None,
                handle,
            }])
        }))
    }

    fn counters(&self) -> SinkCounters {
        SinkCounters::default()
    }
}

struct NoCommitter;

impl Committer for NoCommitter {
    fn classify<'a>(&'a self, _: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        Box::pin(async { Ok(Classification::Prepared) })
    }
    fn commit<'a>(
        &'a self,
        _: &'a CommitPermit,
        _: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        Box::pin(async { Ok(CommitOutcome::Committed) })
    }
    fn abort<'a>(&'a self, _: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
    fn abort_leftovers<'a>(&'a self, _: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async { Ok(0) })
    }
}

/// `numbers` -> by key -> `sum` -> sink `out`.
pub(super) fn sum_plan(source: Numbers, target: &Arc<Target>) -> Plan {
    let faults = Arc::clone(&target.faults);
    let stages = vec![
        Stage {
            name: "numbers".into(),
            input: StageInput::Source { name: "numbers".into(), columns: vec!["key".into(), "value".into()] },
            leaves: vec![Leaf::Edge(0)],
            chain: Arc::new(Pass { faults }),
        },
        Stage {
            name: "sum".into(),
            input: StageInput::Edges(vec![0]),
            leaves: vec![Leaf::Sink { name: "out".into(), schema: schema() }],
            chain: Arc::new(SumBuilder),
        },
    ];
    let edges = vec![Edge { from: 0, to: 1, schema: schema(), partitioning: Partitioning::KeyGroups(vec![0]) }];
    plan(stages, edges, source, target)
}

/// `numbers` -> sink `out`.
pub(super) fn pass_plan(source: Numbers, target: &Arc<Target>) -> Plan {
    let faults = Arc::clone(&target.faults);
    let stages = vec![Stage {
        name: "numbers".into(),
        input: StageInput::Source { name: "numbers".into(), columns: vec!["key".into(), "value".into()] },
        leaves: vec![Leaf::Sink { name: "out".into(), schema: schema() }],
        chain: Arc::new(Pass { faults }),
    }];
    plan(stages, Vec::new(), source, target)
}

fn plan(stages: Vec<Stage>, edges: Vec<Edge>, mut source: Numbers, target: &Arc<Target>) -> Plan {
    source.given = target.given.clone();
    let source: Arc<dyn SourceConnector> = Arc::new(source);
    let sink: Arc<dyn SinkConnector> = Arc::new(MemorySink(Arc::clone(target)));
    Plan {
        graph: Arc::new(Graph { stages, edges }),
        sources: BTreeMap::from([("numbers".into(), source)]),
        sinks: BTreeMap::from([("out".into(), sink)]),
        max_parallelism: MAX_PARALLELISM,
    }
}
