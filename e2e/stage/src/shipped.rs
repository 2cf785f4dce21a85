//! The binary under test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// `ONCEWARD_BIN`, or the one that was built beside this test.
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ONCEWARD_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    // target/<profile>/deps/<test> or target/<profile>/<binary>
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("onceward"));
    let found = beside.into_iter().find(|path| path.is_file());
    found.context("there is no `onceward` beside this test: build it with `cargo build --workspace --bin onceward`")
}
