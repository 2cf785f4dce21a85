//! How large a record may be: asked before the first attempt, and again when a broker has refused what had passed.

/// What a batch of one record needs beside its key and value, at most.
pub(super) const BATCH_HEAD_BYTES: u32 = 128;

/// What a broker means that calls a request too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// Not known yet: another attempt, which asks for the limit again, may do better. A record that is too large by itself
    /// is told by its row then, and too large a request is made smaller.
    Limit,
    /// Its largest record is too large by itself.
    Record,
    /// No record is known to be: they are together.
    Request,
}

/// The topic's `max.message.bytes`.
#[derive(Debug, Default)]
pub(super) struct RecordLimit {
    bytes: Option<u32>,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Full,
    /// A broker has refused records that were small enough: somebody may have lowered the limit.
    Doubted,
    /// It was asked for again and is the same: what is refused from now on is refused for good.
    Confirmed,
}

impl RecordLimit {
    pub(super) fn bytes(&self) -> Option<u32> {
        self.bytes
    }

    /// A request whose largest record has so many bytes has come back as too large.
    pub(super) fn blame(&mut self, bytes: usize) -> Blame {
        if self.trust != Trust::Confirmed {
            self.trust = Trust::Doubted;
            return Blame::Limit;
        }
        let fits = |limit: u32| bytes.saturating_add(BATCH_HEAD_BYTES as usize) <= limit as usize;
        if self.bytes.is_none_or(fits) { Blame::Request } else { Blame::Record }
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.trust == Trust::Doubted
    }

    /// `bytes`: None if it is not told; then the one that is known holds on.
    pub(super) fn learn(&mut self, bytes: Option<u32>) {
        let is_same = bytes.is_none() || bytes == self.bytes;
        self.trust = if is_same && self.is_doubted() { Trust::Confirmed } else { Trust::Full };
        self.bytes = bytes.or(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_doubted_until_it_is_asked_for_again_and_has_not_changed() {
        let mut limit = RecordLimit::default();
        limit.learn(Some(2_000));
        assert!(limit.blame(1_500) == Blame::Limit && limit.blame(1_500) == Blame::Limit && limit.is_doubted());
        limit.learn(Some(1_000));
        assert!(!limit.is_doubted() && limit.bytes() == Some(1_000));
        assert_eq!(limit.blame(900), Blame::Limit);
        limit.learn(None);
        assert!(limit.blame(900) != Blame::Limit && !limit.is_doubted() && limit.bytes() == Some(1_000));
        limit.learn(Some(3_000));
        assert!(limit.blame(900) == Blame::Limit && limit.bytes() == Some(3_000));
        limit.learn(Some(3_000));
        assert_ne!(limit.blame(900), Blame::Limit);
    }

    #[test]
    fn a_record_is_to_blame_only_where_it_is_larger_than_a_limit_that_is_known() {
        let mut limit = RecordLimit::default();
        assert_eq!(limit.blame(900), Blame::Limit);
        limit.learn(None);
        assert_eq!(limit.blame(5_000_000), Blame::Request, "it is not known how large one may be");
        limit.learn(Some(1_000));
        assert_eq!(limit.blame(900), Blame::Limit);
        limit.learn(Some(1_000));
        assert_eq!(limit.blame(872), Blame::Request);
        assert_eq!(limit.blame(873), Blame::Record);
        assert_eq!(limit.blame(usize::MAX), Blame::Record);
    }
}
