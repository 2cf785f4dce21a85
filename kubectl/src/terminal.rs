//! Where words go. Whoever has a terminal says how; tests keep what was said.

/// Whoever read standard output has gone: end quietly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard output was closed")]
pub struct Gone;

/// How a word is shown where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Doubtful,
    Faint,
}

/// The two outputs of a command.
pub trait Terminal: Send + Sync {
    /// A line of the answer, on standard output.
    ///
    /// # Errors
    /// [`Gone`].
    fn say(&self, line: &str) -> Result<(), Gone>;

    /// A line of progress, on standard error.
    fn tell(&self, line: &str);

    /// `error: ...` on standard error.
    fn fault(&self, text: &str);

    /// `text` for [`Self::say`]; the same where there are no colours.
    fn paint(&self, tone: Tone, text: &str) -> String;
}

/// Says all lines.
///
/// # Errors
/// [`Gone`], with some of them unsaid.
pub(crate) fn say_all(terminal: &dyn Terminal, lines: impl IntoIterator<Item = String>) -> Result<(), Gone> {
    lines.into_iter().try_for_each(|line| terminal.say(line.trim_end()))
}
