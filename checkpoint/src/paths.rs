//! Object names of a store path, both ways.
//!
//! ```text
//! <k>/attempts/<a>/claim                        who owns attempt a of log k
//! <k>/attempts/<a>/<slot>                       its records
//! <k>/attempts/<a>/parts/...                    parts of its snapshots
//! <k>/attempts/<a>/manifest-<epoch>-<nonce>     manifests too large for their record
//! ```
//! Numbers are decimal without leading zeros: one spelling for each object.

use crate::ids::{Attempt, Epoch, LogIndex, Nonce, Slot};
use crate::record::{Position, bounded};

/// What a name below a store path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    Claim(LogIndex, Attempt),
    Record(LogIndex, Position),
    Manifest(LogIndex, Attempt, Epoch, Nonce),
    Part(LogIndex, Attempt),
}

/// A name that looks like one of ours and is not: the store was damaged or is shared with something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no object of a checkpoint log; a store path must hold nothing else below `attempts/`")]
pub struct UnknownName {
    pub name: String,
}

pub fn log_root(log: LogIndex) -> String {
    format!("{log}/")
}

pub fn attempts(log: LogIndex) -> String {
    format!("{log}/attempts/")
}

pub fn attempt(log: LogIndex, attempt: Attempt) -> String {
    format!("{log}/attempts/{attempt}/")
}

pub fn claim(log: LogIndex, attempt: Attempt) -> String {
    format!("{log}/attempts/{attempt}/claim")
}

pub fn record(log: LogIndex, at: Position) -> String {
    format!("{log}/attempts/{}/{}", at.attempt, at.slot)
}

pub fn manifest(log: LogIndex, attempt: Attempt, epoch: Epoch, nonce: Nonce) -> String {
    format!("{log}/attempts/{attempt}/manifest-{epoch}-{nonce}")
}

pub fn parts(log: LogIndex, attempt: Attempt) -> String {
    format!("{log}/attempts/{attempt}/parts/")
}

/// Reads a name. `None`: outside of any log (a probe object, a user's file beside the logs).
///
/// # Errors
/// [`UnknownName`] for anything below `<k>/attempts/` that is not spelled as above.
pub fn parse(name: &str) -> Result<Option<ObjectName>, UnknownName> {
    let Some((log, rest)) = name.split_once("/attempts/") else { return Ok(None) };
    let Some(log) = number(log).map(LogIndex) else { return Ok(None) };
    let unknown = || UnknownName { name: bounded(name) };
    let (attempt, object) = rest.split_once('/').ok_or_else(unknown)?;
    let attempt = number(attempt).filter(|a| *a > 0).map(Attempt).ok_or_else(unknown)?;
    if object == "claim" {
        return Ok(Some(ObjectName::Claim(log, attempt)));
    }
    if object.strip_prefix("parts/").is_some_and(|part| !part.is_empty()) {
        return Ok(Some(ObjectName::Part(log, attempt)));
    }
    if let Some(manifest) = object.strip_prefix("manifest-") {
        let (epoch, nonce) = manifest.split_once('-').ok_or_else(unknown)?;
        let epoch = number(epoch).map(Epoch).ok_or_else(unknown)?;
        let nonce = nonce.parse().map_err(|_| unknown())?;
        return Ok(Some(ObjectName::Manifest(log, attempt, epoch, nonce)));
    }
    let slot = number(object).map(Slot).ok_or_else(unknown)?;
    Ok(Some(ObjectName::Record(log, Position { attempt, slot })))
}

/// The newest log among the names of a store path (the highest number that has a claim).
pub fn current_log<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<LogIndex> {
    let claimed = |name| match parse(name) {
        Ok(Some(ObjectName::Claim(log, _))) => Some(log),
        Ok(_) | Err(_) => None,
    };
    names.into_iter().filter_map(claimed).max()
}

/// The log and position that the end of a handle names: `.../0/attempts/3/17`. `None` if it names no record.
pub fn parse_handle(handle: &str) -> Option<(&str, LogIndex, Position)> {
    let at = handle.rfind("/attempts/")?;
    let root_end = handle[..at].rfind('/').map_or(0, |slash| slash + 1);
    match parse(&handle[root_end..]) {
        Ok(Some(ObjectName::Record(log, position))) => Some((&handle[..root_end], log, position)),
        Ok(_) | Err(_) => None,
    }
}

/// Exactly the decimal spelling of a number.
fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        let (log, a) = (LogIndex(2), Attempt(13));
        let at = Position { attempt: a, slot: Slot(17) };
        assert_eq!(parse(&claim(log, a)), Ok(Some(ObjectName::Claim(log, a))));
        assert_eq!(parse(&record(log, at)), Ok(Some(ObjectName::Record(log, at))));
        let nonce = Nonce(7);
        assert_eq!(parse(&manifest(log, a, Epoch(9), nonce)), Ok(Some(ObjectName::Manifest(log, a, Epoch(9), nonce))));
        assert_eq!(parse(&format!("{}x/y-1", parts(log, a))), Ok(Some(ObjectName::Part(log, a))));
    }

    #[test]
    fn only_one_spelling_names_an_object() {
        for name in ["0/attempts/01/claim", "0/attempts/1/007", "0/attempts/1/+7", "0/attempts/1/", "0/attempts/0/3"] {
            assert!(parse(name).is_err(), "{name}");
        }
        for name in ["0/attempts/1/manifest-1", "0/attempts/1/manifest-x-y", "0/attempts/1/parts/", "0/attempts/x/1"] {
            assert!(parse(name).is_err(), "{name}");
        }
        assert_eq!(parse("00/attempts/1/claim"), Ok(None), "not a log");
        assert_eq!(parse("probe-1"), Ok(None));
    }

    #[test]
    fn the_highest_claimed_log_is_current() {
        assert_eq!(current_log(["0/attempts/3/claim", "10/attempts/1/claim", "9/attempts/4/0"]), Some(LogIndex(10)));
        assert_eq!(current_log(["11/attempts/1/0", "x"]), None, "a log begins with its claim");
    }

    #[test]
    fn a_handle_names_root_log_and_position() {
        let at = Position { attempt: Attempt(3), slot: Slot(17) };
        let found = parse_handle("file:///data/attempts/x/0/attempts/3/17");
        assert_eq!(found, Some(("file:///data/attempts/x/", LogIndex(0), at)));
        assert_eq!(parse_handle("s3://b/p/0/attempts/3/claim"), None);
        assert_eq!(parse_handle("nonsense"), None);
    }
}
