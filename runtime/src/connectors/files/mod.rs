//! Files as source (JSON Lines, CSV, Parquet) and as sink (JSON Lines, two-phase).

mod buffer;
mod committer;
mod csv;
mod encode;
mod exact;
mod feed;
pub mod filesystem;
mod json;
mod json_text;
mod names;
mod parquet;
mod position;
mod records;
mod sink;
mod source;
mod text;

#[cfg(test)]
mod tests;

pub use self::sink::FilesSink;
pub use self::source::FilesSource;
