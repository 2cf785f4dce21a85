//! Rows as they stand in the visible files of a sink's folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::input::lines;
use super::{Content, Error, Identity, time};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow<'a> {
    #[serde(borrow)]
    window_start: &'a str,
    #[serde(borrow)]
    window_end: &'a str,
    customer: i64,
    total: i64,
    orders: u64,
    smallest: i64,
    largest: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CopyRow<'a> {
    id: i64,
    #[serde(borrow)]
    ts: &'a str,
    customer: i64,
    cents: i64,
}

/// Files that a reader may see: hidden ones are undecided and do not count. Sorted; a missing folder is an empty one.
///
/// # Errors
/// [`Error::Read`] if the folder cannot be listed.
pub fn visible_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let (visible, _) = split_files(folder)?;
    Ok(visible)
}

/// Files that are not (yet) to be seen.
///
/// # Errors
/// [`Error::Read`] if the folder cannot be listed.
pub fn hidden_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let (_, hidden) = split_files(folder)?;
    Ok(hidden)
}

fn split_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((vec![], vec![])),
        Err(error) => return Err(unreadable(error)),
    };
    let (mut visible, mut hidden) = (vec![], vec![]);
    for entry in listing {
        let entry = entry.map_err(unreadable)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden { hidden.push(entry.path()) } else { visible.push(entry.path()) }
    }
    visible.sort();
    hidden.sort();
    Ok((visible, hidden))
}

/// Every row of a windowed result.
///
/// # Errors
/// [`Error::Read`], and [`Error::Line`] for a line that is torn or no such row.
pub fn windows(folder: &Path) -> Result<Vec<(Identity, Content)>, Error> {
    rows(folder, |text| {
        let row: WindowRow<'_> = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
        let identity = vec![instant(row.window_start)?, instant(row.window_end)?, row.customer];
        Ok((identity, vec![row.total.into(), row.orders.into(), row.smallest.into(), row.largest.into()]))
    })
}

/// Every row of a copy.
///
/// # Errors
/// [`Error::Read`], and [`Error::Line`] for a line that is torn or no such row.
pub fn copy(folder: &Path) -> Result<Vec<(Identity, Content)>, Error> {
    rows(folder, |text| {
        let row: CopyRow<'_> = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
        Ok((vec![row.id], vec![instant(row.ts)?.into(), row.customer.into(), row.cents.into()]))
    })
}

fn rows(
    folder: &Path,
    parse: impl Fn(&str) -> Result<(Identity, Content), String>,
) -> Result<Vec<(Identity, Content)>, Error> {
    let mut found = vec![];
    for path in visible_files(folder)? {
        lines(&path, |_, text| {
            found.push(parse(text)?);
            Ok(())
        })?;
    }
    Ok(found)
}

fn instant(text: &str) -> Result<i64, String> {
    time::parse(text).ok_or_else(|| format!("`{text}` is not a timestamp"))
}
