//! Which row of a source each row of a batch is, for as long as rows are only left out or computed one by one: so that a
//! row that a target refuses, even a while later, is told by its place. It costs nothing for each row: a chunk's places
//! are kept together, and of a filter the mask that it has made anyway.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::BooleanArray;

/// Where the rows of a chunk come from.
pub trait Places: Debug + Send + Sync {
    /// For people, without the source's name: "topic `orders` partition 3 offset 42". None: there is no such row.
    fn place(&self, row: usize) -> Option<String>;
}

/// Where the rows of a batch come from.
#[derive(Clone, Debug)]
pub struct Origin {
    source: Arc<str>,
    places: Arc<dyn Places>,
    /// Rows of the chunk before the first one that is meant.
    begin: usize,
    kept: Option<Arc<Kept>>,
}

/// Rows that a filter has let through, of those that one before it had.
#[derive(Debug)]
struct Kept {
    mask: BooleanArray,
    before: Option<Arc<Kept>>,
}

impl Origin {
    /// All rows of a chunk of `source`.
    pub fn new(source: Arc<str>, places: Arc<dyn Places>) -> Self {
        Self { source, places, begin: 0, kept: None }
    }

    /// Of those from the row at `begin` of the chunk on.
    #[must_use]
    pub fn from(&self, begin: usize) -> Self {
        Self { begin, ..self.clone() }
    }

    /// Of the rows for which `mask`, which has no nulls, is true.
    #[must_use]
    pub fn filtered(&self, mask: &BooleanArray) -> Self {
        let kept = Kept { mask: mask.clone(), before: self.kept.clone() };
        Self { kept: Some(Arc::new(kept)), ..self.clone() }
    }

    /// Source and place of one row of the batch, for people; None if it has no such row.
    pub fn describe(&self, row: usize) -> Option<String> {
        let mut row = row;
        let mut kept = self.kept.as_deref();
        while let Some(Kept { mask, before }) = kept {
            row = mask.values().set_indices().nth(row)?;
            kept = before.as_deref();
        }
        let place = self.places.place(self.begin + row)?;
        Some(format!("source `{}`, {place}", self.source))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A chunk of so many rows.
    #[derive(Debug)]
    pub(crate) struct Rows(pub(crate) usize);

    impl Places for Rows {
        fn place(&self, row: usize) -> Option<String> {
            (row < self.0).then(|| format!("row {row}"))
        }
    }

    fn mask(kept: &[u8]) -> BooleanArray {
        kept.iter().map(|kept| Some(*kept == 1)).collect()
    }

    #[test]
    fn a_row_is_found_behind_a_slice_and_two_filters() {
        let origin = Origin::new("orders".into(), Arc::new(Rows(10))).from(3);
        assert_eq!(origin.describe(0).as_deref(), Some("source `orders`, row 3"));
        assert_eq!(origin.describe(7), None);
        let filtered = origin.filtered(&mask(&[0, 1, 1, 0, 1, 1])).filtered(&mask(&[1, 0, 0, 1]));
        assert_eq!(filtered.describe(0).as_deref(), Some("source `orders`, row 4"));
        assert_eq!(filtered.describe(1).as_deref(), Some("source `orders`, row 8"));
        assert_eq!(filtered.describe(2), None);
    }
}
