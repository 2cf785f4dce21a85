//! SESSION windows: rows of a key that follow one another by less than the gap.
mod last;
mod mini;

pub(crate) use last::Sessions;
pub(crate) use mini::MiniSessions;
