//! What is run: a source of ticks, out of order and partly late, three windowed queries, and the expected rows of
//! each by straight loops that share nothing with the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use runtime::connectors::{Next, Retry, SourceConnector, SourceCounters, SourceError, SourceReader, Split};
use runtime::dataflow::graph::{Graph, StageInput};
use runtime::dataflow::{Definition, Query, SinkInput, SourceTable, plan};
use runtime::element::{Batch, Timestamp, Watermark};

use crate::world::{Fault, Row, World};

pub(crate) const MAX_PARALLELISM: u32 = 12;
const SECOND: i64 = 1_000_000;
const OUT_OF_ORDERNESS: i64 = SECOND / 2;
const BATCH: usize = 16;

/// A query over `ticks(ts, k, v)`.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) graph: Arc<Graph>,
    columns: Vec<String>,
    expected: fn(&Shape) -> Vec<Row>,
}

/// How large the input of one seed is.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    /// Rows of each split; they end at different times.
    pub(crate) rows: Vec<u64>,
    pub(crate) keys: u64,
}

#[derive(Clone, Copy, Debug)]
struct Tick {
    ts: i64,
    key: i64,
    value: i64,
}

/// Every scenario has this sink behind its query, and this one behind the filtered source.
pub(crate) const SINKS: [&str; 2] = ["out", "raw"];

impl Scenario {
    pub(crate) fn all() -> Vec<Self> {
        let tumble = "SELECT window_start, k, COUNT(*) AS n, SUM(v) AS total \
             FROM TUMBLE(ticks, ts, INTERVAL '1 second') GROUP BY window_start, window_end, k";
        let hop = "SELECT window_start, k, COUNT(*) AS n, SUM(v) AS total \
             FROM HOP(ticks, ts, INTERVAL '1 second', INTERVAL '3 seconds') GROUP BY window_start, window_end, k";
        let session = "SELECT window_start, window_end, k, COUNT(*) AS n, SUM(v) AS total \
             FROM SESSION(ticks, ts, INTERVAL '700 milliseconds') GROUP BY window_start, window_end, k";
        vec![
            Self::new("tumble", tumble, |shape| windows(shape, SECOND, SECOND)),
            Self::new("hop", hop, |shape| windows(shape, SECOND, 3 * SECOND)),
            Self::new("session", session, |shape| sessions(shape, 7 * SECOND / 10)),
        ]
    }

    fn new(name: &'static str, sql: &str, expected: fn(&Shape) -> Vec<Row>) -> Self {
        let query = |name: &str, sql: &str| Query { name: name.into(), sql: sql.into() };
        let sink = |name: &str, input: &str| SinkInput { name: name.into(), input: input.into() };
        let definition = Definition {
            max_parallelism: MAX_PARALLELISM,
            sources: vec![SourceTable { name: "ticks".into(), schema: full_schema(), event_time: Some("ts".into()) }],
            transforms: vec![query("windowed", sql), query("filtered", "SELECT k, v FROM ticks WHERE v % 3 = 0")],
            sinks: vec![sink(SINKS[0], "windowed"), sink(SINKS[1], "filtered")],
        };
        let graph = plan(&definition).expect("the scenario is supported");
        let columns = graph.stages.iter().find_map(|stage| match &stage.input {
            StageInput::Source { columns, .. } => Some(columns.clone()),
            StageInput::Edges(_) => None,
        });
        Self { name, graph: Arc::new(graph), columns: columns.expect("a source is read"), expected }
    }

    /// Rows that each of [`SINKS`] must show at the end, sorted.
    pub(crate) fn expected(&self, shape: &Shape) -> [Vec<Row>; 2] {
        let filtered = all_ticks(shape).into_iter().filter(|tick| tick.value % 3 == 0);
        let mut raw: Vec<Row> = filtered.map(|tick| vec![tick.key, tick.value]).collect();
        raw.sort_unstable();
        let mut windowed = (self.expected)(shape);
        windowed.sort_unstable();
        [windowed, raw]
    }

    pub(crate) fn source(&self, shape: &Shape, world: &Arc<World>) -> Ticks {
        Ticks { shape: shape.clone(), columns: self.columns.clone(), world: Arc::clone(world) }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Row `index` of a split: event time goes on by 10 ms a row, jitters by half a second, and one in 40 is seconds late.
fn tick(shape: &Shape, split: u64, index: u64) -> Tick {
    let dice = mix(shape.seed ^ mix(split << 40 | index));
    let jitter = (dice % 600_000) as i64;
    let late = if dice >> 32 & 0x3f < 2 { 2 * SECOND + (dice >> 40 & 3) as i64 * SECOND } else { 0 };
    Tick {
        ts: 1_767_225_600 * SECOND + index as i64 * 10_000 - jitter - late,
        key: (mix(dice) % shape.keys) as i64,
        value: (mix(dice ^ 1) % 1_000) as i64,
    }
}

fn ticks_of(shape: &Shape, split: usize) -> impl Iterator<Item = Tick> + '_ {
    (0..shape.rows[split]).map(move |index| tick(shape, split as u64, index))
}

fn all_ticks(shape: &Shape) -> Vec<Tick> {
    (0..shape.rows.len()).flat_map(|split| ticks_of(shape, split)).collect()
}

/// Every tick with the watermark of its split just before it.
fn with_watermarks(shape: &Shape) -> Vec<(Tick, i64)> {
    let mut all = Vec::new();
    for split in 0..shape.rows.len() {
        let mut highest = i64::MIN;
        for tick in ticks_of(shape, split) {
            all.push((tick, highest.saturating_sub(OUT_OF_ORDERNESS)));
            highest = highest.max(tick.ts);
        }
    }
    all
}

fn windows(shape: &Shape, slide: i64, size: i64) -> Vec<Row> {
    let mut groups: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for (tick, watermark) in with_watermarks(shape) {
        let mut start = tick.ts.div_euclid(slide) * slide;
        while start + size > tick.ts {
            if start + size > watermark {
                let group = groups.entry((start, tick.key)).or_default();
                *group = (group.0 + 1, group.1 + tick.value);
            }
            start -= slide;
        }
    }
    groups.into_iter().map(|((start, key), (count, total))| vec![start, key, count, total]).collect()
}

fn sessions(shape: &Shape, gap: i64) -> Vec<Row> {
    let mut by_key: BTreeMap<i64, Vec<Tick>> = BTreeMap::new();
    for (tick, watermark) in with_watermarks(shape) {
        if tick.ts >= watermark {
            by_key.entry(tick.key).or_default().push(tick);
        }
    }
    let mut rows = Vec::new();
    for (key, mut ticks) in by_key {
        ticks.sort_unstable_by_key(|tick| tick.ts);
        let mut open: Option<(i64, i64, i64, i64)> = None;
        for tick in ticks {
            open = Some(match open {
                Some((start, last, count, total)) if tick.ts - last < gap => {
                    (start, tick.ts, count + 1, total + tick.value)
                }
                before => {
                    rows.extend(before.map(|(start, last, count, total)| vec![start, last + gap, key, count, total]));
                    (tick.ts, tick.ts, 1, tick.value)
                }
            });
        }
        rows.extend(open.map(|(start, last, count, total)| vec![start, last + gap, key, count, total]));
    }
    rows
}

fn full_schema() -> SchemaRef {
    let column = |name: &str, kind: DataType| Field::new(name, kind, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![column("ts", time), column("k", DataType::Int64), column("v", DataType::Int64)]))
}

/// The source as a connector: one split for each list of rows.
pub(crate) struct Ticks {
    shape: Shape,
    columns: Vec<String>,
    world: Arc<World>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Position {
    split: u64,
    next: u64,
    highest: i64,
}

impl SourceConnector for Ticks {
    fn schema(&self) -> SchemaRef {
        let full = full_schema();
        let indices: Vec<usize> = self.columns.iter().map(|name| full.index_of(name).expect("a column")).collect();
        Arc::new(full.project(&indices).expect("columns of it"))
    }

    fn resolve(&self, _: u32) -> Result<Vec<Split>, SourceError> {
        let splits = (0..self.shape.rows.len() as u64).map(|split| TickSplit {
            id: format!("split-{split}"),
            position: Position { split, next: 0, highest: i64::MIN },
            finished: false,
        });
        Ok(splits.map(|split| split.stored()).collect())
    }

    fn open(&self, splits: Vec<Split>) -> Result<Box<dyn SourceReader>, SourceError> {
        let splits = splits.into_iter().map(|split| TickSplit {
            position: serde_json::from_str(&split.position).expect("ours"),
            id: split.id,
            finished: split.finished,
        });
        Ok(Box::new(TickReader {
            shape: self.shape.clone(),
            columns: self.columns.clone(),
            schema: self.schema(),
            world: Arc::clone(&self.world),
            splits: splits.collect(),
            turn: 0,
            told: Timestamp::MIN,
            rested: true,
            records: 0,
        }))
    }
}

struct TickSplit {
    id: String,
    position: Position,
    finished: bool,
}

impl TickSplit {
    fn watermark(&self) -> Timestamp {
        if self.finished { Timestamp::MAX } else { self.position.highest.saturating_sub(OUT_OF_ORDERNESS) }
    }

    fn stored(&self) -> Split {
        Split {
            id: self.id.clone(),
            position: serde_json::to_string(&self.position).expect("numbers"),
            watermark: Watermark::At(self.watermark()),
            finished: self.finished,
        }
    }
}

struct TickReader {
    shape: Shape,
    columns: Vec<String>,
    schema: SchemaRef,
    world: Arc<World>,
    splits: Vec<TickSplit>,
    turn: usize,
    told: Timestamp,
    rested: bool,
    records: u64,
}

impl TickReader {
    /// The next rows of one split, up to the first that lies below a watermark that has risen since they began.
    fn read(&mut self, index: usize) -> Batch {
        let split = &mut self.splits[index];
        let end = self.shape.rows[split.position.split as usize];
        let late_before = split.watermark();
        let mut rows = Vec::new();
        while split.position.next < end && rows.len() < BATCH {
            let row = tick(&self.shape, split.position.split, split.position.next);
            let watermark = split.watermark();
            if row.ts < watermark && watermark > late_before {
                break;
            }
            rows.push(row);
            split.position.next += 1;
            split.position.highest = split.position.highest.max(row.ts);
        }
        split.finished = split.position.next >= end;
        self.records += rows.len() as u64;
        Batch { rows: self.batch(&rows), late_before }
    }

    fn batch(&self, ticks: &[Tick]) -> RecordBatch {
        let column = |name: &String| -> ArrayRef {
            match name.as_str() {
                "ts" => Arc::new(TimestampMicrosecondArray::from_iter_values(ticks.iter().map(|tick| tick.ts))),
                "k" => Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.key))),
                _ => Arc::new(Int64Array::from_iter_values(ticks.iter().map(|tick| tick.value))),
            }
        };
        let columns = self.columns.iter().map(column).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("columns of one length")
    }
}

impl SourceReader for TickReader {
    fn next(&mut self, _: Duration) -> Result<Next, SourceError> {
        let watermark = self.splits.iter().map(TickSplit::watermark).min().unwrap_or(Timestamp::MAX);
        if watermark > self.told {
            self.told = watermark;
            return Ok(Next::Watermark(Watermark::At(watermark)));
        }
        if self.splits.iter().all(|split| split.finished) {
            return Ok(Next::Ended);
        }
        if !std::mem::replace(&mut self.rested, true) {
            return Ok(Next::Wait(Duration::from_millis(10 + self.world.below(30))));
        }
        self.rested = false;
        if self.world.strikes(Fault::SourceFailure) {
            let (source_name, path) = ("ticks".to_owned(), "memory".to_owned());
            return Err(SourceError::Io { source_name, path, message: "unplugged".into(), retry: Retry::Backoff });
        }
        // Splits take turns, so that their event times stay together until the shorter ones end.
        let count = self.splits.len();
        let index = (self.turn..self.turn + count).map(|at| at % count).find(|at| !self.splits[*at].finished);
        self.turn = index.map_or(0, |at| at + 1);
        Ok(index.map_or(Next::Ended, |at| Next::Batch(self.read(at))))
    }

    fn snapshot(&self) -> Vec<Split> {
        self.splits.iter().map(TickSplit::stored).collect()
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters { records: self.records, bytes: 0, decode_errors: 0 }
    }
}
