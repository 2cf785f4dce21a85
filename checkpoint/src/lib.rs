//! The checkpoint protocol: values in, decisions out. No I/O, no clock, no randomness, no async.
//!
//! An **attempt** runs a pipeline. It owns one sequence of records in the log (`attempts/<a>/<slot>`), each created only
//! if absent. `Completed(n)` is the decision of epoch n: before it nothing of n may become visible, after it all of it
//! must, and whoever can read it may commit it. A later attempt ends the sequence of an earlier one with `Sealed`: from
//! then on the earlier one can decide nothing, however late it wakes up.
//!
//! The life of an attempt is three machines, one after the other, and the life of one epoch is in the third:
//! ```text
//! claim::Claiming       list, create claim, list | seal earlier attempts, newest first | newest decision is final
//!        | Claimed
//! recovery::Recovery    classify all of its committables | commit | abort what earlier attempts left open
//!        | Restored     (nothing decided yet: decide the first epoch; rewind, older checkpoint: decide it anew)
//! coordinator::Coordinator
//!
//!   tasks               coordinator                    log                       targets
//!     | <--- Begin(n) ----- | (timer)                   |                           |
//!     |  pre-commit -------------------------------------------------------------->| invisible
//!     | --- Acknowledged -> | all there: WriteManifest  |                           |
//!     |                     | --- Completed(n) -------> | DECIDED                   |
//!     | <-- Decided(n) ---- |                           |                           |
//!     |                     | --- Commit(permit, committable) -------------------> | visible
//!     |                     | CommitsDone(n), Retain    |                           |
//!     |                     |   only now Completed(n+1) |                           |
//!     |                     | idle: Settled(n) -------> |                           |
//! ```
//! A checkpoint that fails rolls nothing back: its committables stay in [`undecided::Undecided`] and the next decision
//! decides them too. An append's outcome may be unknown: [`append::Appender`] reads and sends the same bytes again, and
//! until it knows, the attempt does nothing else. [`commit::CommitPermit`] is made only from a known decision.
//!
//! All machines are plain values (`Clone + Eq + Hash`). A driver carries out what they ask and hands back the answers:
//! ```text
//! let (mut claiming, mut request) = Claiming::begin(claim, depth);
//! let claimed = loop { match claiming.step(carry_out(request)) { Ask(next) => request = next, .. } };
//! let (mut recovery, actions) = Recovery::begin(claimed, intent, floor);
//! // queue of actions; each answer goes to recovery.step(now, event), whose actions join the queue, until Done(ending)
//! let mut coordinator = Coordinator::begin(settings, restored, now);
//! // until End(end): wait for an answer, a task's message or coordinator.wakes_at() (Tick);
//! //                 carry out what coordinator.step(now, event) returns, in order
//! ```
//! Dropping everything at any moment is a crash, and a crash is always safe: so are a lost answer and an answer that
//! comes twice. What must not be dropped is an unknown outcome: no store error may be turned into "it did not happen".
//! Records, manifests and names: [`record`], [`manifest`], [`paths`]. What may be deleted: [`retention`].

pub mod append;
pub mod claim;
pub mod commit;
pub mod coordinator;
pub mod ids;
pub mod invariants;
pub mod log;
pub mod manifest;
pub mod paths;
pub mod record;
pub mod recovery;
pub mod retention;
#[doc(hidden)]
pub mod rules;
pub mod undecided;
