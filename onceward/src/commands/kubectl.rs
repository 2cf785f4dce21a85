//! `onceward kubectl`: hands over to the crate; lint and completion need what only the binary has.

use clap::CommandFactory as _;
use kubectl::{Gone, Terminal, Tone};

use super::settle::block_on;
use super::signals::Signals;
use super::{DONE, Error, lint};
use crate::cli::{KubectlArgs, KubectlCli, KubectlVerb};
use crate::screen::{Screen, Style};

/// Carries out one verb.
///
/// # Errors
/// What keeps it from starting at all, [`Error::Gone`].
pub fn execute(args: &KubectlArgs, screen: Screen) -> Result<u8, Error> {
    let screen = if args.reach.no_color { screen.without_colours() } else { screen };
    match &args.verb {
        KubectlVerb::Lint(args) => lint::execute(args, screen),
        KubectlVerb::Complete { words } => {
            let mut command = KubectlCli::command();
            command.build();
            block_on(kubectl::complete::execute(&command, &args.reach, words, &screen))?;
            Ok(DONE)
        }
        KubectlVerb::Cluster(verb) => block_on(async {
            let stop = Signals::listen()?.told();
            Ok(kubectl::execute(&args.reach, verb, &screen, stop).await)
        })?,
    }
}

impl Terminal for Screen {
    fn say(&self, line: &str) -> Result<(), Gone> {
        Screen::say(self, line).map_err(|_| Gone)
    }

    fn tell(&self, line: &str) {
        Screen::tell(self, line);
    }

    fn fault(&self, text: &str) {
        Screen::fault(self, text);
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Good => Style::Good,
            Tone::Bad => Style::Bad,
            Tone::Doubtful => Style::Doubtful,
            Tone::Faint => Style::Faint,
        };
        Screen::paint(self, style, text)
    }
}
