//! Bytes to columns and rows to bytes, for every connector that carries text.

pub(in crate::connectors) mod buffer;
pub(in crate::connectors) mod encode;
pub(in crate::connectors) mod json;
pub(in crate::connectors) mod json_text;
pub(in crate::connectors) mod records;
