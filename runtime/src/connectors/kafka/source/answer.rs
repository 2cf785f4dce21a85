//! One answer on its way out: its batches in order, without those that are not rows.

use bytes::Bytes;

use super::aborted::{Aborted, Kind};
use super::batch::{Batch, Malformed};
use super::inbox::Fetched;
use super::records::OpenBatch;

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    Rows(OpenBatch),
    /// No rows: everything below `next` is passed over.
    Skipped {
        next: i64,
        leader_epoch: i32,
    },
    /// Nothing more; offsets below it are not there.
    End {
        empty_below: i64,
    },
}

pub(super) struct Answer {
    rest: Bytes,
    aborted: Aborted,
    empty_below: i64,
}

impl Answer {
    pub(super) fn new(Fetched { records, aborted, empty_below }: Fetched) -> Self {
        Self { rest: records, aborted: Aborted::new(&aborted), empty_below }
    }

    /// # Errors
    /// A batch that is damaged.
    pub(super) fn step(&mut self) -> Result<Step, Malformed> {
        let Some(batch) = Batch::take(&mut self.rest)? else {
            return Ok(Step::End { empty_below: self.empty_below });
        };
        Ok(match self.aborted.judge(&batch)? {
            Kind::Rows => Step::Rows(OpenBatch::open(&batch)?),
            Kind::Control | Kind::Aborted => {
                Step::Skipped { next: batch.head.last_offset + 1, leader_epoch: batch.head.leader_epoch }
            }
        })
    }
}
