//! Rows as keys and values of records.

use std::ops::Range;

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::connectors::formats::encode::JsonEncoder;

/// How a schema's rows become records.
pub(super) struct RowEncoder {
    values: Values,
    /// Columns of the key, in its order.
    key: Vec<usize>,
    /// Of the key alone, for all kinds but a single text or bytes.
    key_encoder: Option<JsonEncoder>,
    /// Columns beside the key; when all of them are NULL the row is a tombstone. Empty: never.
    rest: Vec<usize>,
}

enum Values {
    Json(JsonEncoder),
    /// The one column of bytes.
    Raw(usize),
}

/// A batch as records: slices of shared buffers.
#[derive(Default)]
pub(super) struct Records {
    values: Vec<u8>,
    keys: Vec<u8>,
    /// `None`: a tombstone.
    value_ranges: Vec<Option<Range<usize>>>,
    /// Empty when there is no key at all.
    key_ranges: Vec<Option<Range<usize>>>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.value_ranges.len()
    }

    /// Key and value of one record.
    pub(super) fn get(&self, record: usize) -> (Option<&[u8]>, Option<&[u8]>) {
        let slice = |bytes, range: Option<&Option<Range<usize>>>| {
            range.cloned().flatten().and_then(|range| bytes_of(bytes, range))
        };
        (slice(&self.keys, self.key_ranges.get(record)), slice(&self.values, self.value_ranges.get(record)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.len() + self.keys.len()
    }
}

fn bytes_of(bytes: &[u8], range: Range<usize>) -> Option<&[u8]> {
    bytes.get(range)
}

impl RowEncoder {
    /// `raw`: the value is the one column of bytes that is not in the key.
    ///
    /// # Errors
    /// Names the column that is missing, or that no record can hold.
    pub(super) fn new(schema: &SchemaRef, key: &[String], raw: bool) -> Result<Self, String> {
        let find = |name: &String| {
            schema.index_of(name).map_err(|_| {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("key names column `{name}`, and the input has {}", known.join(", "))
            })
        };
        let key = key.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let beside: Vec<usize> = (0..schema.fields().len()).filter(|index| !key.contains(index)).collect();
        let values =
            if raw { Values::Raw(raw_column(schema, &beside)?) } else { Values::Json(JsonEncoder::new(schema)?) };
        let rest = if key.is_empty() || raw { Vec::new() } else { beside };
        let project = |columns: &[usize]| schema.project(columns).map_err(|error| error.to_string());
        let key_encoder = match key.as_slice() {
            [] => None,
            [one] if is_bytes(schema.field(*one).data_type()) => None,
            several => Some(JsonEncoder::new(&project(several)?)?),
        };
        Ok(Self { values, key, key_encoder, rest })
    }

    /// # Errors
    /// Names the column and the value that a record cannot hold.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Records, String> {
        let mut records = Records::default();
        match &self.values {
            Values::Json(encoder) => {
                encoder.encode(rows, &mut records.values)?;
                lines(&records.values, &mut records.value_ranges);
                self.bury(rows, &mut records.value_ranges);
            }
            Values::Raw(column) => binary(rows.columns().get(*column), &mut records.values, &mut records.value_ranges)?,
        }
        match (self.key.as_slice(), &self.key_encoder) {
            ([], _) => {}
            ([one], None) => binary(rows.columns().get(*one), &mut records.keys, &mut records.key_ranges)?,
            (key, Some(encoder)) => {
                let key_rows = rows.project(key).map_err(|error| error.to_string())?;
                encoder.encode(&key_rows, &mut records.keys)?;
                lines(&records.keys, &mut records.key_ranges);
            }
            (_, None) => return Err("a key of several columns needs an encoder".to_owned()),
        }
        Ok(records)
    }

    /// Rows that say nothing but their key are tombstones.
    fn bury(&self, rows: &RecordBatch, ranges: &mut [Option<Range<usize>>]) {
        let columns: Vec<&ArrayRef> = self.rest.iter().filter_map(|column| rows.columns().get(*column)).collect();
        if columns.is_empty() || columns.iter().any(|column| column.null_count() == 0) {
            return;
        }
        for (row, range) in ranges.iter_mut().enumerate() {
            if columns.iter().all(|column| column.is_null(row)) {
                *range = None;
            }
        }
    }
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Binary)
}

fn raw_column(schema: &Schema, beside: &[usize]) -> Result<usize, String> {
    match beside {
        [one] if *schema.field(*one).data_type() == DataType::Binary => Ok(*one),
        _ => Err("format raw writes one column of type VARBINARY beside the key; select that one, or write format: {json: {}}".to_owned()),
    }
}

/// Each line without its end.
fn lines(bytes: &[u8], ranges: &mut Vec<Option<Range<usize>>>) {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        ranges.push(Some(begin..end));
        begin = end + 1;
    }
}

fn binary(
    column: Option<&ArrayRef>,
    bytes: &mut Vec<u8>,
    ranges: &mut Vec<Option<Range<usize>>>,
) -> Result<(), String> {
    let mut push = |value: Option<&[u8]>| {
        let begin = bytes.len();
        ranges.push(value.map(|value| {
            bytes.extend_from_slice(value);
            begin..bytes.len()
        }));
    };
    let column = column.ok_or("a column is missing")?;
    if let Some(texts) = column.as_string_opt::<i32>() {
        StringArray::iter(texts).for_each(|text| push(text.map(str::as_bytes)));
        return Ok(());
    }
    let values: &BinaryArray =
        column.as_binary_opt::<i32>().ok_or_else(|| format!("{} is no bytes", column.data_type()))?;
    values.iter().for_each(push);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn rows() -> RecordBatch {
        let customer: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let name: ArrayRef = Arc::new(StringArray::from(vec![Some("a\nb"), None, Some("")]));
        RecordBatch::try_from_iter([("customer", customer), ("name", name)]).unwrap()
    }

    type Pair = (Option<String>, Option<String>);

    fn encoded(key: &[&str]) -> Vec<Pair> {
        let rows = rows();
        let key: Vec<String> = key.iter().map(ToString::to_string).collect();
        let records = RowEncoder::new(&rows.schema(), &key, false).unwrap().encode(&rows).unwrap();
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        (0..records.len()).map(|record| records.get(record)).map(|(key, value)| (text(key), text(value))).collect()
    }

    fn pair(key: Option<&str>, value: Option<&str>) -> Pair {
        (key.map(ToOwned::to_owned), value.map(ToOwned::to_owned))
    }

    #[test]
    fn a_row_is_one_json_object_and_its_key_columns_make_the_key() {
        let values =
            [r#"{"customer":1,"name":"a\nb"}"#, r#"{"customer":2,"name":null}"#, r#"{"customer":null,"name":""}"#];
        assert_eq!(encoded(&[]), values.map(|value| pair(None, Some(value))));
        assert_eq!(
            encoded(&["customer"]),
            [
                pair(Some(r#"{"customer":1}"#), Some(values[0])),
                pair(Some(r#"{"customer":2}"#), None),
                pair(Some(r#"{"customer":null}"#), Some(values[2])),
            ],
            "nothing beside the key is a tombstone"
        );
    }

    #[test]
    fn a_single_text_is_the_key_as_it_is() {
        let keys: Vec<_> = encoded(&["name"]).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [Some("a\nb".to_owned()), None, Some(String::new())]);
    }

    #[test]
    fn a_key_that_is_no_column_is_refused_with_those_that_are() {
        let error = RowEncoder::new(&rows().schema(), &["cust".to_owned()], false).err().unwrap();
        assert!(error.contains("cust") && error.contains("customer, name"), "{error}");
        let error = RowEncoder::new(&rows().schema(), &[], true).err().unwrap();
        assert!(error.contains("VARBINARY"), "{error}");
    }
}
