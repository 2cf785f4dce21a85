//! Group numbers for a single integer key: while the keys lie close together, by a table indexed with the key itself
//! instead of a hash table. Where they do not, DataFusion's hash table takes over.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Date32Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::aggregate::TIMESTAMP;

/// Slots that are always allowed: 16 KB.
const FREE_SLOTS: usize = 4_096;
/// Slots per known key and per row at hand, at most: keeps the table as small as a hash table would be.
const SLOTS_PER_KEY: usize = 8;

/// Slots hold group numbers in 32 bits, less this mark.
const EMPTY: u32 = u32::MAX;

/// Group numbers of keys of these fields, by the cheapest table that fits them.
pub(crate) fn group_values(schema: SchemaRef) -> Result<Box<dyn GroupValues>> {
    let key = match schema.fields().as_ref() {
        [key] => key.data_type().clone(),
        _ => return new_group_values(schema, &GroupOrdering::None),
    };
    let hashed = new_group_values(schema, &GroupOrdering::None)?;
    Ok(match key {
        DataType::Int64 => Box::new(Dense::<Int64Type>::new(hashed)),
        DataType::Int32 => Box::new(Dense::<Int32Type>::new(hashed)),
        DataType::Int16 => Box::new(Dense::<Int16Type>::new(hashed)),
        DataType::Date32 => Box::new(Dense::<Date32Type>::new(hashed)),
        TIMESTAMP => Box::new(Dense::<TimestampMicrosecondType>::new(hashed)),
        _ => hashed,
    })
}

struct Dense<T: ArrowPrimitiveType> {
    /// Key of the first slot.
    base: i64,
    slots: Vec<u32>,
    /// By group; anything for NULL.
    keys: Vec<T::Native>,
    null_group: Option<usize>,
    /// Holds everything once `is_hashed`, until it is emptied.
    hashed: Box<dyn GroupValues>,
    is_hashed: bool,
}

impl<T: ArrowPrimitiveType<Native: Into<i64>>> Dense<T> {
    fn new(hashed: Box<dyn GroupValues>) -> Self {
        Self { base: 0, slots: Vec::new(), keys: Vec::new(), null_group: None, hashed, is_hashed: false }
    }

    /// Makes slots for all keys of the column; `false`: they lie too far apart.
    fn make_room(&mut self, column: &PrimitiveArray<T>) -> bool {
        let (Some(low), Some(high)) = (arrow::compute::min(column), arrow::compute::max(column)) else { return true };
        let (mut low, mut high): (i64, i64) = (low.into(), high.into());
        let allowed = FREE_SLOTS.max(SLOTS_PER_KEY * (self.keys.len() + column.len()));
        if !self.slots.is_empty() {
            let last = self.base.saturating_add(self.slots.len() as i64 - 1);
            if low >= self.base && high <= last {
                return true;
            }
            (low, high) = (low.min(self.base), high.max(last));
        }
        let Some(span) = high.checked_sub(low).and_then(|span| usize::try_from(span).ok()) else { return false };
        if span >= allowed || allowed >= EMPTY as usize {
            return false;
        }
        if self.slots.is_empty() || low == self.base {
            self.base = low;
            self.slots.resize(span + 1, EMPTY);
            return true;
        }
        let mut slots = vec![EMPTY; span + 1];
        let old = self.base.saturating_sub(low) as usize;
        if let Some(place) = slots.get_mut(old..old + self.slots.len()) {
            place.copy_from_slice(&self.slots);
        }
        (self.base, self.slots) = (low, slots);
        true
    }

    /// The hash table numbers keys in order of arrival, too: numbers stay.
    fn hash_from_now_on(&mut self) -> Result<()> {
        self.is_hashed = true;
        self.slots = Vec::new();
        if !self.keys.is_empty() {
            let keys = self.take()?;
            self.hashed.intern(&[keys], &mut Vec::new())?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let keys = std::mem::take(&mut self.keys);
        let null_group = self.null_group.take();
        let nulls = null_group.map(|null| (0..keys.len()).map(|group| group != null).collect::<NullBuffer>());
        Ok(Arc::new(PrimitiveArray::<T>::try_new(keys.into(), nulls)?))
    }

    fn number_nulls(&mut self, column: &PrimitiveArray<T>, groups: &mut Vec<usize>) {
        for key in column {
            groups.push(match key {
                Some(key) => number(&mut self.slots, &mut self.keys, self.base, key),
                None => *self.null_group.get_or_insert_with(|| {
                    self.keys.push(T::Native::default());
                    self.keys.len() - 1
                }),
            });
        }
    }
}

/// The key's group; [`Dense::make_room`] has made its slot.
#[inline]
fn number<K: Copy + Into<i64>>(slots: &mut [u32], keys: &mut Vec<K>, base: i64, key: K) -> usize {
    let Some(slot) = slots.get_mut(key.into().wrapping_sub(base) as usize) else { return 0 };
    if *slot == EMPTY {
        *slot = keys.len() as u32;
        keys.push(key);
    }
    *slot as usize
}

impl<T: ArrowPrimitiveType<Native: Into<i64>>> GroupValues for Dense<T> {
    fn intern(&mut self, columns: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        let typed = columns.first().and_then(|column| column.as_primitive_opt::<T>());
        let Some(column) = typed else { return self.hashed.intern(columns, groups) };
        if !self.is_hashed && !self.make_room(column) {
            self.hash_from_now_on()?;
        }
        if self.is_hashed {
            return self.hashed.intern(columns, groups);
        }
        groups.clear();
        if column.null_count() > 0 {
            self.number_nulls(column, groups);
        } else {
            let Self { slots, keys, base, .. } = self;
            groups.extend(column.values().iter().map(|key| number(slots, keys, *base, *key)));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let own = self.slots.capacity() * size_of::<u32>() + self.keys.capacity() * size_of::<T::Native>();
        own + self.hashed.size()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        if self.is_hashed { self.hashed.len() } else { self.keys.len() }
    }

    fn emit(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        if !self.is_hashed {
            if matches!(emit_to, EmitTo::All) {
                // Tables of the next window usually hold the same keys.
                self.slots.fill(EMPTY);
                return Ok(vec![self.take()?]);
            }
            self.hash_from_now_on()?;
        }
        self.hashed.emit(emit_to)
    }

    fn clear_shrink(&mut self, rows: usize) {
        self.keys.clear();
        self.null_group = None;
        if self.slots.len() > FREE_SLOTS.max(SLOTS_PER_KEY * rows) {
            self.slots = Vec::new();
        }
        self.slots.fill(EMPTY);
        self.hashed.clear_shrink(rows);
        self.is_hashed = false;
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn schema(key: DataType) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("key", key, true)]))
    }

    fn numbers(values: &mut dyn GroupValues, keys: ArrayRef) -> Vec<usize> {
        let mut groups = vec![77];
        values.intern(&[keys], &mut groups).unwrap();
        groups
    }

    fn dense() -> Dense<Int64Type> {
        Dense::new(new_group_values(schema(DataType::Int64), &GroupOrdering::None).unwrap())
    }

    #[test]
    fn close_keys_need_no_hash_table_and_far_ones_keep_their_numbers() {
        let mut values = dense();
        let close = Int64Array::from(vec![Some(7), None, Some(-3), Some(7)]);
        assert_eq!(numbers(&mut values, Arc::new(close)), [0, 1, 2, 0]);
        assert!(!values.is_hashed);
        let far = Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), Some(-3), None]);
        assert_eq!(numbers(&mut values, Arc::new(far)), [3, 4, 2, 1]);
        assert!(values.is_hashed);
        let emitted = values.emit(EmitTo::All).unwrap();
        let keys: Vec<_> = emitted[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(keys, [Some(7), None, Some(-3), Some(i64::MAX), Some(i64::MIN)]);
        values.clear_shrink(5);
        assert_eq!(numbers(&mut values, Arc::new(Int64Array::from(vec![5, 4]))), [0, 1]);
        assert!(!values.is_hashed, "an emptied table tries again");
    }

    #[test]
    fn slots_are_bounded_by_keys_and_rows() {
        let mut values = dense();
        numbers(&mut values, Arc::new(Int64Array::from(vec![0, 1 << 20])));
        assert!(values.is_hashed);
        let mut values = dense();
        for start in (0..1_000_000).step_by(1_000) {
            numbers(&mut values, Arc::new(Int64Array::from_iter_values(start..start + 1_000)));
        }
        assert!(!values.is_hashed && values.slots.len() == 1_000_000 && values.len() == 1_000_000);
    }

    #[test]
    fn the_type_of_the_key_stays() {
        let mut values = group_values(schema(TIMESTAMP)).unwrap();
        assert_eq!(numbers(values.as_mut(), Arc::new(TimestampMicrosecondArray::from(vec![3, 3, 4]))), [0, 0, 1]);
        assert_eq!(values.emit(EmitTo::All).unwrap()[0].data_type(), &TIMESTAMP);
    }

    fn batch() -> impl Strategy<Value = Vec<Option<i64>>> {
        let key = prop_oneof![6 => (-50_i64..200).prop_map(Some), 1 => Just(None), 1 => any::<i64>().prop_map(Some)];
        let close = prop::option::weighted(0.9, 1000_i64..3000);
        prop_oneof![prop::collection::vec(key, 0..60), prop::collection::vec(close, 0..60)]
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_hash_table(
            batches in prop::collection::vec((batch(), prop::bool::weighted(0.2)), 0..8),
        ) {
            let schema = schema(DataType::Int64);
            let mut ours = group_values(schema.clone()).unwrap();
            let mut theirs = new_group_values(schema, &GroupOrdering::None).unwrap();
            for (batch, empties) in batches {
                let keys: ArrayRef = Arc::new(Int64Array::from(batch));
                prop_assert_eq!(numbers(ours.as_mut(), keys.clone()), numbers(theirs.as_mut(), keys));
                prop_assert_eq!(ours.len(), theirs.len());
                if empties {
                    let count = ours.len();
                    prop_assert_eq!(ours.emit(EmitTo::All).unwrap(), theirs.emit(EmitTo::All).unwrap());
                    ours.clear_shrink(count);
                    theirs.clear_shrink(count);
                }
            }
        }
    }
}
