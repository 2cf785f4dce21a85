//! Which subtask a row belongs to: a hash of its key columns that is frozen for ever, because key groups are how state
//! is stored. Changing one bit of it makes every old checkpoint unreadable at another parallelism.
//!
//! Definition. All arithmetic is modulo 2^64.
//! `mix(x)`: `x ^= x >> 32; x *= 0xd6e8feb86659fd93; x ^= x >> 32; x *= 0xd6e8feb86659fd93; x ^= x >> 32`.
//! A row's hash starts as `SEED` and for each key column becomes `mix(hash * 31 + word)`, where `word` is
//! - null: `NULL_WORD`; booleans: 0 or 1;
//! - integers, dates, times, timestamps, intervals of one number: the value sign-extended to 64 bits;
//! - floats: bits of the value as f64, all NaN alike, -0.0 as 0.0;
//! - decimals: `mix(low 64 bits) + high 64 bits`;
//! - text and bytes: `h = length; for each 8 bytes (little endian, last ones zero padded): h = mix(h ^ chunk)`.
//!
//! Types other than these are hashed as their text.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::element::Batch;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL_WORD: u64 = 0x6f6e_6365_7761_7264;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// Which key groups an operator instance owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub subtask: u32,
    pub parallelism: u32,
    pub max_parallelism: u32,
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^= x >> 32;
    x = x.wrapping_mul(MULTIPLIER);
    x ^ (x >> 32)
}

#[inline]
fn combine(hash: u64, word: u64) -> u64 {
    mix(hash.wrapping_mul(31).wrapping_add(word))
}

fn bytes_word(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

fn float_word(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

/// Folds `words` (one per row, `None` for null) into `hashes`.
fn fold(hashes: &mut [u64], words: impl Iterator<Item = Option<u64>>) {
    for (hash, word) in hashes.iter_mut().zip(words) {
        *hash = combine(*hash, word.unwrap_or(NULL_WORD));
    }
}

fn fold_integers(hashes: &mut [u64], column: &ArrayRef) -> Result<(), ArrowError> {
    let cast_up = match column.data_type() {
        DataType::Int64 => column.clone(),
        // Arrow reinterprets 64-bit times, so no value is changed by these casts.
        DataType::Date32 | DataType::Time32(_) => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    let values = cast_up.as_primitive::<Int64Type>();
    if values.null_count() == 0 {
        for (hash, value) in hashes.iter_mut().zip(values.values()) {
            *hash = combine(*hash, *value as u64);
        }
    } else {
        fold(hashes, values.iter().map(|value| value.map(|v| v as u64)));
    }
    Ok(())
}

fn fold_column(hashes: &mut [u64], column: &ArrayRef) -> Result<(), ArrowError> {
    use DataType as T;
    match column.data_type() {
        T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::Date32
        | T::Date64
        | T::Time32(_)
        | T::Time64(_)
        | T::Timestamp(_, _)
        | T::Duration(_) => fold_integers(hashes, column)?,
        T::Float16 | T::Float32 | T::Float64 => {
            let values = cast(column, &T::Float64)?;
            fold(hashes, values.as_primitive::<Float64Type>().iter().map(|value| value.map(float_word)));
        }
        T::Decimal128(_, _) => {
            let words = column.as_primitive::<Decimal128Type>();
            let word = |v: i128| mix(v as u64).wrapping_add((v >> 64) as u64);
            fold(hashes, words.iter().map(|value| value.map(word)));
        }
        T::Boolean => fold(hashes, column.as_boolean().iter().map(|value| value.map(u64::from))),
        T::Null => fold(hashes, std::iter::repeat(None)),
        T::Utf8 => fold(hashes, column.as_string::<i32>().iter().map(|value| value.map(|v| bytes_word(v.as_bytes())))),
        T::Binary => fold(hashes, column.as_binary::<i32>().iter().map(|value| value.map(bytes_word))),
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            let values = cast(column, &T::Binary)?;
            fold(hashes, values.as_binary::<i32>().iter().map(|value| value.map(bytes_word)));
        }
        _ => {
            let values = cast(column, &T::Utf8)?;
            let words = values.as_string::<i32>().iter().map(|value| value.map(|v| bytes_word(v.as_bytes())));
            fold(hashes, words);
        }
    }
    Ok(())
}

/// Hashes of all rows over `keys`, into `hashes` (replaced). No keys: all rows are alike.
///
/// # Errors
/// A key column of a type that has no text form.
pub fn hash_columns(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<(), ArrowError> {
    hashes.clear();
    hashes.resize(rows, SEED);
    columns.iter().try_for_each(|column| fold_column(hashes, column))
}

/// Key group of a row with this hash, below `max_parallelism`.
#[inline]
pub fn group(hash: u64, max_parallelism: u32) -> u32 {
    ((hash >> 32) as u32) % max_parallelism.max(1)
}

/// Subtask that owns a key group at this parallelism (at most `max_parallelism`).
#[inline]
pub fn subtask(group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(max_parallelism.max(1))) as u32
}

fn key_columns(rows: &RecordBatch, keys: &[usize]) -> Result<Vec<ArrayRef>, ArrowError> {
    keys.iter()
        .map(|key| {
            let column = rows.columns().get(*key).cloned();
            column.ok_or_else(|| ArrowError::SchemaError(format!("no key column {key}")))
        })
        .collect()
}

/// Subtask of each row.
///
/// # Errors
/// A key that is not a column of `rows`, or has no text form.
pub fn assign(rows: &RecordBatch, keys: &[usize], parallelism: u32, max: u32) -> Result<Vec<u32>, ArrowError> {
    let owner: Vec<u32> = (0..max.max(1)).map(|group| subtask(group, parallelism, max)).collect();
    let mut hashes = Vec::new();
    hash_columns(&key_columns(rows, keys)?, rows.num_rows(), &mut hashes)?;
    Ok(hashes.iter().map(|hash| owner.get(group(*hash, max) as usize).copied().unwrap_or(0)).collect())
}

/// Splits a batch by the subtask that owns each row's key group; subtasks without rows are left out. Order is kept.
///
/// # Errors
/// As [`assign`].
pub fn partition(
    batch: &Batch,
    keys: &[usize],
    parallelism: u32,
    max_parallelism: u32,
) -> Result<Vec<(u32, Batch)>, ArrowError> {
    if batch.rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    if parallelism <= 1 {
        return Ok(vec![(0, batch.clone())]);
    }
    let owners = assign(&batch.rows, keys, parallelism, max_parallelism)?;
    let mut indices: Vec<Vec<u32>> =
        vec![Vec::with_capacity(owners.len() / parallelism as usize + 64); parallelism as usize];
    for (row, owner) in owners.iter().enumerate() {
        if let Some(list) = indices.get_mut(*owner as usize) {
            list.push(row as u32);
        }
    }
    let mut parts = Vec::with_capacity(parallelism as usize);
    for (owner, list) in indices.into_iter().enumerate() {
        if list.is_empty() {
            continue;
        }
        let rows = if list.len() == batch.rows.num_rows() {
            batch.rows.clone()
        } else {
            take_rows(&batch.rows, &UInt32Array::from(list))?
        };
        parts.push((owner as u32, Batch { rows, late_before: batch.late_before, origin: None }));
    }
    Ok(parts)
}

/// The rows at `indices`, in that order.
pub(crate) fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| take(column, indices, None)).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(indices.len()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}

#[cfg(test)]
mod tests;
