//! Orders as they stand in the input files, in file order: lateness depends on it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{Error, time};

/// One line of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: i64,
    /// Microseconds since 1970.
    pub ts: i64,
    pub customer: i64,
    pub cents: i64,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: i64,
    #[serde(borrow)]
    ts: &'a str,
    customer: i64,
    cents: i64,
}

/// Hands every order of one file to `each`, in order.
///
/// # Errors
/// [`Error::Read`], and [`Error::Line`] for a line that is no order.
pub fn read(path: &Path, mut each: impl FnMut(Order)) -> Result<(), Error> {
    lines(path, |number, text| {
        let line: Line<'_> = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
        let ts = time::parse(line.ts).ok_or_else(|| format!("`{}` is not a timestamp (line {number})", line.ts))?;
        each(Order { id: line.id, ts, customer: line.customer, cents: line.cents });
        Ok(())
    })
}

/// Hands every line to `each` with its number from 1; a line without its newline is torn and refused.
pub(super) fn lines(path: &Path, mut each: impl FnMut(u64, &str) -> Result<(), String>) -> Result<(), Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
    let mut text = String::new();
    let mut line = 0;
    loop {
        text.clear();
        if reader.read_line(&mut text).map_err(unreadable)? == 0 {
            return Ok(());
        }
        line += 1;
        let fault = |what| Error::Line { path: path.to_owned(), line, what };
        let whole = text.strip_suffix('\n').ok_or_else(|| fault("the last line is torn".to_owned()))?;
        each(line, whole).map_err(fault)?;
    }
}
