//! What became of a transaction that some process prepared, and how to end it without that process.
//!
//! The log of a partition is the truth; the coordinator forgets, and answers by the newest that it knows of an id. All of
//! this holds because one (producer id, epoch) is used for one transaction only: an end can then hit no other one.
//!
//! # Source
//! KIP-98, KIP-360, KIP-664; KAFKA-17754 for what goes wrong without that rule.

mod answer;
mod classify;
mod end;
mod leftovers;
mod mend;
mod prepared;
mod verdict;

pub use self::answer::{Reading, read_end};
pub use self::classify::classify;
pub use self::end::{AbortAnswer, CommitAnswer, aborted, committed, end, ready};
pub use self::leftovers::{fence, is_ending, is_open, leftovers};
pub use self::prepared::{PreparedTransaction, Witness};
pub use self::verdict::Outcome;
