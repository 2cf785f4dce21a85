//! What people see: colours only where they are wanted, and a reader that went away is no fault.

use std::io::{self, IsTerminal, Write};

/// Whoever read standard output has gone: stop quietly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard output was closed")]
pub struct Gone;

/// How a word is shown on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Good,
    Bad,
    Doubtful,
    Faint,
}

/// The two outputs of this process.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    colours_out: bool,
    colours_err: bool,
    /// Standard error is a terminal: a line may be redrawn.
    pub redraws: bool,
}

impl Screen {
    /// Looks at what the outputs are connected to, and at `NO_COLOR`.
    pub fn of_process() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self { colours_out: wanted && out, colours_err: wanted && err, redraws: err }
    }

    /// The same, without colours.
    #[must_use]
    pub fn without_colours(self) -> Self {
        Self { colours_out: false, colours_err: false, ..self }
    }

    /// A line on standard output: results.
    ///
    /// # Errors
    /// [`Gone`] if nobody reads it any more. Any other fault there is treated alike: there is nowhere to report it.
    pub fn say(&self, line: impl AsRef<str>) -> Result<(), Gone> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush()).map_err(|_| Gone)
    }

    /// A line on standard error: progress and faults. Nobody listening is no fault.
    pub fn tell(&self, line: impl AsRef<str>) {
        let clear = if self.redraws { "\r\x1b[2K" } else { "" };
        let _ = writeln!(io::stderr().lock(), "{clear}{}", line.as_ref());
    }

    /// Redraws the last line of standard error; only where it can be redrawn.
    pub fn redraw(&self, line: impl AsRef<str>) {
        if self.redraws {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[2K{}", line.as_ref()).and_then(|()| err.flush());
        }
    }

    /// `text` for standard output.
    pub fn paint(&self, style: Style, text: &str) -> String {
        paint(self.colours_out, style, text)
    }

    /// `text` for standard error.
    pub fn paint_err(&self, style: Style, text: &str) -> String {
        paint(self.colours_err, style, text)
    }

    /// `error: ...` on standard error.
    pub fn fault(&self, text: impl AsRef<str>) {
        self.tell(format!("{} {}", self.paint_err(Style::Bad, "error:"), text.as_ref()));
    }

    /// `warning: ...` on standard error.
    pub fn doubt(&self, text: impl AsRef<str>) {
        self.tell(format!("{} {}", self.paint_err(Style::Doubtful, "warning:"), text.as_ref()));
    }
}

fn paint(colours: bool, style: Style, text: &str) -> String {
    if !colours {
        return text.to_owned();
    }
    let code = match style {
        Style::Good => "1;32",
        Style::Bad => "1;31",
        Style::Doubtful => "1;33",
        Style::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// An error with all its causes, on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn colours_appear_only_where_they_are_wanted() {
        assert_eq!(paint(false, Style::Bad, "x"), "x");
        assert!(paint(true, Style::Bad, "x").starts_with('\x1b'));
    }
}
