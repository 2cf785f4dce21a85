//! Words in columns: nothing is wider than [`WIDTH`], with or without colours.

use crate::terminal::{Terminal, Tone};

/// Columns of a line at most.
pub const WIDTH: usize = 100;
/// Columns of a field's name.
const NAME: usize = 15;
const GAP: usize = 2;

/// Time gone by: `412ms`, `6s`, `5m10s`, `3h12m`, `4d`.
pub(crate) fn span(ms: u64) -> String {
    if ms < 1_000 { format!("{ms}ms") } else { seconds(ms / 1_000) }
}

fn seconds(count: u64) -> String {
    match count {
        0..=119 => format!("{count}s"),
        120..=3_599 => format!("{}m{}s", count / 60, count % 60),
        3_600..=86_399 => format!("{}h{}m", count / 3_600, count % 3_600 / 60),
        _ => format!("{}d", count / 86_400),
    }
}

/// Time since then, of an RFC 3339 time; `-` for what is none. Clocks differ: what is ahead is now.
pub(crate) fn since(time: &str, now_ms: u64) -> String {
    ms_of(time).map_or_else(|| "-".to_owned(), |ms| seconds(now_ms.saturating_sub(ms) / 1_000))
}

/// How long ago a checkpoint was completed, for the middle of a sentence.
pub(crate) fn completed(time: Option<&str>, now_ms: u64) -> String {
    time.map_or_else(
        || "completed before anybody looked".to_owned(),
        |time| format!("completed {} ago", since(time, now_ms)),
    )
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub(crate) fn ms_of(time: &str) -> Option<u64> {
    let time: k8s_openapi::jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// RFC 3339, of milliseconds since 1970.
pub(crate) fn time_of(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    k8s_openapi::jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

/// `512 B`, `1.8 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1_024.0, UNITS[0]);
    for &next in &UNITS[1..] {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// Without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many columns; `…` says that something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Lines of at most so many columns, broken at spaces; a word that is longer than a line is broken where it must be.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line, mut length) = (vec![], String::new(), 0);
    for word in printable(text).split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + letters.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for letter in letters {
            if length >= width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            line.push(letter);
            length += 1;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `Name:          text`, with the lines that follow under the text.
pub(crate) fn field(name: &str, text: &str) -> Vec<String> {
    let wrapped = wrap(text, WIDTH - NAME);
    let first = std::iter::once(format!("{name}:")).chain(std::iter::repeat(String::new()));
    let lines: Vec<_> = first.zip(wrapped).map(|(name, text)| format!("{name:<NAME$}{text}")).collect();
    if lines.is_empty() { vec![format!("{name}:")] } else { lines }
}

/// A word in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Option<Tone>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Rows under headings. Every column is as wide as its widest word, and no wider than its bound.
pub(crate) struct Table {
    /// Heading, and columns at most; the bounds and the gaps together are at most [`WIDTH`].
    columns: Vec<(&'static str, usize)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// `columns`: heading, and columns at most.
    pub(crate) fn new(columns: &[(&'static str, usize)]) -> Self {
        Self { columns: columns.to_vec(), rows: vec![] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The heading and all rows.
    pub(crate) fn lines(&self, terminal: &dyn Terminal) -> Vec<String> {
        let widths = self.widths();
        let heading: Vec<Cell> = self.columns.iter().map(|(heading, _)| (*heading).into()).collect();
        std::iter::once(&heading).chain(&self.rows).map(|row| line(row, &widths, terminal)).collect()
    }

    /// The last row alone, in columns that later rows can stand under, too: each as wide as its bound.
    pub(crate) fn last(&self, terminal: &dyn Terminal) -> Option<String> {
        let widths: Vec<usize> = self.columns.iter().map(|(_, most)| *most).collect();
        Some(line(self.rows.last()?, &widths, terminal))
    }

    /// The heading for [`Self::last`].
    pub(crate) fn heading(&self, terminal: &dyn Terminal) -> String {
        let widths: Vec<usize> = self.columns.iter().map(|(_, most)| *most).collect();
        let heading: Vec<Cell> = self.columns.iter().map(|(heading, _)| (*heading).into()).collect();
        line(&heading, &widths, terminal)
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(index, (heading, most)): (usize, &(&str, usize))| {
            let words = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.chars().count());
            words.chain([heading.len()]).max().unwrap_or(0).min(*most)
        };
        self.columns.iter().enumerate().map(width).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], terminal: &dyn Terminal) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let shown = cut(&cell.text, *width);
        let padding = width.saturating_sub(shown.chars().count()) + GAP;
        text += &cell.tone.map_or_else(|| shown.clone(), |tone| terminal.paint(tone, &shown));
        if index + 1 < row.len() {
            text += &" ".repeat(padding);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        let spans = [999, 1_000, 119_999, 120_000, 3_600_000, 86_400_000].map(span);
        assert_eq!(spans, ["999ms", "1s", "119s", "2m0s", "1h0m", "1d"]);
        assert_eq!(
            [0, 1_023, 1_024, 1_887_437, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.8 MiB", "16384.0 PiB"]
        );
    }

    #[test]
    fn times_ahead_of_this_machines_clock_are_now() {
        let now_ms = ms_of("2026-01-01T10:00:00Z").expect("a time");
        assert_eq!(since("2026-01-01T10:00:05Z", now_ms), "0s");
        assert_eq!(since("2026-01-01T09:59:54.3Z", now_ms), "5s");
        assert_eq!(since("soon", now_ms), "-");
        assert_eq!(time_of(now_ms), "2026-01-01T10:00:00Z");
    }

    #[test]
    fn no_line_is_wider_than_it_may_be_and_no_letter_is_lost() {
        let long = format!("s3://bucket/{} and the rest of it", "x".repeat(300));
        for width in [1, 7, 40, 85] {
            let lines = wrap(&long, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            let bare = |text: &str| text.replace(' ', "");
            assert_eq!(bare(&lines.concat()), bare(&long));
        }
        assert!(wrap("  ", 10).is_empty());
        assert!(field("Handle", &long).iter().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(cut("a\x1b[31mb\n", 40), "a [31mb ");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(wrap("a\u{9b}31mb", 40), ["a 31mb"]);
    }
}
