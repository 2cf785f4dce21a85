//! `onceward crashpoints`: the steps that a test can strike.

use runtime::crashpoint::{STEPS, VARIABLE};
use serde_json::json;

use super::{DONE, Error};
use crate::cli::{CrashpointsArgs, Output};
use crate::screen::Screen;

/// Lists all steps, in the order in which a run meets them.
///
/// # Errors
/// [`Error::Gone`].
pub fn execute(args: &CrashpointsArgs, screen: Screen) -> Result<u8, Error> {
    if args.output == Output::Text {
        screen.say(format!("arm with {VARIABLE}='step[:nth]=kill|pause:1s|error|panic'"))?;
    }
    for step in STEPS {
        screen.say(match args.output {
            Output::Text => format!("{:<30} {}", step.name, step.meaning),
            Output::Json => json!({"name": step.name, "meaning": step.meaning}).to_string(),
        })?;
    }
    Ok(DONE)
}
