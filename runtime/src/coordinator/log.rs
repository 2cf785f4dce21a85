//! Carries out what the protocol asks of the log: names, encoding, and waiting between tries of unknown outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use checkpoint::ids::{Attempt, LogIndex};
use checkpoint::log::{Listing, Reply, Request};
use checkpoint::paths;
use checkpoint::record::{self, Claim, Entry, Position, Stored};

use super::error::CoordinatorError;
use crate::clock::Clock;
use crate::store::{CheckpointStore, Created, StoreError};

/// Answers in a row that may be unknown before the attempt ends; the next one finds out what became of it.
const MAX_UNKNOWN: u32 = 7;
/// The wait after the first unknown answer; doubled with each.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// One log of a store. Cheap to clone; clones count unknown answers together.
#[derive(Clone)]
pub struct Log {
    pub store: Arc<dyn CheckpointStore>,
    pub index: LogIndex,
    clock: Arc<dyn Clock>,
    unknown: Arc<AtomicU32>,
}

impl Log {
    pub fn new(store: Arc<dyn CheckpointStore>, index: LogIndex, clock: Arc<dyn Clock>) -> Self {
        Self { store, index, clock, unknown: Arc::default() }
    }

    /// The address of a record, as people see it.
    pub fn handle(&self, at: Position) -> String {
        self.store.address(&paths::record(self.index, at))
    }

    /// One operation, once. An error of the store is [`Reply::Unknown`], after a wait; only the last of too many in a
    /// row ends the attempt, which is as if it had crashed here: whatever it had sent, the next attempt deals with it.
    ///
    /// # Errors
    /// A store that does not answer, and objects that are not what they should be.
    pub async fn carry_out(&self, request: Request) -> Result<Reply, CoordinatorError> {
        let answer = match request {
            Request::List => match self.store.list(&paths::attempts(self.index)).await {
                Ok(names) => return Ok(self.known(Reply::Listed(self.sort(&names)?))),
                Err(error) => Err(error),
            },
            Request::ReadClaim(attempt) => match self.store.read(&paths::claim(self.index, attempt)).await {
                Ok(body) => {
                    let claim = body.map(|body| self.decode(&paths::claim(self.index, attempt), &body));
                    return Ok(self.known(Reply::Claim(claim.transpose()?.map(Arc::new))));
                }
                Err(error) => Err(error),
            },
            Request::ReadSlot(at) => match self.store.read(&paths::record(self.index, at)).await {
                Ok(body) => {
                    let entry = body.map(|body| self.decode(&paths::record(self.index, at), &body));
                    return Ok(self.known(Reply::Entry(entry.transpose()?.map(Arc::new))));
                }
                Err(error) => Err(error),
            },
            Request::CreateClaim(attempt, claim) => {
                self.create(&paths::claim(self.index, attempt), claim.as_ref()).await?
            }
            Request::CreateSlot(at, entry) => self.create(&paths::record(self.index, at), entry.as_ref()).await?,
        };
        match answer {
            Ok(Created::New) => Ok(self.known(Reply::Created)),
            Ok(Created::Exists) => Ok(self.known(Reply::Exists)),
            Err(error) => self.unknown(error).await,
        }
    }

    /// A listing outside of any machine.
    ///
    /// # Errors
    /// As [`Log::carry_out`], without waiting.
    pub async fn list(&self) -> Result<(Listing, Vec<String>), CoordinatorError> {
        let names = self.store.list(&paths::attempts(self.index)).await?;
        Ok((self.sort(&names)?, names))
    }

    /// The claim of an attempt.
    ///
    /// # Errors
    /// Claims are kept for ever: a missing one is corrupt.
    pub async fn claim(&self, attempt: Attempt) -> Result<Claim, CoordinatorError> {
        let name = paths::claim(self.index, attempt);
        match self.store.read(&name).await? {
            Some(body) => self.decode(&name, &body),
            None => Err(self.corrupt(&name, "claim is missing")),
        }
    }

    /// A record, if it is (still) there.
    ///
    /// # Errors
    /// As [`Log::carry_out`], without waiting.
    pub async fn entry(&self, at: Position) -> Result<Option<Entry>, CoordinatorError> {
        let name = paths::record(self.index, at);
        self.store.read(&name).await?.map(|body| self.decode(&name, &body)).transpose()
    }

    /// # Errors
    /// The object's address and what is wrong with it.
    pub fn decode<T: Stored>(&self, name: &str, body: &[u8]) -> Result<T, CoordinatorError> {
        record::decode(body).map_err(|error| self.corrupt(name, &error.to_string()))
    }

    pub fn corrupt(&self, name: &str, reason: &str) -> CoordinatorError {
        CoordinatorError::Corrupt { address: self.store.address(name), reason: reason.to_owned() }
    }

    fn sort(&self, names: &[String]) -> Result<Listing, CoordinatorError> {
        Listing::from_names(self.index, names.iter().map(String::as_str))
            .map_err(|error| self.corrupt(&error.name, &error.to_string()))
    }

    async fn create<T: Stored>(&self, name: &str, value: &T) -> Result<Result<Created, StoreError>, CoordinatorError> {
        let body = record::encode(value).map_err(|error| self.corrupt(name, &error.to_string()))?;
        Ok(self.store.create(name, Bytes::from(body)).await)
    }

    fn known(&self, reply: Reply) -> Reply {
        // A read that finds nothing says only that the create before it has come to nothing so far.
        if !matches!(reply, Reply::Entry(None) | Reply::Claim(None)) {
            self.unknown.store(0, Ordering::Relaxed);
        }
        reply
    }

    async fn unknown(&self, error: StoreError) -> Result<Reply, CoordinatorError> {
        let before = self.unknown.fetch_add(1, Ordering::Relaxed);
        if before + 1 >= MAX_UNKNOWN {
            return Err(error.into());
        }
        tracing::warn!(%error, "the outcome is unknown; asking again");
        self.clock.sleep(FIRST_WAIT * 2_u32.pow(before)).await;
        Ok(Reply::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::{Nonce, Slot};
    use checkpoint::record::{Record, Released};

    use super::*;
    use crate::clock::RuntimeClock;
    use crate::connectors::Retry;
    use crate::coordinator::tests::faults::Scripted;
    use crate::store::MemoryStore;
    use crate::store::memory::{Operation, StoreFault};

    const AT: Position = Position { attempt: Attempt(1), slot: Slot(0) };

    fn append() -> Request {
        let record = Record::Released(Released::Stopped);
        Request::CreateSlot(AT, Arc::new(Entry { nonce: Nonce(7), record }))
    }

    /// A log whose calls fail as `faults` says.
    fn log(faults: impl Fn(Operation, &str) -> Option<StoreFault> + Send + Sync + 'static) -> (Log, RuntimeClock) {
        let clock = RuntimeClock::start();
        let store = MemoryStore::new(Arc::new(clock)).with_faults(Arc::new(Scripted(faults)));
        (Log::new(Arc::new(store), LogIndex(0), Arc::new(clock)), clock)
    }

    fn lose_creates(operation: Operation, _: &str) -> Option<StoreFault> {
        (operation == Operation::Create).then_some(StoreFault::ErrorBefore)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_of_too_many_unknown_answers_in_a_row_ends_the_attempt() {
        let (log, clock) = log(lose_creates);
        let mut waited = Duration::ZERO;
        for unknown in 0..MAX_UNKNOWN - 1 {
            assert_eq!(log.carry_out(append()).await.unwrap(), Reply::Unknown);
            waited += FIRST_WAIT * 2_u32.pow(unknown);
            assert_eq!(clock.monotonic(), waited, "each wait is twice the one before");
            // It is asked what became of it: a slot that is empty says nothing about the next try.
            assert_eq!(log.carry_out(Request::ReadSlot(AT)).await.unwrap(), Reply::Entry(None));
        }
        let ended = log.carry_out(append()).await.unwrap_err();
        assert!(matches!(&ended, CoordinatorError::Store(error) if error.retry == Retry::Backoff), "{ended}");
        assert_eq!(clock.monotonic(), waited, "nobody waits for nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_begins_the_count_of_unknown_ones_anew() {
        let (log, _) = log(lose_creates);
        for _ in 0..3 * MAX_UNKNOWN {
            assert_eq!(log.carry_out(append()).await.unwrap(), Reply::Unknown);
            assert!(matches!(log.clone().carry_out(Request::List).await.unwrap(), Reply::Listed(_)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_whose_reply_was_lost_reads_back_with_its_nonce() {
        let (log, _) = log(|operation, _| (operation == Operation::Create).then_some(StoreFault::LostReply));
        let request = append();
        let Request::CreateSlot(_, sent) = request.clone() else { unreachable!() };
        assert_eq!(log.carry_out(request).await.unwrap(), Reply::Unknown);
        assert_eq!(log.carry_out(Request::ReadSlot(AT)).await.unwrap(), Reply::Entry(Some(sent)));
    }
}
