//! One file as a split, whatever its format.

use std::time::Duration;

use super::parquet::ParquetFeed;
use super::text::TextFeed;
use crate::connectors::reader::{Fed, Feed};
use crate::connectors::{Reached, SourceError};

/// Reader of one file.
pub(super) enum FileFeed {
    Text(Box<TextFeed>),
    Parquet(Box<ParquetFeed>),
}

impl Feed for FileFeed {
    fn poll(&mut self, _: Duration) -> Result<Fed, SourceError> {
        match self {
            Self::Text(feed) => feed.poll(),
            Self::Parquet(feed) => feed.poll(),
        }
    }

    fn deliver(&mut self, rows: usize) {
        match self {
            Self::Text(feed) => feed.deliver(rows),
            Self::Parquet(feed) => feed.deliver(rows),
        }
    }

    fn place(&self, begin: usize, end: usize) -> String {
        match self {
            Self::Text(feed) => feed.place(begin, end),
            Self::Parquet(feed) => feed.place(begin, end),
        }
    }

    fn reached(&self) -> Reached {
        match self {
            Self::Text(feed) => feed.position().reached(),
            Self::Parquet(feed) => feed.position().reached(),
        }
    }

    fn position(&self) -> String {
        match self {
            Self::Text(feed) => feed.position().encode(),
            Self::Parquet(feed) => feed.position().encode(),
        }
    }

    fn rest(&mut self) {
        match self {
            Self::Text(feed) => feed.rest(),
            Self::Parquet(feed) => feed.rest(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Text(feed) => feed.bytes(),
            Self::Parquet(feed) => feed.bytes(),
        }
    }

    fn decode_errors(&self) -> u64 {
        match self {
            Self::Text(feed) => feed.skipped(),
            Self::Parquet(_) => 0,
        }
    }
}
