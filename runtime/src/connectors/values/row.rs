//! A row as people read it, for messages about it.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Characters of a row that a message shows, at most.
const SHOWN: usize = 300;

/// `{name: value, ...}`, cut to a bound.
pub(crate) fn describe(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL").with_display_error(true);
    let mut text = String::from("{");
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let separator = if text.len() > 1 { ", " } else { "" };
        let value = match ArrayFormatter::try_new(column, &options) {
            Ok(formatter) if row < column.len() => formatter.value(row).to_string(),
            Ok(_) | Err(_) => "?".to_owned(),
        };
        text.extend([separator, field.name(), ": "]);
        text.extend(value.chars().take(SHOWN));
        if text.chars().count() > SHOWN {
            return text.chars().take(SHOWN).collect::<String>() + " ...}";
        }
    }
    text + "}"
}

/// The first row on which `fails` is true when it is alone.
pub(crate) fn first_failing(rows: &RecordBatch, fails: impl Fn(&RecordBatch) -> bool) -> Option<usize> {
    (0..rows.num_rows()).find(|row| fails(&rows.slice(*row, 1)))
}

/// `message` with the first row on which `fails` is true.
pub(crate) fn with_failing(message: String, rows: &RecordBatch, fails: impl Fn(&RecordBatch) -> bool) -> String {
    match first_failing(rows, fails) {
        Some(row) => format!("{message}; row {}", describe(rows, row)),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_row_is_shown_by_name_and_cut_to_a_bound() {
        let long = "ä".repeat(10_000);
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("s", Arc::new(StringArray::from(vec!["x", &long]))),
            ("m", Arc::new(Int64Array::from(vec![2, 3]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(describe(&rows, 0), "{n: 1, s: x, m: 2}");
        let cut = describe(&rows, 1);
        assert!(cut.starts_with("{n: NULL, s: ää") && cut.ends_with("ä ...}"), "{cut}");
        assert_eq!(cut.chars().count(), SHOWN + 5);
    }
}
