//! How large a record may be: asked before the first attempt, and again when a broker has refused a request that was small
//! enough. Where nobody tells, requests are made smaller until a record that is refused was alone in its own.

/// The head of a batch, which the topic's limit counts and librdkafka's does not (message format 2).
pub(super) const BATCH_HEAD_BYTES: u32 = 61;
/// Requests that are not larger, from one refusal to the next: of records that are large, then of all, each is alone.
const SMALLER_REQUESTS: [u32; 2] = [1_000, 1];
/// What a record needs in a batch beside its key and value, at least (message format 2).
const RECORD_HEAD_BYTES: usize = 7;

/// The topic's `max.message.bytes`, and what is made of it.
#[derive(Debug, Default)]
pub(super) struct RecordLimit {
    bytes: Option<u32>,
    /// librdkafka's `batch.size`, where a request was refused and the limit does not tell why. What does not fit with others
    /// is sent alone, however large.
    request_bytes: Option<u32>,
    /// A request was refused: somebody may have lowered the limit.
    is_doubted: bool,
}

impl RecordLimit {
    pub(super) fn bytes(&self) -> Option<u32> {
        self.bytes
    }

    pub(super) fn request_bytes(&self) -> Option<u32> {
        self.request_bytes
    }

    /// A request whose largest record has so many bytes has come back as too large: whether that record is so by itself. Else
    /// it is not known, and another attempt, which asks for the limit again, will know more.
    pub(super) fn is_to_blame(&mut self, bytes: usize) -> bool {
        let was_alone = |request: u32| bytes.saturating_add(RECORD_HEAD_BYTES) > request as usize;
        let is_to_blame = self.request_bytes.is_some_and(was_alone);
        self.is_doubted |= !is_to_blame;
        is_to_blame
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// `bytes`: None if it is not told; then the one that is known holds on.
    pub(super) fn learn(&mut self, bytes: Option<u32>) {
        if bytes.is_some() && bytes != self.bytes {
            (self.bytes, self.request_bytes) = (bytes, None);
        } else if self.is_doubted {
            let is_smaller = |next: &u32| self.request_bytes.is_none_or(|now| *next < now);
            self.request_bytes = SMALLER_REQUESTS.into_iter().find(is_smaller).or(self.request_bytes);
        }
        self.is_doubted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_asked_for_again_once_a_request_was_refused() {
        let mut limit = RecordLimit::default();
        limit.learn(Some(2_000));
        assert!(!limit.is_to_blame(1_500) && !limit.is_to_blame(1_500) && limit.is_doubted());
        limit.learn(Some(1_000));
        assert!(!limit.is_doubted() && limit.bytes() == Some(1_000) && limit.request_bytes().is_none());
    }

    #[test]
    fn a_record_is_to_blame_that_was_alone_in_its_request() {
        for known in [None, Some(1_000)] {
            let mut limit = RecordLimit::default();
            limit.learn(known);
            assert!(!limit.is_to_blame(5_000_000), "others may have been with it");
            limit.learn(None);
            assert_eq!((limit.bytes(), limit.request_bytes()), (known, Some(1_000)));
            assert!(limit.is_to_blame(994) && !limit.is_doubted());
            assert!(!limit.is_to_blame(993) && limit.is_doubted(), "two of them may have been together");
            limit.learn(known);
            assert_eq!(limit.request_bytes(), Some(1));
            assert!(limit.is_to_blame(0) && limit.is_to_blame(usize::MAX) && !limit.is_doubted());
        }
    }

    #[test]
    fn with_another_limit_requests_are_as_large_as_it_allows() {
        let mut limit = RecordLimit::default();
        assert!(!limit.is_to_blame(900));
        limit.learn(None);
        assert_eq!(limit.request_bytes(), Some(1_000));
        limit.learn(Some(3_000));
        assert_eq!((limit.bytes(), limit.request_bytes()), (Some(3_000), None));
        assert!(!limit.is_to_blame(900));
        limit.learn(Some(3_000));
        assert_eq!((limit.bytes(), limit.request_bytes()), (Some(3_000), Some(1_000)));
    }
}
