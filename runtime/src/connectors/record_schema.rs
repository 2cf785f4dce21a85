//! What a sink of records demands of the rows that it is given, known before anything is opened.

use api::pipeline::{Encoder, KafkaSink, Sink};
use arrow::datatypes::{DataType, Schema};

use super::SinkError;

/// Whether rows of `schema` can be records: the key's columns are there, and raw bytes are one column beside them.
///
/// # Errors
/// [`SinkError::Schema`] naming the column or what is wanted.
pub(super) fn check(sink: &Sink, kafka: &KafkaSink, schema: &Schema) -> Result<(), SinkError> {
    let refuse = |message: String| Err(SinkError::Schema { sink: sink.name.clone(), message });
    for name in &kafka.key {
        if schema.column_with_name(name).is_none() {
            let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return refuse(format!("key: there is no column `{name}`; write some of: {}", columns.join(", ")));
        }
    }
    match sink.encoder() {
        Encoder::Json => Ok(()),
        Encoder::Raw => {
            let (keys, values): (Vec<_>, Vec<_>) =
                schema.fields().iter().partition(|field| kafka.key.contains(field.name()));
            let is_value = |kind: &DataType| matches!(kind, DataType::Binary);
            let is_key = |kind: &DataType| matches!(kind, DataType::Binary | DataType::Utf8);
            if !matches!(values.as_slice(), [value] if is_value(value.data_type())) {
                let given: Vec<_> =
                    values.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
                return refuse(format!(
                    "raw writes exactly one column of type VARBINARY beside those of the key, and is given: {}; select it alone",
                    given.join(", ")
                ));
            }
            if keys.len() > 1 || !keys.iter().all(|key| is_key(key.data_type())) {
                return refuse(
                    "raw writes the key's bytes; name at most one column, of type VARBINARY or VARCHAR".to_owned(),
                );
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use serde_json::json;

    use super::*;

    /// What is said of a sink with this key and format that is given these columns.
    fn said(key: &[&str], format: &str, columns: &[(&str, DataType)]) -> Option<String> {
        let sink: Sink = serde_json::from_value(json!({
            "name": "out", "input": "x", "kafka": { "connection": "main", "topic": "t", "key": key }, "format": { format: {} },
        }))
        .unwrap();
        let fields: Vec<_> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        check(&sink, sink.kafka.as_ref().unwrap(), &Schema::new(fields)).err().map(|error| error.to_string())
    }

    #[test]
    fn key_columns_must_be_there() {
        let columns = [("customer", DataType::Int64), ("total", DataType::Int64)];
        assert_eq!(said(&["customer"], "json", &columns), None);
        assert_eq!(
            said(&["custmer"], "json", &columns).unwrap(),
            "sink `out`: key: there is no column `custmer`; write some of: customer, total"
        );
    }

    #[test]
    fn raw_takes_one_column_of_bytes_beside_the_key() {
        let (bytes, text, number) = (DataType::Binary, DataType::Utf8, DataType::Int64);
        for (key, columns, refused) in [
            (&[][..], &[("v", bytes.clone())][..], None),
            (&["k"], &[("k", bytes.clone()), ("v", bytes.clone())], None),
            (&["k"], &[("k", text.clone()), ("v", bytes.clone())], None),
            (&[], &[("v", text)], Some("exactly one column")),
            (&[], &[("v", bytes.clone()), ("w", bytes.clone())], Some("exactly one column")),
            (&["v"], &[("v", bytes.clone())], Some("exactly one column")),
            (&["k"], &[("k", number), ("v", bytes.clone())], Some("at most one column")),
            (&["k", "l"], &[("k", bytes.clone()), ("l", bytes.clone()), ("v", bytes)], Some("at most one column")),
        ] {
            let said = said(key, "raw", columns);
            assert_eq!(said.is_some(), refused.is_some(), "{said:?}");
            assert!(refused.is_none_or(|refused| said.as_ref().is_some_and(|said| said.contains(refused))), "{said:?}");
        }
    }
}
