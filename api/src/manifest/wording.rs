//! Turns a schema's patterns into words: what is wrong with a text and what to write instead.

use super::finding::nearest;
use crate::pipeline::{
    ACCOUNT, BROKER, BUCKET, CONTAINER, ColumnType, Duration, ENDPOINT, Factor, GCS_BUCKET, HTTPS, MOMENT, PREFIX,
    REGION, SECRET_KEY, SECRET_NAME, TOPIC, Until,
};

/// Patterns that have words of their own here; the schema holds the same texts.
pub(super) const NAME: &str = "^[a-z_][a-z0-9_]*$";
pub(super) const RESOURCE_NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
const COLUMN_NAME: &str = "^[A-Za-z_@$][A-Za-z0-9_@$.-]*$";
const DELIMITER: &str = "^[ -~\t]$";
const IDENTIFIER: &str = "^[A-Za-z0-9._-]+$";
const VISIBLE: &str = "^[!-~]+$";

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
        BROKER => (format!("`{shown}` is not host:port"), Some("write it as broker:9092".to_owned())),
        TOPIC => (format!("`{shown}` cannot be a topic's name: letters, digits and . _ - only"), None),
        IDENTIFIER => (format!("`{shown}` has other characters than letters, digits and . _ -"), None),
        VISIBLE => (format!("`{shown}` has other characters than visible ones of ASCII"), None),
        SECRET_NAME => {
            let message = format!("`{shown}` cannot be a secret's name: only a-z, 0-9, - and dots between them");
            (message, rewrite(&shown, '-').map(|name| format!("write {name}")))
        }
        SECRET_KEY => {
            let rule = "letters, digits and . _ - only, and no two dots at its beginning";
            (format!("`{shown}` cannot be a secret's key: {rule}"), None)
        }
        BUCKET | GCS_BUCKET | ACCOUNT | CONTAINER | PREFIX | REGION | ENDPOINT | HTTPS => of_bucket(pattern, &shown),
        _ if pattern.contains(MOMENT) => {
            (format!("`{shown}` is no position in a log"), Some(position(pattern, &shown)))
        }
        _ => typed(pattern, &shown),
    }
}

/// Patterns of checkpoint storage in a bucket.
fn of_bucket(pattern: &str, shown: &str) -> (String, Option<String>) {
    match pattern {
        BUCKET | GCS_BUCKET | CONTAINER => {
            let (what, rule) = match pattern {
                BUCKET => ("bucket", "only a-z, 0-9, . and -, a letter or digit at both ends"),
                GCS_BUCKET => ("bucket", "only a-z, 0-9 and . _ -, a letter or digit at both ends"),
                _ => ("container", "only a-z, 0-9 and single -, a letter or digit at both ends"),
            };
            (
                format!("`{shown}` cannot be a {what}'s name: {rule}"),
                rewrite(shown, '-').filter(|name| name != shown).map(|name| format!("write {name}")),
            )
        }
        ACCOUNT => (format!("`{shown}` cannot be a storage account's name: only a-z and 0-9"), None),
        PREFIX => {
            let rule = "letters, digits and . _ = - in parts joined by single slashes, none of which begins with a dot";
            let parts = shown.split('/').filter(|part| !part.is_empty());
            let plain = parts.map(|part| part.trim_start_matches('.')).collect::<Vec<_>>().join("/");
            let fix = (!plain.is_empty() && plain != shown).then(|| format!("write {plain}"));
            (format!("`{shown}` cannot be a prefix: {rule}"), fix)
        }
        REGION => (format!("`{shown}` cannot be a region's name"), Some("write it as eu-central-1".to_owned())),
        HTTPS => {
            let fix = "write it as https://shop.blob.core.usgovcloudapi.net, without a path";
            (format!("`{shown}` is not where an account's blobs are reached"), Some(fix.to_owned()))
        }
        _ => {
            let fix = "write it as https://s3.example.com or http://minio:9000, without a path";
            (format!("`{shown}` is not where a store is reached"), Some(fix.to_owned()))
        }
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

/// What is wrong with a text that its pattern takes.
pub(super) fn impossible(pattern: &str, text: &str) -> Option<String> {
    if !pattern.contains(MOMENT) || words(pattern).any(|word| word == text) || text.parse::<Until>().is_ok() {
        return None;
    }
    Some(format!("`{text}` is no day of the calendar, or lies before 1970"))
}

/// What to write instead of a mapping of which this is the first entry; `None` where nothing better than text is known.
pub(super) fn instead_of_mapping(pattern: &str, key: &str, value: Option<&str>) -> Option<String> {
    if !pattern.contains(MOMENT) {
        return None;
    }
    Some(match value {
        Some(moment) if key == "timestamp" => format!("write the moment itself: \"{moment}\""),
        None if key == "offsets" => "write untilOffsets in its place".to_owned(),
        Some(_) | None => position(pattern, key),
    })
}

fn words(pattern: &str) -> impl Iterator<Item = &str> {
    let before = pattern.split(MOMENT).next().unwrap_or_default();
    before.trim_start_matches("^(").split('|').filter(|word| !word.is_empty())
}

fn position(pattern: &str, shown: &str) -> String {
    match nearest(shown, words(pattern)) {
        Some(near) => format!("write {near}"),
        None => {
            format!("write {}, or a moment as \"2026-01-01T00:00:00Z\"", words(pattern).collect::<Vec<_>>().join(", "))
        }
    }
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
