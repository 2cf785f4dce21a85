//! Sources of ticks: an own one, whose rows come out of order and late and whose splits fall silent, and the generator
//! that ships. The own one is needed because only an endless generator falls silent, and what has no end cannot be
//! compared with anything; and because a generator's splits are in order.

use std::sync::Arc;
use std::time::Duration;

use api::pipeline::{Column, ColumnType, Generate, GeneratorSource, Literal, Random, Sequence, Source};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use runtime::connectors::generator::Generator;
use runtime::connectors::{
    Assignment, EventTime, Next, SourceConnector, SourceCounters, SourceError, SourceReader, Split,
};
use runtime::element::{Batch, Timestamp, Watermark};

use crate::kinds::Seen;
use crate::scenario::{Input, OUT_OF_ORDERNESS, Shape, Tick, tick};
use crate::world::World;

const BATCH: usize = 16;
/// How long a split is silent, and after how long nobody waits for it.
const SILENCE: Duration = Duration::from_millis(1_200);
const IDLE_TIMEOUT: Duration = Duration::from_millis(300);

/// The source of a seed, yielding `columns`.
pub(crate) fn source(shape: &Shape, columns: &[String], world: &Arc<World>) -> Arc<dyn SourceConnector> {
    match shape.input {
        Input::Ticks => Arc::new(Ticks { shape: shape.clone(), columns: columns.to_vec(), world: Arc::clone(world) }),
        Input::Generator { rows_per_second } => Arc::new(generator(shape, columns, Some(rows_per_second))),
    }
}

fn generator(shape: &Shape, columns: &[String], rows_per_second: Option<u64>) -> Generator {
    let nothing = Generate { sequence: None, random: None, choice: None };
    let random = |max: u64| {
        let random = Random { min: Literal::Integer(0), max: Literal::Integer(max as i64 - 1) };
        Generate { random: Some(random), ..nothing.clone() }
    };
    let (start, step) = (Literal::Text("2026-01-01T00:00:00Z".into()), Some(Literal::Text("10ms".into())));
    let time = Generate { sequence: Some(Sequence { start, step }), ..nothing.clone() };
    let column =
        |name: &str, column_type, generate| Column { name: name.into(), column_type, generate: Some(generate) };
    let made = GeneratorSource { rows: Some(shape.rows.iter().sum()), rows_per_second, seed: shape.seed };
    let spec = Source {
        name: "ticks".into(),
        files: None,
        kafka: None,
        generator: Some(made.clone()),
        format: None,
        columns: vec![
            column("ts", ColumnType::Timestamp, time),
            column("k", ColumnType::BigInt, random(shape.keys)),
            column("v", ColumnType::BigInt, random(1_000)),
        ],
        metadata: Vec::new(),
        event_time: None,
    };
    let event_time =
        EventTime { column: "ts".into(), max_out_of_orderness: Duration::ZERO, idle_timeout: Some(IDLE_TIMEOUT) };
    Generator::new(&spec, &made, columns, Some(&event_time)).expect("the columns are right")
}

/// All rows of the generator, read once from its beginning.
pub(crate) fn generated(shape: &Shape) -> Vec<Tick> {
    let columns = ["ts", "k", "v"].map(str::to_owned);
    let generator = generator(shape, &columns, None);
    let mut reader = generator.open(generator.resolve(1).expect("one split").into()).expect("at its beginning");
    let mut ticks = Vec::new();
    loop {
        match reader.next(Duration::ZERO).expect("a generator does not fail") {
            Next::Batch(batch) => {
                let times = batch.rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
                let [keys, values] = [1, 2].map(|at| batch.rows.column(at).as_primitive::<Int64Type>().values());
                let rows = times.iter().zip(keys).zip(values);
                ticks.extend(rows.map(|((ts, key), value)| Tick { ts: *ts, key: *key, value: *value }));
            }
            Next::Watermark(_) | Next::Wait(_) => {}
            Next::Ended => return ticks,
        }
    }
}

/// Every column as a number; times in microseconds.
pub(crate) fn numbers(batch: &RecordBatch) -> Vec<Vec<i64>> {
    let columns: Vec<Vec<i64>> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
            DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
            other => unreachable!("a column of type {other} in the simulation"),
        })
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

pub(crate) fn full_schema() -> SchemaRef {
    let column = |name: &str, kind: DataType| Field::new(name, kind, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![column("ts", time), column("k", DataType::Int64), column("v", DataType::Int64)]))
}

/// The source as a connector: one split for each list of rows.
struct Ticks {
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
            silent_since: None,
            is_awake: false,
        });
        Ok(splits.map(|split| split.stored()).collect())
    }

    fn open(&self, Assignment { splits, .. }: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let splits = splits.into_iter().map(|split| TickSplit {
            position: serde_json::from_str(&split.position).expect("ours"),
            id: split.id,
            finished: split.finished,
            silent_since: None,
            is_awake: false,
        });
        Ok(Box::new(TickReader {
            shape: self.shape.clone(),
            columns: self.columns.clone(),
            schema: self.schema(),
            world: Arc::clone(&self.world),
            splits: splits.collect(),
            turn: 0,
            told: Watermark::START,
            highest: Timestamp::MIN,
            rested: true,
            records: 0,
        }))
    }
}

struct TickSplit {
    id: String,
    position: Position,
    finished: bool,
    /// Since when it has nothing to give, in this reader.
    silent_since: Option<Duration>,
    is_awake: bool,
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
    told: Watermark,
    highest: Timestamp,
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
        let stop = self.shape.pause.filter(|(of, at)| *of == split.position.split && *at > split.position.next);
        let end_of_batch = stop.map_or(end, |(_, at)| at.min(end));
        while split.position.next < end_of_batch && rows.len() < BATCH {
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
        Batch { rows: self.batch(&rows), late_before, origin: None }
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

impl TickSplit {
    /// Whether it has rows now: not for a while, once it has come to the row where the seed lets it pause.
    fn is_ready(&mut self, shape: &Shape, now: Duration) -> bool {
        if self.finished {
            return false;
        }
        let pauses = shape.pause == Some((self.position.split, self.position.next));
        if !pauses || self.is_awake {
            return true;
        }
        let since = *self.silent_since.get_or_insert(now);
        self.is_awake = now.saturating_sub(since) >= SILENCE;
        if self.is_awake {
            self.silent_since = None;
        }
        self.is_awake
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_sub(since) >= IDLE_TIMEOUT)
    }
}

impl TickReader {
    /// What is to be said of event time, if that has changed.
    fn watermark(&mut self, now: Duration) -> Option<Watermark> {
        let mut unfinished = self.splits.iter().filter(|split| !split.finished).peekable();
        let watermark = if unfinished.peek().is_none() {
            Watermark::END
        } else {
            let awake = unfinished.filter(|split| !split.is_idle(now)).map(TickSplit::watermark);
            awake.min().map_or(Watermark::Idle, |lowest| Watermark::At(lowest.max(self.highest)))
        };
        if watermark == self.told {
            return None;
        }
        if let Watermark::At(at) = watermark {
            self.highest = at;
        }
        if watermark == Watermark::Idle {
            self.world.see(Seen::SourceIdle);
        }
        self.told = watermark;
        Some(watermark)
    }
}

impl SourceReader for TickReader {
    fn next(&mut self, now: Duration) -> Result<Next, SourceError> {
        if let Some(watermark) = self.watermark(now) {
            return Ok(Next::Watermark(watermark));
        }
        if self.splits.iter().all(|split| split.finished) {
            return Ok(Next::Ended);
        }
        if !std::mem::replace(&mut self.rested, true) {
            return Ok(Next::Wait(Duration::from_millis(10 + self.world.below(30))));
        }
        self.rested = false;
        // Splits take turns, so that their event times stay together until the shorter ones end.
        let count = self.splits.len();
        let (shape, splits) = (&self.shape, &mut self.splits);
        let index = (self.turn..self.turn + count).map(|at| at % count).find(|at| splits[*at].is_ready(shape, now));
        self.turn = index.map_or(0, |at| at + 1);
        if splits.iter().any(|split| split.is_idle(now)) && index.is_some() {
            self.world.see(Seen::SplitIdle);
        }
        Ok(index.map_or(Next::Wait(Duration::from_millis(20)), |at| Next::Batch(self.read(at))))
    }

    fn snapshot(&self) -> Vec<Split> {
        self.splits.iter().map(TickSplit::stored).collect()
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters { records: self.records, bytes: 0, decode_errors: 0 }
    }
}
