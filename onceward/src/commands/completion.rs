//! `onceward completion`: scripts for the shells.

use clap::CommandFactory;

use super::{DONE, Error};
use crate::cli::{Cli, CompletionArgs};
use crate::screen::Screen;

/// Prints the script.
///
/// # Errors
/// [`Error::Gone`].
pub fn execute(args: &CompletionArgs, screen: Screen) -> Result<u8, Error> {
    // Into memory first: the generator panics when a write fails.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "onceward", &mut script);
    screen.say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(DONE)
}
