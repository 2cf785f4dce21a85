//! Turns a schema's patterns into words: what is wrong with a text and what to write instead.

use super::finding::nearest;
use crate::pipeline::{ColumnType, Duration, Factor};

/// Patterns that have words of their own here; the schema holds the same texts.
pub(super) const NAME: &str = "^[a-z_][a-z0-9_]*$";
pub(super) const RESOURCE_NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
const COLUMN_NAME: &str = "^[A-Za-z_@$][A-Za-z0-9_@$.-]*$";
const DELIMITER: &str = "^[ -~\t]$";

/// Types by the names that other systems give them.
const OTHER_TYPE_NAMES: [(&str, &str); 22] = [
    ("STRING", "VARCHAR"),
    ("TEXT", "VARCHAR"),
    ("CHAR", "VARCHAR"),
    ("UTF8", "VARCHAR"),
    ("INTEGER", "INT"),
    ("INT32", "INT"),
    ("LONG", "BIGINT"),
    ("INT64", "BIGINT"),
    ("INT8", "BIGINT"),
    ("INT16", "SMALLINT"),
    ("SHORT", "SMALLINT"),
    ("REAL", "FLOAT"),
    ("FLOAT32", "FLOAT"),
    ("FLOAT64", "DOUBLE"),
    ("NUMBER", "DOUBLE"),
    ("BOOL", "BOOLEAN"),
    ("DATETIME", "TIMESTAMP"),
    ("TIME", "TIMESTAMP"),
    ("NUMERIC", "DECIMAL(18,2)"),
    ("DECIMAL", "DECIMAL(18,2)"),
    ("BYTES", "VARBINARY"),
    ("BINARY", "VARBINARY"),
];

const TYPE_NAMES: [&str; 10] =
    ["BIGINT", "INT", "SMALLINT", "DOUBLE", "FLOAT", "BOOLEAN", "VARCHAR", "TIMESTAMP", "DATE", "VARBINARY"];

/// What is wrong with a text that does not match its pattern, and the fix.
pub(super) fn mismatch(pattern: &str, text: &str) -> (String, Option<String>) {
    let shown: String = text.chars().take(60).collect();
    match pattern {
        NAME => {
            let message = format!("`{shown}` cannot be a name: only a-z, 0-9 and _, since SQL reads it without quotes");
            (message, rewrite(&shown, '_').map(|name| format!("write {name}")))
        }
        RESOURCE_NAME => {
            let message = format!("`{shown}` cannot be a resource's name: only a-z, 0-9 and -");
            (message, rewrite(&shown, '-').map(|name| format!("write {name}")))
        }
        COLUMN_NAME => (format!("`{shown}` cannot be a column's name: letters, digits and _ @ $ . - only"), None),
        DELIMITER => (format!("`{shown}` is not one ASCII character"), None),
        _ => typed(pattern, &shown),
    }
}

/// Patterns of own types: recognised by what they accept.
fn typed(pattern: &str, shown: &str) -> (String, Option<String>) {
    if pattern.contains("h|m|s|ms") {
        return split(&shown.parse::<Duration>().map_or_else(|invalid| invalid.to_string(), |_| pattern.to_owned()));
    }
    if pattern.contains("[.]") {
        return split(&shown.parse::<Factor>().map_or_else(|invalid| invalid.to_string(), |_| pattern.to_owned()));
    }
    if pattern.contains("BIGINT") {
        return column_type(shown);
    }
    (format!("`{shown}` does not match {pattern}"), None)
}

fn column_type(shown: &str) -> (String, Option<String>) {
    let upper = shown.to_uppercase().replace(' ', "");
    let base = upper.split('(').next().unwrap_or_default();
    let other = OTHER_TYPE_NAMES.iter().find(|(name, _)| *name == base).map(|(_, meant)| (*meant).to_owned());
    let meant = match upper.parse::<ColumnType>() {
        Ok(meant) => Some(meant.to_string()),
        Err(_) => other.or_else(|| nearest(base, TYPE_NAMES).map(str::to_owned)),
    };
    let message = format!("`{shown}` is not a column type");
    let fix = match meant {
        Some(meant) => format!("write {meant}"),
        None => format!("write one of {}, DECIMAL(p,s)", TYPE_NAMES.join(", ")),
    };
    (message, Some(fix))
}

/// Splits `what is wrong; what to write` at the semicolon.
pub(super) fn split(message: &str) -> (String, Option<String>) {
    match message.split_once("; ") {
        Some((wrong, fix)) => (wrong.to_owned(), Some(fix.to_owned())),
        None => (message.to_owned(), None),
    }
}

/// The nearest name that the pattern takes.
fn rewrite(text: &str, joint: char) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { joint };
    let name: String = text.chars().map(plain).collect();
    let name = name.trim_matches(joint);
    let begins = joint == '-' || name.starts_with(|c: char| c.is_ascii_lowercase());
    (begins && !name.is_empty()).then(|| name.to_owned())
}
