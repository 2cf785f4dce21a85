//! What is run: a source of ticks, three windowed queries, and the expected rows of each by straight loops that share
//! nothing with the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::dataflow::graph::{Graph, StageInput};
use runtime::dataflow::{Definition, Query, SinkInput, SourceTable, plan};

use crate::mutants::Mutant;
use crate::source::{full_schema, generated};
use crate::world::Row;

pub(crate) const MAX_PARALLELISM: u32 = 12;
const SECOND: i64 = 1_000_000;
pub(crate) const OUT_OF_ORDERNESS: i64 = SECOND / 2;
/// By how much the rows behind a split's pause lie ahead of all others: no window has passed them meanwhile.
pub(crate) const PAUSED: i64 = 3_600 * SECOND;

/// A query over `ticks(ts, k, v)`.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) graph: Arc<Graph>,
    pub(crate) columns: Vec<String>,
    definition: Definition,
    expected: fn(&[(Tick, i64)]) -> Vec<Row>,
}

/// Who makes the ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// Out of order, some late, one split silent for a while.
    Ticks,
    /// The one that ships: in order, at a rate.
    Generator { rows_per_second: u64 },
}

/// How large the input of one seed is.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) input: Input,
    /// Rows of each split; they end at different times.
    pub(crate) rows: Vec<u64>,
    pub(crate) keys: u64,
    /// The split that falls silent, and its first row after that.
    pub(crate) pause: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) ts: i64,
    pub(crate) key: i64,
    pub(crate) value: i64,
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
            Self::new("tumble", tumble, |ticks| windows(ticks, SECOND, SECOND)),
            Self::new("hop", hop, |ticks| windows(ticks, SECOND, 3 * SECOND)),
            Self::new("session", session, |ticks| sessions(ticks, 7 * SECOND / 10)),
        ]
    }

    fn new(name: &'static str, sql: &str, expected: fn(&[(Tick, i64)]) -> Vec<Row>) -> Self {
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
        Self { name, graph: Arc::new(graph), columns: columns.expect("a source is read"), definition, expected }
    }

    /// The graph, with a planted mistake.
    pub(crate) fn graph(&self, mutant: Option<Mutant>) -> Arc<Graph> {
        let Some(mutant) = mutant else { return Arc::clone(&self.graph) };
        let mut graph = plan(&self.definition).expect("the scenario is supported");
        mutant.plant(&mut graph);
        Arc::new(graph)
    }

    /// Rows that each of [`SINKS`] must show at the end, sorted.
    pub(crate) fn expected(&self, shape: &Shape) -> [Vec<Row>; 2] {
        let ticks = with_watermarks(shape);
        let filtered = ticks.iter().map(|(tick, _)| tick).filter(|tick| tick.value % 3 == 0);
        let mut raw: Vec<Row> = filtered.map(|tick| vec![tick.key, tick.value]).collect();
        raw.sort_unstable();
        let mut windowed = (self.expected)(&ticks);
        windowed.sort_unstable();
        [windowed, raw]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Row `index` of a split: event time goes on by 10 ms a row, jitters by half a second, and one in 40 is seconds late.
pub(crate) fn tick(shape: &Shape, split: u64, index: u64) -> Tick {
    let dice = mix(shape.seed ^ mix(split << 40 | index));
    let jitter = (dice % 600_000) as i64;
    let late = if dice >> 32 & 0x3f < 2 { 2 * SECOND + (dice >> 40 & 3) as i64 * SECOND } else { 0 };
    let ahead = if shape.pause.is_some_and(|(of, at)| of == split && index >= at) { PAUSED } else { 0 };
    Tick {
        ts: 1_767_225_600 * SECOND + index as i64 * 10_000 - jitter - late + ahead,
        key: (mix(dice) % shape.keys) as i64,
        value: (mix(dice ^ 1) % 1_000) as i64,
    }
}

fn ticks_of(shape: &Shape, split: usize) -> impl Iterator<Item = Tick> + '_ {
    (0..shape.rows[split]).map(move |index| tick(shape, split as u64, index))
}

/// Every tick with the watermark of its split just before it.
fn with_watermarks(shape: &Shape) -> Vec<(Tick, i64)> {
    if let Input::Generator { .. } = shape.input {
        // Each split is in order, so no row is late.
        return generated(shape).into_iter().map(|tick| (tick, i64::MIN)).collect();
    }
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

fn windows(ticks: &[(Tick, i64)], slide: i64, size: i64) -> Vec<Row> {
    let mut groups: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for (tick, watermark) in ticks.iter().copied() {
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

fn sessions(ticks: &[(Tick, i64)], gap: i64) -> Vec<Row> {
    let mut by_key: BTreeMap<i64, Vec<Tick>> = BTreeMap::new();
    for (tick, watermark) in ticks.iter().copied() {
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
