//! The runs of one operator: which are shared with earlier checkpoints, which are due to be merged, and how a stored
//! one is taken apart again by key group.
//!
//! The first run of every snapshot is a tiny one that holds the operator's watermark: older runs may still hold rows
//! of windows that have fired since, and only the watermark of *their* snapshot tells which.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::Run;
use crate::dataflow::key_groups::{self, Place};
use crate::element::Timestamp;

/// Runs of an operator beyond which young ones are merged.
const MAX_RUNS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunId(u64);

struct Tracked {
    id: RunId,
    run: Run,
    rows: usize,
}

/// Oldest first.
#[derive(Default)]
pub(crate) struct RunSet {
    runs: Vec<Tracked>,
    last_id: u64,
    watermark: Option<(Timestamp, Run)>,
}

fn new_run(rows: Vec<RecordBatch>) -> Run {
    Run { rows: Arc::new(rows), part: Arc::new(OnceLock::new()) }
}

fn row_count(run: &Run) -> usize {
    run.rows.iter().map(RecordBatch::num_rows).sum()
}

impl RunSet {
    pub(crate) fn next_id(&mut self) -> RunId {
        self.last_id += 1;
        RunId(self.last_id)
    }

    /// A new run; without rows there is none.
    pub(crate) fn add(&mut self, id: RunId, rows: Vec<RecordBatch>) {
        if !rows.is_empty() {
            self.keep(id, new_run(rows));
        }
    }

    /// A run as it was stored: later snapshots refer to the same part.
    pub(crate) fn keep(&mut self, id: RunId, run: Run) {
        self.runs.push(Tracked { id, rows: row_count(&run), run });
    }

    /// Forgets runs that nothing live is in.
    pub(crate) fn retain(&mut self, used: &BTreeSet<RunId>) {
        self.runs.retain(|tracked| used.contains(&tracked.id));
    }

    /// Runs that the next snapshot should write again as one: none while there are few; else the youngest, and older
    /// ones as long as they are not much larger, so that a row is rewritten a logarithmic number of times.
    pub(crate) fn to_compact(&self) -> BTreeSet<RunId> {
        let mut chosen = BTreeSet::new();
        let mut rows = 0;
        for (left, tracked) in self.runs.iter().enumerate().rev() {
            let few = self.runs.len() < MAX_RUNS;
            if few || (left + 2 < MAX_RUNS && tracked.rows > 2 * rows) {
                break;
            }
            rows += tracked.rows;
            chosen.insert(tracked.id);
        }
        chosen
    }

    /// What an operator hands over at a barrier.
    pub(crate) fn snapshot(&mut self, watermark: Timestamp) -> Vec<Run> {
        let first = match &self.watermark {
            Some((known, run)) if *known == watermark => run.clone(),
            Some(_) | None => watermark_run(watermark),
        };
        self.watermark = Some((watermark, first.clone()));
        std::iter::once(first).chain(self.runs.iter().map(|tracked| tracked.run.clone())).collect()
    }
}

const WATERMARK: &str = "watermark";

fn watermark_run(watermark: Timestamp) -> Run {
    let schema = Arc::new(Schema::new(vec![Field::new(WATERMARK, DataType::Int64, false)]));
    let column = Arc::new(Int64Array::from(vec![watermark]));
    let rows = RecordBatch::try_new(schema, vec![column]).expect("one column of the type that the schema names");
    new_run(vec![rows])
}

/// The watermark of a stored snapshot, from its first run.
pub(crate) fn read_watermark(run: &Run) -> Result<Timestamp, String> {
    let [rows] = run.rows.as_slice() else { return Err("the first run is not the watermark".to_owned()) };
    let column = rows.column_by_name(WATERMARK).and_then(|column| column.as_primitive_opt::<Int64Type>());
    match column {
        Some(column) if column.len() == 1 && column.null_count() == 0 => Ok(column.value(0)),
        Some(_) | None => Err("the first run is not the watermark".to_owned()),
    }
}

pub(crate) struct OwnRows {
    pub(crate) rows: Vec<RecordBatch>,
    /// All rows of the run are this subtask's.
    pub(crate) whole: bool,
}

/// The rows of a stored run whose key groups are owned by `place`.
pub(crate) fn own_rows(run: &Run, schema: &SchemaRef, keys: &[usize], place: Place) -> Result<OwnRows, String> {
    let mut own = OwnRows { rows: Vec::new(), whole: true };
    for rows in run.rows.iter() {
        let stored = rows.schema();
        let stored_types = stored.fields().iter().map(|field| field.data_type());
        if !stored_types.eq(schema.fields().iter().map(|field| field.data_type())) {
            return Err(format!("stored columns are {stored}, expected {schema}"));
        }
        let rows = RecordBatch::try_new(schema.clone(), rows.columns().to_vec()).map_err(|error| error.to_string())?;
        let owners = key_groups::assign(&rows, keys, place.parallelism, place.max_parallelism);
        let owners = owners.map_err(|error| error.to_string())?;
        let mine: BooleanArray = owners.iter().map(|owner| Some(*owner == place.subtask)).collect();
        let count = mine.true_count();
        if count == rows.num_rows() {
            own.rows.push(rows);
            continue;
        }
        own.whole = false;
        if count > 0 {
            own.rows.push(filter_record_batch(&rows, &mine).map_err(|error| error.to_string())?);
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> RecordBatch {
        let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1; count]));
        RecordBatch::try_from_iter([("n", column)]).expect("one column")
    }

    #[test]
    fn runs_stay_few_and_a_row_is_rewritten_rarely() {
        let mut set = RunSet::default();
        let (mut written, mut added) = (0, 0);
        for _ in 0..1_000 {
            let young = set.to_compact();
            let merged: usize =
                set.runs.iter().filter(|tracked| young.contains(&tracked.id)).map(|tracked| tracked.rows).sum();
            set.runs.retain(|tracked| !young.contains(&tracked.id));
            let id = set.next_id();
            set.add(id, vec![rows(merged + 10)]);
            written += merged + 10;
            added += 10;
            assert!(set.runs.len() <= MAX_RUNS, "{}", set.runs.len());
        }
        assert_eq!(set.runs.iter().map(|tracked| tracked.rows).sum::<usize>(), added);
        assert!(written < 10 * added, "{written} rows written for {added}");
    }

    #[test]
    fn watermark_run_is_shared_while_it_stands() {
        let mut set = RunSet::default();
        let first = set.snapshot(5);
        let second = set.snapshot(5);
        assert!(Arc::ptr_eq(&first[0].part, &second[0].part));
        assert_eq!(read_watermark(&set.snapshot(7)[0]), Ok(7));
        assert!(read_watermark(&new_run(vec![rows(1)])).is_err());
        assert!(read_watermark(&new_run(vec![])).is_err());
    }
}
