//! Workers that only pretend: pods get a node, a process and an end; processes claim attempts on a log, decide epochs and
//! commit them, as `onceward worker` does it, and are told by a script when to die.
//!
//! What they tell and leave behind is held against the real worker's by [`crate::likeness`].

mod kubelet;
mod log;
mod pipeline;
mod serve;
mod worker;

pub use self::kubelet::{Cluster, Death, Moment, Script, address};
pub use self::log::{Decision, Log, Store};
pub use self::pipeline::pipeline;
