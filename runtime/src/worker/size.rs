//! How much memory the rows of a batch take. Slices count what they show, not the buffers that they share.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

/// Bytes of a batch's values, to a few per cent: cheap enough for every batch on every edge.
pub(crate) fn batch_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column_bytes(column.as_ref())).sum()
}

fn column_bytes(column: &dyn Array) -> usize {
    let count = column.len();
    let nulls = if column.nulls().is_some() { count.div_ceil(8) } else { 0 };
    let values = match column.data_type() {
        DataType::Boolean => count.div_ceil(8),
        DataType::Utf8 => count * 4 + offsets_span(column.as_string::<i32>().value_offsets()),
        DataType::Binary => count * 4 + offsets_span(column.as_binary::<i32>().value_offsets()),
        other => match other.primitive_width() {
            Some(width) => count * width,
            // Nested and view types are rare on edges: the buffers' own size, an upper bound.
            None => column.get_buffer_memory_size(),
        },
    };
    values + nulls
}

fn offsets_span(offsets: &[i32]) -> usize {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => last.saturating_sub(*first).max(0) as usize,
        _ => 0,
    }
}
