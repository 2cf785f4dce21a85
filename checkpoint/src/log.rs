//! What the machines ask of the store, and what it answers. The driver carries each request out exactly once.

use std::sync::Arc;

use crate::ids::{Attempt, LogIndex, Slot};
use crate::paths::{self, ObjectName, UnknownName};
use crate::record::{Claim, Entry, Position};

/// One operation on the log. The driver answers with one [`Reply`] and retries nothing on its own:
/// what an unknown outcome means is the machine's to decide. (It may wait before it carries a repeated one out.)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// All names below `<k>/attempts/`: [`Reply::Listed`] or [`Reply::Unknown`].
    List,
    /// [`Reply::Claim`] or [`Reply::Unknown`].
    ReadClaim(Attempt),
    /// [`Reply::Entry`] or [`Reply::Unknown`].
    ReadSlot(Position),
    /// [`Reply::Created`], [`Reply::Exists`] or [`Reply::Unknown`].
    CreateClaim(Attempt, Arc<Claim>),
    /// [`Reply::Created`], [`Reply::Exists`] or [`Reply::Unknown`].
    CreateSlot(Position, Arc<Entry>),
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Durable, and by this very request.
    Created,
    /// Something was there already.
    Exists,
    /// Anything else: a creation may have happened, or may happen later.
    Unknown,
    Listed(Listing),
    Claim(Option<Arc<Claim>>),
    Entry(Option<Arc<Entry>>),
}

/// The attempts of a log and the slots that exist in each, all ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Listing {
    pub attempts: Vec<(Attempt, Vec<Slot>)>,
}

impl Listing {
    /// Sorts out the names of a whole store path or of a prefix of it, in any order; those of other logs are ignored.
    ///
    /// # Errors
    /// [`UnknownName`] for a name below `attempts/` of this log that nothing of this project writes.
    pub fn from_names<'a>(log: LogIndex, names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownName> {
        let mut listing = Self::default();
        for name in names {
            match paths::parse(name)? {
                Some(ObjectName::Claim(of, attempt)) if of == log => {
                    listing.attempt(attempt);
                }
                Some(ObjectName::Record(of, at)) if of == log => listing.attempt(at.attempt).push(at.slot),
                Some(
                    ObjectName::Manifest(..) | ObjectName::Part(..) | ObjectName::Claim(..) | ObjectName::Record(..),
                )
                | None => {}
            }
        }
        for (_, slots) in &mut listing.attempts {
            slots.sort_unstable();
            slots.dedup();
        }
        Ok(listing)
    }

    /// The highest attempt, claimed or with a record.
    pub fn highest_attempt(&self) -> Option<Attempt> {
        self.attempts.last().map(|(attempt, _)| *attempt)
    }

    /// The slots of an attempt; none if it is unknown.
    pub fn slots(&self, attempt: Attempt) -> &[Slot] {
        match self.attempts.binary_search_by_key(&attempt, |(a, _)| *a) {
            Ok(index) => self.attempts.get(index).map_or(&[], |(_, slots)| slots),
            Err(_) => &[],
        }
    }

    /// The newest attempt below `attempt`.
    pub fn before(&self, attempt: Attempt) -> Option<Attempt> {
        self.attempts.iter().rev().map(|(a, _)| *a).find(|a| *a < attempt)
    }

    fn attempt(&mut self, attempt: Attempt) -> &mut Vec<Slot> {
        let index = match self.attempts.binary_search_by_key(&attempt, |(a, _)| *a) {
            Ok(index) => index,
            Err(index) => {
                self.attempts.insert(index, (attempt, Vec::new()));
                index
            }
        };
        &mut self.attempts[index].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_sorted_whatever_the_order_of_names() {
        let names =
            ["0/attempts/2/claim", "0/attempts/1/10", "0/attempts/1/9", "0/attempts/1/claim", "1/attempts/7/claim"];
        let listing = Listing::from_names(LogIndex(0), names).unwrap();
        assert_eq!(listing.attempts, vec![(Attempt(1), vec![Slot(9), Slot(10)]), (Attempt(2), vec![])]);
        assert_eq!(listing.highest_attempt(), Some(Attempt(2)));
        assert_eq!(listing.before(Attempt(2)), Some(Attempt(1)));
        assert_eq!(listing.before(Attempt(1)), None);
    }

    #[test]
    fn a_foreign_name_among_the_records_is_refused_by_name() {
        let error = Listing::from_names(LogIndex(0), ["0/attempts/1/notes.txt"]).unwrap_err();
        assert_eq!(error.name, "0/attempts/1/notes.txt");
    }
}
