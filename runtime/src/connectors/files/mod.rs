//! Files as source (JSON Lines, CSV, Parquet) and as sink (JSON Lines, two-phase).

mod committer;
mod csv;
mod exact;
mod feed;
pub mod filesystem;
mod names;
mod parquet;
mod position;
mod sink;
mod source;
mod text;

#[cfg(test)]
mod tests;

pub use self::sink::FilesSink;
pub use self::source::FilesSource;
