//! How large a record may be: asked before the first attempt, and again when a broker has refused what had passed.

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

    /// Records have come back as too large. Whether another attempt, which asks for the limit again, may do better: a
    /// record that is too large by itself is told by its row then, and too large a request is made smaller.
    pub(super) fn doubt(&mut self) -> bool {
        if self.trust == Trust::Confirmed {
            return false;
        }
        self.trust = Trust::Doubted;
        true
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
        assert!(limit.doubt() && limit.doubt() && limit.is_doubted());
        limit.learn(Some(1_000));
        assert!(!limit.is_doubted() && limit.bytes() == Some(1_000));
        assert!(limit.doubt());
        limit.learn(None);
        assert!(!limit.doubt() && !limit.is_doubted() && limit.bytes() == Some(1_000));
        limit.learn(Some(3_000));
        assert!(limit.doubt() && limit.bytes() == Some(3_000));
        limit.learn(Some(3_000));
        assert!(!limit.doubt());
    }
}
