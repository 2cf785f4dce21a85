//! Splits of one subtask as one [`SourceReader`]: which split is read next, lateness slices, watermarks, positions.
//! A kind of source brings a [`Feed`] per split and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::cast::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::event_time::{EventTime, ReaderClock, Slice, SplitClock, SplitTime};
use super::{Next, Reached, SourceCounters, SourceError, SourceReader, Split, Stretch};
use crate::element::{Batch, Timestamp, Watermark};
use crate::origin::{Origin, Places};

/// Feeds that may keep files and buffers open at a time; the one longest not read lets go of them first.
const WARM_FEEDS: usize = 32;

/// What a split has next.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Rows in the source's own columns; none when all of them were skipped.
    Rows(RecordBatch),
    /// Nothing before this much time has passed.
    Wait(Duration),
    End,
}

/// Rows of one split, in order, from its position.
pub(crate) trait Feed: Send {
    fn poll(&mut self, now: Duration) -> Result<Fed, SourceError>;
    /// The first `rows` rows of the chunk that `poll` returned last are out: the position moves right behind them
    /// (behind all that was read, skipped records too, when these are all of the chunk's rows).
    fn deliver(&mut self, rows: usize);
    /// Where the rows from `begin` up to `end` of the chunk that `poll` returned last come from, for people.
    fn place(&self, begin: usize, end: usize) -> String;
    /// The same of each row of that chunk, for as long as anybody has rows of it. None: the feed cannot tell.
    fn places(&self) -> Option<Arc<dyn Places>> {
        None
    }
    /// How far the split is read, for people.
    fn reached(&self) -> Reached;
    /// Bounds and position in the source's encoding.
    fn position(&self) -> String;
    /// Lets go of files and buffers; the next `poll` takes them up again.
    fn rest(&mut self) {}
    /// Whether an unread rest means that the outside has nothing to say (never so for a bounded split).
    fn may_idle(&self) -> bool {
        false
    }
    fn bytes(&self) -> u64;
    fn decode_errors(&self) -> u64 {
        0
    }
}

/// How a reader turns chunks into batches.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Columns of a chunk that leave the source, in order.
    pub(crate) output: Vec<usize>,
    /// Column of a chunk that holds event time (microseconds, without nulls).
    pub(crate) event_time: Option<usize>,
    pub(crate) max_out_of_orderness: Duration,
    pub(crate) idle_timeout: Option<Duration>,
}

/// Which of a source's columns are made and which leave it.
pub(crate) struct Projection {
    /// Indices into the source's declared columns, in declared order.
    pub(crate) read: Vec<usize>,
    pub(crate) shape: Shape,
}

/// Chooses what must be read of `declared` to yield `wanted`: event time is read even if nobody wants it.
pub(crate) fn project(
    source: &str,
    declared: &[&str],
    wanted: &[String],
    event_time: Option<&EventTime>,
) -> Result<Projection, SourceError> {
    let find = |name: &str| {
        declared.iter().position(|column| *column == name).ok_or_else(|| SourceError::Malformed {
            source_name: source.to_owned(),
            position: format!("column `{name}`"),
            message: "is not among the source's columns".to_owned(),
        })
    };
    let mut output = wanted.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
    let time_column = event_time.map(|time| find(&time.column)).transpose()?;
    let read: Vec<usize> =
        (0..declared.len()).filter(|index| output.contains(index) || time_column == Some(*index)).collect();
    let place = |column: usize| read.iter().position(|index| *index == column).unwrap_or(usize::MAX);
    for column in &mut output {
        *column = place(*column);
    }
    let shape = Shape {
        output,
        event_time: time_column.map(place),
        max_out_of_orderness: event_time.map_or(Duration::ZERO, |time| time.max_out_of_orderness),
        idle_timeout: event_time.and_then(|time| time.idle_timeout),
    };
    Ok(Projection { read, shape })
}

/// Rows that a feed gave and that have not all left yet.
struct Chunk {
    rows: RecordBatch,
    origin: Option<Origin>,
    slices: VecDeque<Slice>,
    delivered: usize,
}

struct Lane<F> {
    id: String,
    feed: F,
    clock: SplitClock,
    /// Watermark behind the last delivered row.
    watermark: Timestamp,
    finished: bool,
    /// Since when it has been asked and had nothing.
    waiting_since: Option<Duration>,
    idle: bool,
    not_before: Duration,
    chunk: Option<Chunk>,
    /// What was read first since somebody asked for it, in words; None: nothing was.
    read_from: Option<String>,
    /// Number of its last chunk, where splits take turns.
    turn: u64,
}

/// When a reader without a split asks again whether it was given one.
const UNTIL_ADDED: Duration = Duration::from_millis(20);

/// Reads the split whose watermark is lowest, so that no split runs far ahead of the others and fills state with
/// windows that cannot fire yet; without event time that is one split after the other.
pub(crate) struct SplitsReader<F> {
    source: Arc<str>,
    shape: Shape,
    lanes: Vec<Lane<F>>,
    /// The split whose chunk is on its way out.
    current: Option<usize>,
    /// The split of the last batch, and its rows in the split's chunk.
    last: Option<(usize, usize, usize)>,
    warm: VecDeque<usize>,
    clock: ReaderClock,
    records: u64,
    /// Splits may be added as long as the reader lives.
    is_endless: bool,
    /// Chunks given so far, where splits take turns.
    turns: Option<u64>,
}

impl<F: Feed> SplitsReader<F> {
    /// `feeds`: one per split, opened at the split's position.
    pub(crate) fn new(source: String, shape: Shape, feeds: Vec<(Split, F)>) -> Self {
        let lanes = feeds.into_iter().map(|(split, feed)| Lane::new(split, feed, &shape)).collect();
        Self {
            source: source.into(),
            shape,
            lanes,
            current: None,
            last: None,
            warm: VecDeque::new(),
            clock: ReaderClock::default(),
            records: 0,
            is_endless: false,
            turns: None,
        }
    }

    /// Splits are partitions of something that grows: those at the same time take turns, so that one that never runs
    /// dry does not keep the others waiting. `is_endless`: more of them may be added, so that there is no end.
    pub(crate) fn of_partitions(mut self, is_endless: bool) -> Self {
        (self.is_endless, self.turns) = (is_endless, Some(0));
        self
    }

    /// One more split, at its position.
    pub(crate) fn add(&mut self, split: Split, feed: F) {
        self.lanes.push(Lane::new(split, feed, &self.shape));
    }

    pub(crate) fn feeds(&self) -> impl Iterator<Item = &F> {
        self.lanes.iter().map(|lane| &lane.feed)
    }

    /// Index of the split to ask next.
    fn choose(&self, now: Duration) -> Option<usize> {
        let ready = |lane: &&Lane<F>| !lane.finished && lane.not_before <= now;
        let candidates = self.lanes.iter().enumerate().filter(|(_, lane)| ready(lane));
        candidates.min_by_key(|(index, lane)| (lane.watermark, lane.turn, *index)).map(|(index, _)| index)
    }

    fn keep_warm(&mut self, index: usize) {
        if self.warm.back() == Some(&index) {
            return;
        }
        self.warm.retain(|warm| *warm != index);
        self.warm.push_back(index);
        while self.warm.len() > WARM_FEEDS {
            if let Some(lane) = self.warm.pop_front().and_then(|coldest| self.lanes.get_mut(coldest)) {
                lane.feed.rest();
            }
        }
    }

    /// Asks splits until one gives rows, or none is left to ask now (at most one question per split).
    fn read(&mut self, now: Duration) -> Result<Option<Next>, SourceError> {
        while let Some(index) = self.choose(now) {
            self.keep_warm(index);
            let shape = &self.shape;
            let Some(lane) = self.lanes.get_mut(index) else { return Ok(None) };
            match lane.feed.poll(now)? {
                Fed::Rows(rows) if rows.num_rows() == 0 => {
                    lane.feed.deliver(0);
                    return Ok(Some(Next::Wait(Duration::ZERO)));
                }
                Fed::Rows(rows) => {
                    lane.waiting_since = None;
                    lane.idle = false;
                    if let Some(turns) = &mut self.turns {
                        *turns += 1;
                        lane.turn = *turns;
                    }
                    let slices = lane.cut(&rows, shape).into();
                    let places = lane.feed.places();
                    let origin = places.map(|places| Origin::new(Arc::clone(&self.source), places));
                    lane.chunk = Some(Chunk { rows, origin, slices, delivered: 0 });
                    self.current = Some(index);
                    return self.deliver(index);
                }
                Fed::Wait(pause) => {
                    let since = *lane.waiting_since.get_or_insert(now);
                    let timeout = shape.idle_timeout.filter(|_| lane.feed.may_idle()).unwrap_or(Duration::MAX);
                    lane.idle = now.saturating_sub(since) >= timeout;
                    let pause = if lane.idle { pause } else { pause.min(timeout) };
                    // At least a microsecond: a lane that answers "now" must not be asked for ever in this loop.
                    lane.not_before = now + pause.max(Duration::from_micros(1));
                }
                Fed::End => {
                    lane.finished = true;
                    lane.watermark = Timestamp::MAX;
                    lane.feed.rest();
                }
            }
        }
        Ok(None)
    }

    /// Lets the next slice of a lane's chunk out.
    fn deliver(&mut self, index: usize) -> Result<Option<Next>, SourceError> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(None) };
        let Some(chunk) = lane.chunk.as_mut() else { return Ok(None) };
        let Some(slice) = chunk.slices.pop_front() else { return Ok(None) };
        let begin = chunk.delivered;
        chunk.delivered = slice.end;
        let whole = begin == 0 && chunk.slices.is_empty();
        let origin = chunk.origin.as_ref().map(|origin| origin.from(begin));
        let rows = if whole { chunk.rows.clone() } else { chunk.rows.slice(begin, slice.end - begin) };
        let rows = rows.project(&self.shape.output).map_err(|error| SourceError::Malformed {
            source_name: self.source.to_string(),
            position: "projection".to_owned(),
            message: error.to_string(),
        })?;
        self.last = Some((index, begin, slice.end));
        lane.watermark = slice.watermark;
        lane.read_from.get_or_insert_with(|| lane.feed.reached().next);
        lane.feed.deliver(slice.end);
        if chunk.slices.is_empty() {
            lane.chunk = None;
            self.current = None;
        }
        self.records += rows.num_rows() as u64;
        Ok(Some(Next::Batch(Batch { rows, late_before: slice.late_before, origin })))
    }

    fn moved(&mut self) -> Option<Watermark> {
        let time = |lane: &Lane<F>| SplitTime { watermark: lane.watermark, finished: lane.finished, idle: lane.idle };
        // What may be added has nothing to say yet.
        let added = SplitTime { watermark: Timestamp::MIN, finished: false, idle: true };
        self.clock.moved(self.lanes.iter().map(time).chain(self.is_endless.then_some(added)))
    }

    fn pause(&self, now: Duration) -> Duration {
        let unfinished = self.lanes.iter().filter(|lane| !lane.finished);
        let added = self.is_endless.then_some(UNTIL_ADDED);
        unfinished.map(|lane| lane.not_before.saturating_sub(now)).chain(added).min().unwrap_or(Duration::ZERO)
    }
}

impl<F: Feed> Lane<F> {
    fn new(split: Split, feed: F, shape: &Shape) -> Self {
        // A finished split keeps END; an unfinished one is always at a timestamp.
        let watermark = match split.watermark {
            Watermark::At(at) => at,
            Watermark::Idle => Timestamp::MIN,
        };
        Self {
            id: split.id,
            feed,
            clock: SplitClock::new(watermark, shape.max_out_of_orderness),
            watermark,
            finished: split.finished,
            waiting_since: None,
            idle: false,
            not_before: Duration::ZERO,
            chunk: None,
            read_from: None,
            turn: 0,
        }
    }

    fn cut(&mut self, rows: &RecordBatch, shape: &Shape) -> Vec<Slice> {
        let column = shape.event_time.and_then(|column| rows.columns().get(column));
        match column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()) {
            Some(timestamps) => self.clock.cut(timestamps.values()),
            None => vec![Slice { end: rows.num_rows(), late_before: Timestamp::MIN, watermark: self.watermark }],
        }
    }
}

impl<F: Feed> SourceReader for SplitsReader<F> {
    fn next(&mut self, now: Duration) -> Result<Next, SourceError> {
        // The slices of one chunk leave without watermarks between them: fewer elements, the same result.
        if let Some(index) = self.current
            && let Some(next) = self.deliver(index)?
        {
            return Ok(next);
        }
        if let Some(watermark) = self.moved() {
            return Ok(Next::Watermark(watermark));
        }
        if !self.is_endless && self.lanes.iter().all(|lane| lane.finished) {
            return Ok(Next::Ended);
        }
        if let Some(next) = self.read(now)? {
            return Ok(next);
        }
        // Asking has changed something (a split ended or went idle), or there is nothing now.
        match self.moved() {
            Some(watermark) => Ok(Next::Watermark(watermark)),
            None => Ok(Next::Wait(self.pause(now))),
        }
    }

    fn last_batch(&self) -> String {
        let place = self.last.and_then(|(lane, begin, end)| Some(self.lanes.get(lane)?.feed.place(begin, end)));
        format!("source `{}`, {}", self.source, place.unwrap_or_default())
    }

    fn stretches(&mut self) -> Vec<Stretch> {
        let stretch = |lane: &mut Lane<F>| {
            let from = lane.read_from.take()?;
            let Reached { split, next: to } = lane.feed.reached();
            Some(Stretch { split, from, to })
        };
        self.lanes.iter_mut().filter_map(stretch).collect()
    }

    fn snapshot(&self) -> Vec<Split> {
        let split = |lane: &Lane<F>| Split {
            id: lane.id.clone(),
            position: lane.feed.position(),
            watermark: Watermark::At(lane.watermark),
            finished: lane.finished,
        };
        self.lanes.iter().map(split).collect()
    }

    fn counters(&self) -> SourceCounters {
        SourceCounters {
            records: self.records,
            bytes: self.lanes.iter().map(|lane| lane.feed.bytes()).sum(),
            decode_errors: self.lanes.iter().map(|lane| lane.feed.decode_errors()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// Gives its number so many times, then waits.
    struct Numbers {
        number: i64,
        left: u32,
    }

    impl Feed for Numbers {
        fn poll(&mut self, _: Duration) -> Result<Fed, SourceError> {
            let Some(left) = self.left.checked_sub(1) else { return Ok(Fed::Wait(Duration::from_secs(1))) };
            self.left = left;
            let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
            let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![self.number]))]);
            Ok(Fed::Rows(rows.unwrap()))
        }

        fn deliver(&mut self, _: usize) {}

        fn place(&self, _: usize, _: usize) -> String {
            String::new()
        }

        fn reached(&self) -> Reached {
            Reached { split: self.number.to_string(), next: self.position() }
        }

        fn position(&self) -> String {
            self.left.to_string()
        }

        fn bytes(&self) -> u64 {
            0
        }
    }

    fn split(number: i64) -> (Split, Numbers) {
        let id = number.to_string();
        let split = Split { id, position: String::new(), watermark: Watermark::START, finished: false };
        (split, Numbers { number, left: 3 })
    }

    fn reader(splits: &[i64]) -> SplitsReader<Numbers> {
        let shape =
            Shape { output: vec![0], event_time: None, max_out_of_orderness: Duration::ZERO, idle_timeout: None };
        SplitsReader::new("s".to_owned(), shape, splits.iter().map(|number| split(*number)).collect())
    }

    /// Which splits the next batches come from, until there is nothing.
    fn order(reader: &mut SplitsReader<Numbers>) -> Vec<i64> {
        let next = || match reader.next(Duration::ZERO).unwrap() {
            Next::Batch(batch) => Some(batch.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0)),
            Next::Wait(_) | Next::Watermark(_) | Next::Ended => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn partitions_take_turns_and_other_splits_come_one_after_the_other() {
        assert_eq!(order(&mut reader(&[1, 2])), [1, 1, 1, 2, 2, 2]);
        assert_eq!(order(&mut reader(&[1, 2]).of_partitions(false)), [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn a_reader_of_something_that_grows_has_no_end_and_is_idle_until_it_is_given_a_split() {
        let mut empty = reader(&[]);
        assert!(matches!(empty.next(Duration::ZERO), Ok(Next::Watermark(Watermark::END))));
        assert!(matches!(empty.next(Duration::ZERO), Ok(Next::Ended)));
        let mut reader = reader(&[]).of_partitions(true);
        assert!(matches!(reader.next(Duration::ZERO), Ok(Next::Watermark(Watermark::Idle))));
        assert!(matches!(reader.next(Duration::ZERO), Ok(Next::Wait(pause)) if pause == UNTIL_ADDED));
        let (split, feed) = split(7);
        reader.add(split, feed);
        let next = reader.next(Duration::ZERO).unwrap();
        assert!(matches!(next, Next::Watermark(Watermark::At(Timestamp::MIN))), "it is not idle any more: {next:?}");
        assert_eq!(order(&mut reader), [7, 7, 7]);
        assert_eq!(reader.snapshot().len(), 1);
    }
}
