//! What tests need and no crate has: fetched or built once, and kept in `${XDG_CACHE_HOME:-$HOME/.cache}/onceward`.
//!
//! Several test processes may want it at once: one makes it under a lock, the others wait. What is there is complete,
//! because it was renamed into its place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};

/// The cache's folder `area`.
///
/// # Errors
/// It cannot be made, or nobody says where the cache is.
pub fn folder(area: &str) -> Result<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let folder = set.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("onceward").join(area);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// The cached folder `name` of an area; if there is none, `fill` makes it, in one process at a time for each area.
///
/// # Errors
/// What `fill` or the file system says.
pub fn once(area: &str, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = folder(area)?;
    let done = cache.join(name);
    if done.is_dir() {
        return Ok(done);
    }
    let lock = File::create(cache.join("lock")).context("the lock of the cache")?;
    flock(&lock, FlockOperation::LockExclusive).context("the lock of the cache")?;
    if !done.is_dir() {
        let unfinished = cache.join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished)?;
        fill(&unfinished)?;
        fs::rename(&unfinished, &done).with_context(|| done.display().to_string())?;
    }
    Ok(done)
}

/// Runs a command to its end and gives what it printed. `fix`: what to do if there is no such program.
///
/// # Errors
/// There is none, or it failed; with what it said.
pub fn run(command: &mut Command, fix: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`: {fix}"))?;
    let said = || [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    ensure!(output.status.success(), "`{name}` failed with {}:\n{}", output.status, said());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// FNV-1a: names a folder by what it was made from, protects nothing.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
