//! Named steps of the protocol at which a test can kill, pause or fail the shipped binary.
//!
//! Always compiled in: an unarmed step costs one relaxed load, and no step lies on the path of a record.
//! Armed by `ONCEWARD_CRASHPOINT='step[:nth]=kill|pause:1s|error|panic'`, several separated by commas; `nth` counts the hits
//! of that step in this process from 1 (the default), `*` stands for every hit (a run slowed down lives long enough to be
//! struck). A step that acts says `crashpoint <step> <nth>` on standard error first (with `*` only the first time), so
//! that whoever armed it can tell where the process died.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use steps::{STEPS, Step};

mod steps;
#[cfg(test)]
mod tests;

/// Tenths of a second that a signal may need to reach its own sender.
const ON_ITS_WAY: u32 = 50;

/// The variable that arms.
pub const VARIABLE: &str = "ONCEWARD_CRASHPOINT";

static ARMED: AtomicBool = AtomicBool::new(false);
static PLAN: Mutex<Plan> = Mutex::new(Plan { faults: Vec::new() });

/// The error of a step that was armed with `error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("injected error at crash point `{step}`, hit {nth}")]
pub struct Injected {
    pub step: &'static str,
    pub nth: u32,
}

/// A text that does not arm anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    #[error("`{text}` is not of the form step[:nth|:*]=kill|pause:1s|error|panic")]
    Syntax { text: String },
    #[error("there is no crash point `{step}`; `onceward crashpoints` lists them")]
    UnknownStep { step: String },
}

/// Marks that the process has reached `step`, one of [`STEPS`].
///
/// # Errors
/// [`Injected`] when armed with `error` for this hit; it must be treated as a failure of the step that follows.
#[inline]
pub fn hit(step: &'static str) -> Result<(), Injected> {
    if ARMED.load(Ordering::Relaxed) { act(step) } else { Ok(()) }
}

/// As [`hit`], for places that have no way to fail: an armed `error` is said on standard error and goes on.
#[inline]
pub fn pass(step: &'static str) {
    // The only thing dropped is an injected error, which `act` has already printed.
    let _ = hit(step);
}

/// Arms from the environment; without the variable nothing is armed.
///
/// # Errors
/// A text that is malformed or names an unknown step: a test that arms nothing would prove nothing.
pub fn arm_from_environment() -> Result<(), ArmError> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => arm(&text),
        _ => Ok(()),
    }
}

/// Arms the steps named in `text`, in place of whatever was armed before.
///
/// # Errors
/// As [`arm_from_environment`].
pub fn arm(text: &str) -> Result<(), ArmError> {
    let plan = Plan::parse(text)?;
    *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    ARMED.store(true, Ordering::SeqCst);
    Ok(())
}

#[cold]
#[allow(clippy::panic, reason = "what a test asks for")]
fn act(step: &'static str) -> Result<(), Injected> {
    let due = PLAN.lock().unwrap_or_else(PoisonError::into_inner).count(step);
    let Some(Due { nth, says, action }) = due else { return Ok(()) };
    if says {
        // A closed standard error must not keep the step from happening.
        let _ = writeln!(std::io::stderr().lock(), "crashpoint {step} {nth}");
    }
    match action {
        Action::Error => Err(Injected { step, nth }),
        Action::Panic => std::panic::panic_any(format!("injected panic at crash point `{step}`, hit {nth}")),
        Action::Pause(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Action::Kill => {
            // The first process of a container is spared by its own signals: it ends by a fault, of which nobody spares it.
            if std::process::id() == 1 {
                std::process::abort();
            }
            let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            assert!(killed.is_ok(), "the process could not kill itself");
            // The signal is on its way; nothing after this step may happen.
            for _ in 0..ON_ITS_WAY {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            std::process::abort()
        }
    }
}

/// What is armed, with its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    faults: Vec<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    step: &'static str,
    /// `None` stands for every hit.
    nth: Option<u32>,
    action: Action,
    hits: u32,
}

/// A fault at the hit that it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    nth: u32,
    says: bool,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Pause(Duration),
    Error,
    /// Of the thread that comes by, as a bug would.
    Panic,
}

impl Plan {
    fn parse(text: &str) -> Result<Self, ArmError> {
        let faults = text.split(',').map(|fault| parse_fault(fault.trim())).collect::<Result<_, _>>()?;
        Ok(Self { faults })
    }

    /// Counts a hit of `step`; what to do about it, if anything.
    fn count(&mut self, step: &str) -> Option<Due> {
        let mut due = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.step == step) {
            fault.hits = fault.hits.saturating_add(1);
            if fault.nth.is_none_or(|nth| nth == fault.hits) {
                let says = fault.nth.is_some() || fault.hits == 1;
                // The one that was named first counts.
                due.get_or_insert(Due { nth: fault.hits, says, action: fault.action });
            }
        }
        due
    }
}

fn parse_fault(text: &str) -> Result<Fault, ArmError> {
    let syntax = || ArmError::Syntax { text: text.chars().take(120).collect() };
    let (place, action) = text.split_once('=').ok_or_else(syntax)?;
    let (name, nth) = match place.split_once(':') {
        Some((name, "*")) => (name, None),
        Some((name, nth)) => (name, Some(nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(syntax)?)),
        None => (place, Some(1)),
    };
    let step = STEPS.iter().find(|step| step.name == name);
    let step = step.ok_or_else(|| ArmError::UnknownStep { step: name.chars().take(120).collect() })?.name;
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        None if action == "error" => Action::Error,
        None if action == "panic" => Action::Panic,
        Some(("pause", time)) => Action::Pause(parse_time(time).ok_or_else(syntax)?),
        _ => return Err(syntax()),
    };
    Ok(Fault { step, nth, action, hits: 0 })
}

/// `250ms` or `2s`; at most an hour.
fn parse_time(text: &str) -> Option<Duration> {
    let (digits, unit_ms) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    let time = Duration::from_millis(digits.parse::<u64>().ok()?.checked_mul(unit_ms)?);
    (time <= Duration::from_hours(1)).then_some(time)
}
