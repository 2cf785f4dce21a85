use std::time::Duration;

use api::pipeline::{Column, ColumnType, Generate, GeneratorSource, Literal, Random, Sequence, Source};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use crate::connectors::{EventTime, Next, SourceConnector, SourceReader, Split};
use crate::element::Watermark;

use super::*;

fn sequence(start: Literal, step: Option<Literal>) -> Generate {
    Generate { sequence: Some(Sequence { start, step }), random: None, choice: None }
}

fn random(min: i64, max: i64) -> Generate {
    let random = Random { min: Literal::Integer(min), max: Literal::Integer(max) };
    Generate { sequence: None, random: Some(random), choice: None }
}

fn column(name: &str, column_type: ColumnType, generate: Generate) -> Column {
    Column { name: name.to_owned(), column_type, generate: Some(generate) }
}

fn text(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

fn source(rows: Option<u64>, rows_per_second: Option<u64>) -> Source {
    let choice = Generate { sequence: None, random: None, choice: Some(vec![text("DE"), text("FR"), text("SE")]) };
    let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
    Source {
        name: "ticks".to_owned(),
        files: None,
        kafka: None,
        generator: Some(GeneratorSource { rows, rows_per_second, seed: 7 }),
        format: None,
        columns: vec![
            column("id", ColumnType::BigInt, sequence(Literal::Integer(0), None)),
            column("ts", ColumnType::Timestamp, sequence(text("2026-01-01T00:00:00Z"), Some(text("1ms")))),
            column("customer", ColumnType::BigInt, random(0, 9999)),
            column("small", ColumnType::SmallInt, random(-5, 5)),
            column("country", ColumnType::Varchar, choice),
            column("price", decimal, random(1, 3)),
        ],
        metadata: Vec::new(),
        event_time: None,
    }
}

fn generator(source: &Source, wanted: &[&str]) -> Generator {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let event_time = EventTime {
        column: "ts".to_owned(),
        max_out_of_orderness: Duration::ZERO,
        idle_timeout: Some(Duration::from_secs(5)),
    };
    Generator::new(source, source.generator.as_ref().unwrap(), &wanted, Some(&event_time)).unwrap()
}

const ALL: [&str; 6] = ["id", "ts", "customer", "small", "country", "price"];

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        lines.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" ")),
        );
    }
    lines
}

/// Reads at most `batches` batches (time stands still unless the reader waits).
fn read(reader: &mut dyn SourceReader, batches: usize) -> Vec<RecordBatch> {
    let (mut rows, mut now) = (Vec::new(), Duration::ZERO);
    while rows.len() < batches {
        match reader.next(now).unwrap() {
            Next::Batch(batch) => rows.push(batch.rows),
            Next::Watermark(_) => {}
            Next::Wait(pause) => now += pause,
            Next::Ended => break,
        }
    }
    rows
}

fn read_all(generator: &Generator, splits: Vec<Split>) -> Vec<String> {
    lines(&read(generator.open(splits.into()).unwrap().as_mut(), usize::MAX))
}

#[test]
fn rows_are_frozen_for_ever() {
    let generator = generator(&source(Some(3), None), &ALL);
    let rows = read_all(&generator, generator.resolve(1).unwrap());
    assert_eq!(rows, GOLDEN);
}

const GOLDEN: [&str; 3] = [
    "0 2026-01-01T00:00:00 427 -5 DE 2.44",
    "1 2026-01-01T00:00:00.001 491 -5 SE 2.49",
    "2 2026-01-01T00:00:00.002 2248 0 DE 2.15",
];

#[test]
fn rows_depend_on_seed_and_number_only() {
    let generator = generator(&source(Some(20_001), None), &ALL);
    let alone = read_all(&generator, generator.resolve(1).unwrap());
    assert_eq!(alone.len(), 20_001);
    for parallelism in [2, 3, 7] {
        let mut rows = Vec::new();
        for split in generator.resolve(parallelism).unwrap() {
            rows.extend(read_all(&generator, vec![split]));
        }
        let number = |line: &String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
        rows.sort_by_key(number);
        assert_eq!(rows, alone);
    }
}

#[test]
fn projection_changes_no_value_and_the_order_is_the_wanted_one() {
    let source = source(Some(100), None);
    let (all, some) = (generator(&source, &ALL), generator(&source, &["country", "id"]));
    let whole = read(all.open(all.resolve(1).unwrap().into()).unwrap().as_mut(), 1);
    let part = read(some.open(some.resolve(1).unwrap().into()).unwrap().as_mut(), 1);
    assert_eq!(part[0], whole[0].project(&[4, 0]).unwrap());
    assert_eq!(*some.schema(), *part[0].schema());
    let none = generator(&source, &[]);
    let counted = read(none.open(none.resolve(1).unwrap().into()).unwrap().as_mut(), 1);
    assert_eq!((counted[0].num_columns(), counted[0].num_rows()), (0, 100));
}

#[test]
fn random_values_cover_their_range_evenly() {
    let generator = generator(&source(Some(110_000), None), &["small"]);
    let rows = read_all(&generator, generator.resolve(1).unwrap());
    for value in -5..=5_i32 {
        let count = rows.iter().filter(|row| **row == value.to_string()).count();
        assert!((9_500..10_500).contains(&count), "{value} came {count} times of 10,000 expected");
    }
}

#[test]
fn a_throttled_generator_gives_its_rate_and_gives_it_often() {
    let generator = generator(&source(None, Some(1000)), &["id"]);
    let mut reader = generator.open(generator.resolve(2).unwrap().into()).unwrap();
    let (mut now, mut rows, mut batches) = (Duration::ZERO, 0, 0);
    while now < Duration::from_secs(10) {
        match reader.next(now).unwrap() {
            Next::Batch(batch) => (rows, batches) = (rows + batch.rows.num_rows(), batches + 1),
            Next::Wait(pause) => now += pause,
            Next::Watermark(_) => {}
            Next::Ended => panic!("has no end"),
        }
    }
    assert!((9_900..=10_100).contains(&rows), "{rows}");
    assert!(batches >= 200, "{batches}");
}

#[test]
fn an_unbounded_generator_that_is_slower_than_the_idle_timeout_goes_idle() {
    let mut source = source(None, Some(1));
    source.columns.truncate(2);
    let generator = generator(&source, &["id"]);
    // Four splits at one row a second: each yields every four seconds, the timeout is five; eight splits: every eight.
    for (splits, idle) in [(4, false), (8, true)] {
        let first = generator.resolve(splits).unwrap().remove(0);
        let mut reader = generator.open(vec![first].into()).unwrap();
        let (mut now, mut went_idle) = (Duration::ZERO, false);
        while now < Duration::from_secs(30) {
            match reader.next(now).unwrap() {
                Next::Wait(pause) => now += pause,
                Next::Watermark(watermark) => went_idle |= watermark == Watermark::Idle,
                Next::Batch(_) | Next::Ended => {}
            }
        }
        assert_eq!(went_idle, idle, "{splits} splits");
    }
}

#[test]
fn a_reader_without_splits_ends_at_once() {
    let generator = generator(&source(Some(5), None), &["id"]);
    let mut reader = generator.open(Vec::<Split>::new().into()).unwrap();
    assert!(matches!(reader.next(Duration::ZERO).unwrap(), Next::Watermark(Watermark::END)));
    assert!(matches!(reader.next(Duration::ZERO).unwrap(), Next::Ended));
}

#[test]
fn values_that_cannot_be_made_are_refused_with_the_column() {
    let refused = |column_type, generate| {
        let mut source = source(Some(100), None);
        source.columns[0] = column("id", column_type, generate);
        let generator = Generator::new(&source, source.generator.as_ref().unwrap(), &["id".to_owned()], None);
        generator.err().expect("must be refused").to_string()
    };
    assert!(refused(ColumnType::SmallInt, sequence(Literal::Integer(32_700), None)).contains("before its last row"));
    assert!(refused(ColumnType::BigInt, random(5, 4)).contains("`4` is below min `5`"));
    assert!(refused(ColumnType::Timestamp, sequence(text("yesterday"), None)).contains("column `id`"));
    assert!(refused(ColumnType::BigInt, Generate { sequence: None, random: None, choice: None }).contains("choice"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_restored_reader_continues_right_behind_the_snapshot(
        rows in 0_u64..40_000, splits in 1_u32..4, taken in 0_usize..6, readers in 1_usize..4,
    ) {
        let generator = generator(&source(Some(rows), None), &["id", "customer"]);
        let mut reader = generator.open(generator.resolve(splits).unwrap().into()).unwrap();
        let mut seen = read(reader.as_mut(), taken);
        let snapshot = reader.snapshot();
        // Another parallelism reads on.
        for index in 0..readers {
            let share: Vec<_> = snapshot.iter().skip(index).step_by(readers).cloned().collect();
            seen.extend(read(generator.open(share.into()).unwrap().as_mut(), usize::MAX));
        }
        let schema = generator.schema();
        let seen = concat_batches(&schema, &seen).unwrap();
        prop_assert_eq!(seen.num_rows() as u64, rows);
        let mut together = lines(&[seen]);
        let mut alone = read_all(&generator, generator.resolve(1).unwrap());
        together.sort();
        alone.sort();
        prop_assert_eq!(together, alone);
    }
}
